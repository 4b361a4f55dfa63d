"""The losses: the values of the published ones, and what each of our own rewards.

`golden_losses.json` and `golden.npz` were computed with the original authors' code. They are not part of the project;
where they are missing, the comparison is skipped.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.training.losses import (
    Enhancement,
    LossWeights,
    black_point,
    colour_constancy,
    dark_exposure,
    exposure_consistency,
    exposure_control,
    flat_tone,
    highlights,
    illumination_smoothness,
    overall_exposure,
    relative_contrast,
    restraint,
    spatial_consistency,
    weighted_losses,
)
from model.training.recipes import NIGHT, PUBLISHED


def golden(folder: Path, name: str) -> tuple[dict[str, float], Enhancement]:
    arrays: Any = np.load(folder / "golden.npz")
    values = json.loads((folder / "golden_losses.json").read_text())["losses"][name]
    image = torch.from_numpy(arrays[f"{name}.input"]).permute(2, 0, 1)[None] / 255
    enhanced = torch.from_numpy(arrays[f"{name}.dce.after_8"])[None]
    maps = torch.from_numpy(arrays[f"{name}.dce.maps"]).float().unflatten(0, (8, 3))[None]
    return values, Enhancement(image, enhanced, maps)


@pytest.mark.parametrize("name", ["dicm", "lime", "grey", "noise"])
def test_published_losses_have_the_published_values(shared: Path, name: str) -> None:
    values, batch = golden(shared / "reference", name)
    assert colour_constancy(batch.enhanced).item() == pytest.approx(values["colour"], abs=1e-4)
    assert spatial_consistency(batch.image, batch.enhanced).item() == pytest.approx(values["spatial"], abs=1e-4)
    assert exposure_control(batch.enhanced, 0.6).item() == pytest.approx(values["exposure"], abs=1e-4)
    # the reference summed the maps before they were rounded to float16
    assert illumination_smoothness(batch.maps).item() == pytest.approx(values["smoothness"], abs=1e-5)
    total = sum(term.item() for term in weighted_losses(PUBLISHED.losses["dce"], batch).values())
    assert total == pytest.approx(values["total"], abs=2e-3)  # 200 times the rounding of the maps


def test_published_weights() -> None:
    dce, plus = PUBLISHED.losses["dce"], PUBLISHED.losses["plus"]
    assert (dce.smoothness, dce.spatial, dce.colour, dce.exposure, dce.exposure_level) == (200, 1, 5, 10, 0.6)
    assert (plus.smoothness, plus.spatial, plus.colour, plus.exposure, plus.exposure_level) == (1600, 1, 5, 10, 0.6)
    assert set(weighted_losses(dce, grey_batch(0.3))) == {"spatial", "exposure", "colour", "smoothness"}


def grey_batch(level: float) -> Enhancement:
    grey = torch.full((2, 3, 32, 32), level)
    return Enhancement(grey, grey.clone().requires_grad_(), torch.zeros(2, 8, 1, 32, 32, requires_grad=True))


@pytest.mark.parametrize("weights", [PUBLISHED.losses["dce"], NIGHT.losses["dce"]], ids=["published", "night"])
@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_gradients_are_finite_on_grey_images(weights: LossWeights, level: float) -> None:
    batch = grey_batch(level)
    torch.stack(list(weighted_losses(weights, batch).values())).sum().backward()
    assert_finite_gradients(batch)


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_gradients_are_finite_on_grey_images_in_two_exposures(level: float) -> None:
    batch, darker = grey_batch(level), grey_batch(level / 4)
    terms = weighted_losses(NIGHT.losses["dce"], batch, darker)
    assert {"consistency", "dark"} <= terms.keys()
    torch.stack(list(terms.values())).sum().backward()
    assert_finite_gradients(batch)
    assert_finite_gradients(darker)


def assert_finite_gradients(batch: Enhancement) -> None:
    for tensor in (batch.enhanced, batch.maps):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_a_term_is_its_loss_times_its_weight_and_none_at_weight_zero() -> None:
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    batch = Enhancement(image, image.sqrt(), torch.zeros(2, 8, 1, 32, 32))
    once = weighted_losses(LossWeights(colour=0, highlights=1), batch)
    twice = weighted_losses(LossWeights(colour=0, highlights=2), batch)
    assert "colour" not in once
    assert twice["highlights"].item() == pytest.approx(2 * once["highlights"].item())


def test_spatial_consistency_sees_only_changed_differences() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)) / 2
    assert spatial_consistency(image, image).item() == 0
    # brighter by the same everywhere: only the black beyond the border differs
    inside = spatial_consistency(image, image + 0.1).item()
    assert inside == pytest.approx(4 * 8 / 64 * 0.1**2, rel=1e-4)
    assert spatial_consistency(image, image * 2).item() > inside


def test_smoothness_is_a_sum_over_maps_and_a_mean_over_the_batch() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 1, 8, 8) / 10
    one = illumination_smoothness(ramp).item()
    assert one == pytest.approx(2 * 0.1**2, rel=1e-4)
    assert illumination_smoothness(ramp.expand(3, 8, 1, 8, 8)).item() == pytest.approx(8 * one, rel=1e-4)


def test_overall_exposure_leaves_bright_images_alone() -> None:
    dark, bright = torch.full((1, 3, 8, 8), 0.1), torch.full((1, 3, 8, 8), 0.7)
    assert overall_exposure(bright, bright, 0.45).item() == 0
    assert overall_exposure(dark, torch.full_like(dark, 0.45), 0.45).item() == pytest.approx(0, abs=1e-9)
    assert overall_exposure(dark, dark, 0.45).item() == pytest.approx(0.35**2)


def test_dark_exposure_asks_only_where_nothing_is_lit() -> None:
    dark, lamp = torch.full((1, 3, 16, 16), 0.1), torch.full((1, 3, 16, 16), 0.1)
    lamp[..., :8, :8] = 0.9
    assert dark_exposure(dark, dark, 0.45).item() == pytest.approx(0.35**2)
    assert dark_exposure(dark, torch.full_like(dark, 0.45), 0.45).item() == pytest.approx(0, abs=1e-9)
    assert dark_exposure(lamp, lamp, 0.45).item() == 0


def test_flat_tone_punishes_a_tone_that_falls() -> None:
    levels = torch.linspace(0, 1, 11)
    wanted = levels.clamp(min=0.45)
    assert flat_tone(levels, levels, 0.0).item() == pytest.approx(0, abs=1e-9)
    falling = wanted.clone()
    falling[8] = falling[9] + 0.05
    assert flat_tone(levels, falling, 0.45) > flat_tone(levels, wanted, 0.45)


def test_relative_contrast_allows_one_gain_and_punishes_fog() -> None:
    image = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(3)) / 3 + 0.1
    brighter, fog = relative_contrast(image, 2 * image).item(), relative_contrast(image, image + 0.3).item()
    assert relative_contrast(image, image).item() == 0
    assert brighter < 0.05 * fog


def test_highlights_stay_and_shadows_may_change() -> None:
    dark, bright = torch.full((1, 3, 16, 16), 0.05), torch.full((1, 3, 16, 16), 0.8)
    assert highlights(bright, bright).item() == 0
    assert highlights(bright, bright + 0.1).item() > 100 * highlights(dark, dark + 0.1).item()


def test_exposure_consistency_pulls_the_darker_exposure_alone_and_not_its_black_parts() -> None:
    first = torch.full((1, 3, 8, 8), 0.3, requires_grad=True)
    second = torch.full((1, 3, 8, 8), 0.4, requires_grad=True)
    maps = torch.zeros(1, 8, 1, 8, 8)
    lighter = Enhancement(second, second, maps)
    black, dark = (Enhancement(torch.full((1, 3, 8, 8), level), first, maps) for level in (0.0, 0.1))
    assert exposure_consistency(black, lighter).item() == 0
    loss = exposure_consistency(dark, lighter)
    assert loss.item() == pytest.approx(0.01, rel=1e-4)
    loss.backward()
    assert first.grad is not None
    assert second.grad is None


def test_restraint_holds_well_exposed_photos_and_no_dim_ones() -> None:
    dim, lit = torch.full((1, 3, 8, 8), 0.1), torch.full((1, 3, 8, 8), 0.5)
    assert restraint(dim, dim + 0.2).item() == 0
    assert restraint(lit, lit).item() == 0
    assert restraint(lit, lit + 0.2).item() == pytest.approx(0.2, rel=1e-4)


@pytest.mark.parametrize(("level", "share"), [(0.15, 0.0), (0.2, 1 / 3), (0.225, 0.5), (0.3, 1.0)])
def test_restraint_grows_from_dim_to_lit(level: float, share: float) -> None:
    photo = torch.full((1, 3, 8, 8), level)
    assert restraint(photo, photo + 0.2).item() == pytest.approx(share * 0.2, abs=1e-5)


def test_black_point_holds_black_and_nothing_that_was_seen() -> None:
    black, dark = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.05)
    assert black_point(black, black + 0.2).item() == pytest.approx(0.04, rel=1e-4)
    assert black_point(dark, dark + 0.3).item() < 1e-6
