"""What the shipped weights promise. Photos are made by code; the model card has the scores on real ones."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model import DEFAULT_WEIGHTS, Enhancer, Look, Variant, load

Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module", params=["dce", "plus"])
def enhancer(request: pytest.FixtureRequest) -> Enhancer:
    variant: Variant = request.param
    checkpoint = load(DEFAULT_WEIGHTS[variant])
    assert checkpoint.estimate_size == 128
    return Enhancer(checkpoint, estimate_size=checkpoint.estimate_size)


def enhance(enhancer: Enhancer, image: Floats) -> Floats:
    """Floats in [0, 1], in 16 bits so that no rounding hides what the network does."""
    return enhancer.enhance([(image * 65535).round().astype(np.uint16)])[0] / 65535


def flat(level: float, side: int = 64) -> Floats:
    return np.full((side, side, 3), level)


def street(level: float, seed: int = 7) -> Floats:
    """A textured scene of mean brightness `level`."""
    rng = np.random.default_rng(seed)
    blocks = rng.uniform(0.3, 1.7, (12, 18, 3)).repeat(20, axis=0).repeat(20, axis=1)
    return (blocks * rng.uniform(0.8, 1.2, blocks.shape) * level).clip(0, 1)


@pytest.mark.parametrize("level", [0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 0.99])
def test_flat_grey_stays_grey(enhancer: Enhancer, level: float) -> None:
    assert np.ptp(enhance(enhancer, flat(level)), axis=2).max() < 0.005


@pytest.mark.parametrize("level", [0.02, 0.1, 0.4, 0.9])
def test_corners_are_as_bright_as_the_centre(enhancer: Enhancer, level: float) -> None:
    assert np.ptp(enhance(enhancer, flat(level, 200))) < 0.01


@pytest.mark.parametrize("variant", DEFAULT_WEIGHTS)
def test_brighter_greys_stay_brighter(variant: Variant) -> None:
    """By the curve alone: a photo that is nothing but near-black of one value has nothing to be seen."""
    greys = [(flat(level, 16) * 65535).round().astype(np.uint16) for level in np.linspace(0.01, 0.99, 99)]
    plain = Enhancer(load(DEFAULT_WEIGHTS[variant]), Look(denoise=0, floor="off"), estimate_size=128)
    assert np.diff([enhanced.mean() for enhanced in plain.enhance(greys)]).min() > 0


def test_nothing_gets_darker_and_white_stays_white(enhancer: Enhancer) -> None:
    for level in (0.05, 0.2, 0.45, 0.6, 0.8):
        assert enhance(enhancer, flat(level, 16)).mean() > level - 0.02
    assert enhance(enhancer, flat(1.0, 16)).min() == 1


@pytest.mark.parametrize("texture", [0.0, 1.0], ids=["flat", "street"])
def test_noise_in_the_dark_becomes_visible(enhancer: Enhancer, texture: float) -> None:
    rng = np.random.default_rng(8)
    scene = texture * street(0.017) + (1 - texture) * 0.017
    dark = (scene + rng.normal(0, 0.006, scene.shape)).clip(0, 1)
    assert dark.mean() == pytest.approx(0.017, abs=0.003)
    assert enhance(enhancer, dark).mean() > 0.25


def test_a_dark_photo_is_lifted_and_a_bright_one_left_alone(enhancer: Enhancer) -> None:
    assert 0.3 < enhance(enhancer, street(0.08)).mean() < 0.65
    bright = street(0.65)
    assert bright.mean() > 0.6
    assert enhance(enhancer, bright).mean() == pytest.approx(bright.mean(), abs=0.02)


def test_the_dark_half_is_lifted_more_than_the_bright_half(enhancer: Enhancer) -> None:
    backlit = np.concatenate([street(0.7), street(0.08)], axis=0)
    gain = enhance(enhancer, backlit).mean((1, 2)) / backlit.mean((1, 2))
    assert gain[300:].mean() > 1.5 * gain[:180].mean()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (300, 5, 3), (64, 64, 3)])
def test_all_black_stays_black(enhancer: Enhancer, shape: tuple[int, int, int]) -> None:
    assert enhancer.enhance([np.zeros(shape, np.uint8)])[0].max() == 0
    maps = enhancer.estimate([np.zeros(shape, np.uint8)])[0].passes[0]
    assert maps.isfinite().all()


def test_bf16_is_as_good_as_fp32_on_real_photos(shared: Path) -> None:
    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    fine, coarse = (Enhancer(checkpoint, estimate_size=128, precision=precision) for precision in ("fp32", "bf16"))
    paths = sorted(path for name in ("dicm", "lime") for path in (shared / "data" / "dev" / name).iterdir())[::4]
    for path in paths:
        with Image.open(path) as photo:
            pixels = np.asarray(photo.convert("RGB"))
        difference = fine.enhance([pixels])[0].astype(float) - coarse.enhance([pixels])[0]
        assert 10 * np.log10(255**2 / (difference**2).mean()) > 50
