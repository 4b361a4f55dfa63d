"""How far the light of a scene is raised: a lit corner is not brought to white."""

import numpy as np
import pytest
import torch

from model import DEFAULT_WEIGHTS, Enhancer, Look, Space, load
from model.curve.light import lift
from model.noise.level import LEVEL, held_to_level
from tests.model.test_enhancer import brightening

SPACES: list[Space] = ["srgb", "light"]


def _corner(level: float, share: float = 0.25) -> np.ndarray:
    """A black picture that is lit in one corner."""
    image = np.zeros((192, 256, 3), np.uint8)
    side = int(192 * share)
    texture = np.random.default_rng(1).uniform(0.7, 1.3, (side, side, 1)) * (1, 0.9, 0.8)
    image[-side:, -side:] = (255 * level * texture).round()
    return image


def _street(level: float) -> np.ndarray:
    """A dark scene with texture all over."""
    random = np.random.default_rng(2)
    blocks = random.uniform(0.3, 1.7, (12, 16, 3)).repeat(16, 0).repeat(16, 1)
    return (255 * level * blocks).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=["dce", "plus"])
def looks(request: pytest.FixtureRequest) -> tuple[Enhancer, Enhancer]:
    """The shipped network, held to the level and not."""
    checkpoint = load(DEFAULT_WEIGHTS[request.param])
    held, free = Look(denoise=0), Look(denoise=0, floor="off")
    return Enhancer(checkpoint, held, estimate_size=128), Enhancer(checkpoint, free, estimate_size=128)


@pytest.mark.parametrize("level", [0.08, 0.15, 0.3])
def test_a_lit_corner_of_a_black_picture_is_not_brought_to_white(
    level: float, looks: tuple[Enhancer, Enhancer]
) -> None:
    held, free = (enhancer.enhance([_corner(level)])[0][-40:, -40:].mean() / 255 for enhancer in looks)
    assert 1.2 * level < held < 0.6
    assert held <= free


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("level", [0.08, 0.15, 0.3])
def test_any_curve_is_held_to_the_level(level: float, space: Space) -> None:
    [held] = brightening(Look(denoise=0), -0.7, space).enhance([_corner(level)])
    [free] = brightening(Look(denoise=0, floor="off"), -0.7, space).enhance([_corner(level)])
    assert free[-40:, -40:].mean() > 0.65 * 255
    assert held[-40:, -40:].mean() / 255 == pytest.approx(LEVEL, abs=0.04)


@pytest.mark.parametrize("level", [0.04, 0.08, 0.12])
def test_an_ordinary_dark_photo_is_as_bright_as_without(level: float, looks: tuple[Enhancer, Enhancer]) -> None:
    held, free = (enhancer.estimate([_street(level)])[0].passes for enhancer in looks)
    for one, other in zip(held, free, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_bright_photo_does_not_get_darker(looks: tuple[Enhancer, Enhancer]) -> None:
    image = _street(0.75)
    [enhanced] = looks[0].enhance([image])
    assert enhanced.mean() > image.mean() - 0.02 * 255


def test_each_image_of_a_batch_gets_its_own(looks: tuple[Enhancer, Enhancer]) -> None:
    images = [_corner(0.15), _street(0.08), _corner(0.3), _street(0.75)]
    for together, image in zip(looks[0].estimate(images), images, strict=True):
        [alone] = looks[0].estimate([image])
        torch.testing.assert_close(together.passes[0], alone.passes[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("space", SPACES)
def test_maps_are_weakened_by_one_factor_for_each_image(space: Space) -> None:
    images = torch.stack([torch.from_numpy(each).permute(2, 0, 1) / 255 for each in (_corner(0.3), _street(0.04))])
    channels = 1 if space == "srgb" else 2
    maps = torch.full((2, 8, channels, 192, 256), -0.3) * torch.linspace(0.5, 1, 256)
    held = held_to_level(maps, 1, images, torch.zeros(2), space)
    factors = held / maps
    assert factors[0].max() < 0.99
    torch.testing.assert_close(factors[0], factors[0].mean().expand_as(factors[0]))
    assert (held[1] == maps[1]).all() or lift(images[1:], [maps[1:]], 8, space).mean() > 0.5


def test_of_all_black_nothing_is_asked() -> None:
    maps, black = torch.full((1, 8, 1, 9, 9), -0.9), torch.zeros(1, 3, 9, 9)
    held = held_to_level(maps, 1, black, torch.zeros(1), "srgb")
    assert held.isfinite().all()
