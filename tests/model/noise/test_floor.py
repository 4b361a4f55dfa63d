"""What is found of an image's noise, and of what its camera did not see. All media is made by code."""

from collections.abc import Callable

import numpy as np
import pytest

from model import Coding, Floor, Look, mean_floor
from model.curve.light import BT709
from model.noise.cleaning import cell_side
from model.noise.floor import _quantile, floor_of, floor_of_planes
from tests.model.test_enhancer import brightening

SIZE = 256, 384
DEVIATIONS = [0.7, 1.5, 3.0, 6.0]  # codes of 255
OF_LUMA = float(np.linalg.norm(BT709))  # noise of each channel by itself, as luma has it
OF_COLOUR = float(np.hypot(*(np.linalg.norm(np.eye(3)[channel] - BT709) for channel in (0, 2))))
Scene = Callable[[int, float], np.ndarray]


def flat(channels: int, level: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((*size, channels), float(level))


def ramp(channels: int, level: float) -> np.ndarray:
    return flat(channels, level) * np.linspace(0.7, 1.3, SIZE[1])[:, None]


def half_textured(channels: int, level: float) -> np.ndarray:
    """Texture of every size on the left, as leaves and walls have it, and an even sky on the right."""
    random, texture = np.random.default_rng(1), flat(channels, 0.0)
    for side, share in ((64, 1.0), (16, 0.6), (4, 0.5), (2, 0.4)):
        rows, columns = (-(-pixels // side) for pixels in SIZE)
        blocks = random.uniform(-share, share, (rows, columns, channels))
        texture += blocks.repeat(side, 0).repeat(side, 1)[: SIZE[0], : SIZE[1]]
    texture[:, SIZE[1] // 2 :] = 0
    return level * (1 + 0.25 * texture)


def noisy(scene: np.ndarray, deviation: float, dtype: type = np.uint8) -> np.ndarray:
    """`scene` and `deviation`: in codes of 255."""
    white = np.iinfo(dtype).max
    values = scene + np.random.default_rng(2).normal(0, deviation, scene.shape)
    return (values * (white / 255)).round().clip(0, white).astype(dtype)


@pytest.mark.parametrize("scene", [flat, ramp, half_textured])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_noise_of_known_deviation_is_found_within_a_quarter(
    deviation: float, channels: int, dtype: type, scene: Scene
) -> None:
    for level in (20, 45, 110):
        floor = floor_of(noisy(scene(channels, level), deviation, dtype))
        expected = deviation * (OF_LUMA if channels == 3 else 1)
        assert 255 * floor.noise_at(level / 255) == pytest.approx(expected, rel=0.25)
        expected = deviation * OF_COLOUR if channels == 3 else 0
        assert 255 * floor.colour_noise == pytest.approx(expected, rel=0.25)


def test_noise_is_told_by_luma() -> None:
    """As sensors have it: more where there is more light."""
    levels = np.linspace(20, 180, 384)
    scene = flat(1, 1) * levels[:, None]
    floor = floor_of(_of_light(scene))
    for level in (40, 80, 120, 160):
        assert 255 * floor.noise_at(level / 255) == pytest.approx(0.3 * level**0.5, rel=0.25)


def _of_light(scene: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, 1, scene.shape) * 0.3 * np.sqrt(scene)
    return (257 * (scene + noise)).round().astype(np.uint16)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_noise_of_planes_is_found_within_a_quarter(
    deviation: float, across: int, down: int, depth: int, full: bool
) -> None:
    coding = Coding(red=0.2126, blue=0.0722, depth=depth, full=full, across=across, down=down)
    red, _, blue, black, span, _, chroma_span, _ = map(float, coding.numbers)
    luma, of_blue, of_red = _planes(coding, black + 0.2 * span, deviation)
    floor = floor_of_planes([luma, of_blue, of_red], luma.shape[1], across, coding.numbers)
    codes = deviation * (1 << (depth - 8))
    assert floor.noise_at(0.2) == pytest.approx(codes / span, rel=0.25)
    colours = np.hypot(2 * (1 - red), 2 * (1 - blue)) * codes / chroma_span
    assert floor.colour_noise == pytest.approx(colours, rel=0.25)


def _planes(coding: Coding, level: float, deviation: float) -> list[np.ndarray]:
    """Y, Cb and Cr with noise of `deviation` codes of 8 bits on an even grey."""
    random, scale = np.random.default_rng(4), 1 << (coding.depth - 8)
    small = SIZE[0] // coding.down, SIZE[1] // coding.across
    shapes = ((SIZE, level), (small, 128 * scale), (small, 128 * scale))
    planes = [random.normal(middle, deviation * scale, size) for size, middle in shapes]
    return [plane.round().astype(np.uint8 if coding.depth == 8 else np.uint16) for plane in planes]


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_of_a_large_picture_is_that_of_means_of_its_pixels(channels: int) -> None:
    size = 900, 3800
    assert cell_side(*size) == 4
    picture = noisy(flat(channels, 45, size), 3)
    floor = _floor(Look(), picture)
    expected = 3 / 2 * (OF_LUMA if channels == 3 else 1)  # of 2 x 2 pixels
    assert 255 * floor.noise_at(45 / 255) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scene", [flat, ramp])
def test_a_clean_smooth_picture_has_hardly_any_noise(scene: Scene, dtype: type) -> None:
    floor = floor_of(noisy(scene(3, 60), 0, dtype))
    assert 255 * floor.noise.max() < 0.3
    assert 255 * floor.colour_noise < 0.3


def test_texture_everywhere_is_not_taken_for_much_noise() -> None:
    scene = half_textured(3, 60)[:, : SIZE[1] // 2]
    assert 255 * floor_of(noisy(scene, 0)).noise.max() < 0.1 * scene.std()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_black_is_the_darkest_part_but_no_bright_one(dtype: type) -> None:
    for pedestal in (0.0, 1.5, 3.0):
        scene = flat(3, 40)
        scene[:, :100] = pedestal
        floor = floor_of(noisy(scene, 0, dtype))
        assert 255 * floor.black == pytest.approx(round(pedestal) if dtype == np.uint8 else pedestal, abs=0.1)
    bright = floor_of(noisy(flat(3, 100), 2, dtype))
    assert 255 * bright.black <= 4.01


def test_what_a_codec_left_of_the_dark_is_told_from_noise_in_the_dark() -> None:
    scene = flat(3, 40)
    scene[:, :200] = 3
    assert floor_of(noisy(scene, 0), is_frame=True).coded_away == 1
    assert floor_of(noisy(scene, 1.5), is_frame=True).coded_away == 0
    assert floor_of(noisy(scene, 0)).coded_away == 0  # a photo


def test_black_does_not_jump_while_a_scene_hardly_changes() -> None:
    """A few blocks more of the darkest code must not halve the light of the next ones, as it flickers in a film."""
    codes = np.random.default_rng(0).permutation(np.linspace(0, 1, 64 * 96))
    blacks = []
    for share in (0.006, 0.008, 0.0099, 0.0101, 0.012, 0.015):
        blocks = np.where(codes < share, 20, 21 + 39 * codes**2).astype(np.uint8).reshape(64, 96)
        image = blocks.repeat(4, 0).repeat(4, 1)[..., None].repeat(3, 2)
        blacks.append(255 * floor_of(image, is_frame=True).black)
    assert np.abs(np.diff(blacks)).max() < 0.15


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 7), (8, 7), (8, 8), (16, 16), (0, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_hardly_any_pixels_little_is_known(size: tuple[int, int], channels: int) -> None:
    floor = floor_of(np.full((*size, channels), 30, np.uint8))
    assert np.isfinite(floor.noise).all()
    assert 0 <= floor.black <= 12 / 255 + 1e-6
    assert floor.noise.max() == floor.colour_noise == 0


def _floor(look: Look, picture: np.ndarray) -> Floor:
    floor = brightening(look).floor_of(picture)
    assert floor is not None
    return floor


def test_the_look_says_what_is_taken_of_what_was_found() -> None:
    picture = noisy(flat(3, 30), 2)
    found = floor_of(picture)
    auto, one, off = (_floor(look, picture) for look in (Look(), Look(denoise=1), Look(floor="off")))
    np.testing.assert_array_equal(auto.noise, found.noise)
    np.testing.assert_allclose(one.noise, 1 / 255)
    assert (one.black, one.has_unseen) == (found.black, True)
    np.testing.assert_array_equal(off.noise, found.noise)
    assert (off.black, off.has_unseen) == (0, False)
    assert brightening(Look(denoise=0, floor="off")).floor_of(picture) is None


def test_quantiles_are_those_of_numpy() -> None:
    random = np.random.default_rng(3)
    for count in (1, 2, 7, 100):
        values = random.random(count).astype(np.float32)
        for share in (0.0, 0.1, 0.5, 0.77, 1.0):
            assert _quantile(values, share) == pytest.approx(np.quantile(values, share), abs=1e-6)


def _floors() -> tuple[Floor, Floor]:
    lit = flat(3, 40)
    lit[:, :100] = 3
    return floor_of(noisy(lit, 0)), floor_of(noisy(lit, 4))


def _numbers(floor: Floor) -> np.ndarray:
    return np.array([floor.black, floor.coded_away, floor.colour_noise, *floor.noise])


def test_the_mean_of_equal_floors_is_that_floor() -> None:
    for floor in _floors():
        mean = mean_floor([(0.25, floor), (0.5, floor), (0.25, floor)])
        np.testing.assert_allclose(_numbers(mean), _numbers(floor), rtol=1e-5)
        assert mean.has_unseen == floor.has_unseen
        assert not mean_floor([(0.5, floor.all_seen())] * 2).has_unseen


def test_the_mean_of_two_floors_is_between() -> None:
    one, other = _floors()
    mean = mean_floor([(0.25, one), (0.75, other)])
    np.testing.assert_allclose(_numbers(mean), 0.25 * _numbers(one) + 0.75 * _numbers(other), rtol=1e-5)
