"""The torch part of training: examples are functions of their seeds, and the published steps are the published ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model import Variant, load
from model.curve.light import lift
from model.curve.reference import upsample
from model.training.losses import LossWeights, flat_tone
from model.training.recipes import NIGHT, PUBLISHED, RECIPES, Recipe
from model.training.step import (
    STEPS,
    Objective,
    crop,
    descend,
    first_network,
    learning_rate_factor,
    optimizer_of,
    prepare,
)
from tests.support.media import landscape

PHOTOS = [
    torch.from_numpy(landscape(130, 90 + 10 * number, seed=number)).permute(2, 0, 1).contiguous() for number in range(4)
]


@pytest.mark.parametrize("size", [(1, 1), (20, 300), (200, 150)])
def test_crops_are_square_and_in_range_for_any_photo(size: tuple[int, int]) -> None:
    cropped = crop(torch.randint(0, 256, (3, *size), dtype=torch.uint8), 64, torch.Generator().manual_seed(4))
    assert cropped.shape == (3, 64, 64)
    assert 0 <= cropped.min() <= cropped.max() <= 1


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_an_example_depends_on_its_photo_and_seed_and_not_on_its_neighbours(recipe: Recipe) -> None:
    whole = prepare(PHOTOS, [1, 2, 3, 4], 9, recipe)["image"]
    again = prepare(PHOTOS, [1, 2, 3, 4], 9, recipe)["image"]
    part = prepare(PHOTOS[2:], [3, 4], 9, recipe)["image"]
    other = prepare(PHOTOS, [1, 2, 3, 5], 9, recipe)["image"]
    exposures = 2 if recipe.augmented else 1
    assert whole.shape == (4 * exposures, 3, recipe.size_px, recipe.size_px)
    assert torch.equal(whole, again)
    for exposure in range(exposures):
        assert torch.equal(whole.chunk(exposures)[exposure][2:], part.chunk(exposures)[exposure])
        drawn_again = torch.equal(whole.chunk(exposures)[exposure][3], other.chunk(exposures)[exposure][3])
        assert drawn_again == (not recipe.augmented)  # the published training draws nothing


def test_parts_of_a_step_share_their_grey_levels() -> None:
    first, second = prepare(PHOTOS[:2], [1, 2], 9, NIGHT)["flat"], prepare(PHOTOS[2:], [3, 4], 9, NIGHT)["flat"]
    assert torch.equal(first, second)
    assert not torch.equal(first, prepare(PHOTOS[:2], [1, 2], 8, NIGHT)["flat"])


def test_darker_exposures_stand_first_and_grey_levels_rise() -> None:
    examples = prepare(PHOTOS * 4, range(16), 9, NIGHT)
    darker, lighter = examples["image"].chunk(2)
    assert darker.mean() < lighter.mean()
    assert (examples["flat"].diff() >= 0).all()
    assert 0 <= examples["flat"].min() <= examples["flat"].max() <= 1


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("variant", ["dce", "plus"])
def test_first_weights_are_of_the_seed_and_the_layout(recipe: Recipe, variant: str) -> None:
    first, same, other = (first_network(recipe, variant, seed) for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert first.architecture == recipe.architectures[variant]  # type: ignore[index]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_training_reduces_the_loss(recipe: Recipe) -> None:
    recipe = replace(recipe, size_px=32, learning_rate=2e-3)
    network = first_network(recipe, "dce", 0)
    objective = Objective(network, recipe.losses["dce"])
    optimizer = optimizer_of(network, recipe)
    examples = prepare(PHOTOS, [1, 2, 3, 4], 9, recipe)
    losses = []
    for _ in range(40):
        terms = objective(examples)
        losses.append(sum(term.item() for term in terms.values()))
        descend(network, optimizer, torch.stack(list(terms.values())).sum())
    assert losses[-1] < 0.8 * losses[0]


def test_the_mean_over_parts_is_the_loss_of_the_whole() -> None:
    """What DDP relies on: averaged over equal parts of a batch, losses and gradients are those of the batch."""
    objective = Objective(first_network(NIGHT, "dce", 0), NIGHT.losses["dce"])
    examples = prepare(PHOTOS, [1, 2, 3, 4], 9, NIGHT)
    darker, lighter = examples["image"].chunk(2)
    halves = [
        {"image": torch.cat([darker[part], lighter[part]]), "flat": examples["flat"]}
        for part in (slice(0, 2), slice(2, 4))
    ]
    whole, (first, second) = objective(examples), (objective(half) for half in halves)
    for name, term in whole.items():
        assert term.item() == pytest.approx((first[name].item() + second[name].item()) / 2, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("variant", ["dce", "plus"])
def test_flat_greys_are_judged_as_those_of_larger_images(variant: Variant) -> None:
    network = first_network(NIGHT, variant, 0)
    levels_N = torch.linspace(0, 1, 8)
    examples = {**prepare(PHOTOS[:1], [1], 9, NIGHT), "flat": levels_N}
    flat = Objective(network, NIGHT.losses[variant])(examples)["flat"]
    image_N3HW = levels_N[:, None, None, None].expand(-1, 3, 12, 8).contiguous()
    maps = network.eval()(image_N3HW)
    enhanced_N = lift(image_N3HW, [upsample(maps, 4, slice(0, 12), 8)], STEPS, "light")[:, 0, 5, 5]
    assert flat.item() == pytest.approx(10 * flat_tone(levels_N, enhanced_N, 0.42).item(), rel=1e-4)


def test_losses_of_weight_zero_are_left_out() -> None:
    objective = Objective(first_network(PUBLISHED, "dce", 0), LossWeights(exposure=0.0))
    assert objective(prepare(PHOTOS, [1, 2, 3, 4], 9, PUBLISHED)).keys() == {"spatial", "colour", "smoothness"}


def test_dark_exposure_needs_no_consistency() -> None:
    objective = Objective(first_network(NIGHT, "dce", 0), LossWeights(dark=1.0))
    examples = prepare(PHOTOS, [1, 2, 3, 4], 9, replace(NIGHT, size_px=32))
    assert objective(examples).keys() == {"spatial", "exposure", "colour", "smoothness", "dark"}


@pytest.mark.parametrize(("steps", "rise"), [(5, 0), (40, 4), (400, 40), (4000, 50)])
def test_learning_rates(steps: int, rise: int) -> None:
    assert {learning_rate_factor(PUBLISHED, step, steps) for step in range(steps)} == {1.0}
    factors = [learning_rate_factor(NIGHT, step, steps) for step in range(steps)]
    assert factors[0] == pytest.approx(1 / max(1, rise))
    assert factors[-1] < 0.1
    assert max(factors) > 0.9
    assert factors.index(max(factors)) == pytest.approx(rise, abs=1)


def test_five_steps_from_the_published_weights_are_the_published_ones(shared: Path) -> None:
    golden = json.loads((shared / "reference" / "golden_losses.json").read_text())["training_steps"]["steps"]
    with np.load(shared / "reference" / "golden.npz") as arrays:
        crops = [arrays[f"{photo}.input"][:144, :192] for photo in ("dicm", "lime")]
    examples = {"image": torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255}
    network = load(shared / "reference" / "zero_dce_epoch99.pth").network
    objective = Objective(network.train(), PUBLISHED.losses["dce"])
    optimizer = optimizer_of(network, PUBLISHED)
    names = {"smoothness": "smoothness_x200", "spatial": "spatial", "colour": "colour_x5", "exposure": "exposure_x10"}
    for expected in golden:
        terms = objective(examples)
        loss = torch.stack(list(terms.values())).sum()
        norm = descend(network, optimizer, loss)
        for name, term in terms.items():
            assert term.item() == pytest.approx(expected[names[name]], rel=1e-3)
        assert loss.item() == pytest.approx(expected["total"], rel=1e-3)
        assert norm == pytest.approx(expected["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("variant", ["dce", "plus"])
def test_bf16_gradients_point_where_float32_gradients_do(variant: Variant) -> None:
    network = first_network(NIGHT, variant, 0)
    examples = prepare(PHOTOS, [1, 2, 3, 4], 9, NIGHT)
    gradients = []
    for autocast in (None, torch.bfloat16):
        network.zero_grad()
        terms = Objective(network, NIGHT.losses[variant], autocast=autocast)(examples)
        torch.stack(list(terms.values())).sum().backward()
        gradients.append([p.grad.flatten().clone() for p in network.parameters() if p.grad is not None])
    for exact, rounded in zip(*gradients, strict=True):
        assert torch.cosine_similarity(exact, rounded, dim=0) > 0.9
