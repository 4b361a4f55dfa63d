"""An image cleaned before the curve lifts it, and held back after: what users see of it. All media is made by code."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from model import Coding, CurveMaps, Floor, Look, Space
from model.curve.light import BT709
from model.enhancer import Pixels
from model.full_size.cells import coefficients_of
from model.full_size.cpu import Cells, apply_curves
from model.full_size.reduce import moments_of, moments_of_planes
from model.noise.cleaning import cell_side, coefficients, moments
from model.noise.floor import LEVELS
from tests.model.test_enhancer import PLAIN, brightening

SPACES: list[Space] = ["srgb", "light"]
MAP_CHANNELS = {"srgb": 1, "light": 2}
HD = Coding(red=0.2126, blue=0.0722, depth=8, full=False, across=1, down=1)


def _rounded(scene: np.ndarray, dtype: type = np.uint8) -> Pixels:
    """`scene`: in codes of 255."""
    white = np.iinfo(dtype).max
    return (scene * (white / 255)).round().clip(0, white).astype(dtype)


def _flat(*size: int, level: float = 30, channels: int = 3) -> np.ndarray:
    return np.full((*size, channels), float(level))


def _noisy(scene: np.ndarray, deviation: float = 2, dtype: type = np.uint8) -> Pixels:
    return _rounded(scene + np.random.default_rng(2).normal(0, deviation, scene.shape), dtype)


def _photo(*size: int, lowest: float = 20, highest: float = 90) -> np.ndarray:
    """Texture of every size down to a pixel, of one hue here and another there."""
    random, texture = np.random.default_rng(1), np.zeros(size)
    for side, share in ((32, 1.0), (16, 0.6), (4, 0.5), (2, 0.4), (1, 0.4)):
        blocks = random.uniform(-share, share, [-(-pixels // side) for pixels in size])
        texture += blocks.repeat(side, 0).repeat(side, 1)[: size[0], : size[1]]
    tints = random.uniform(0.7, 1, (-(-size[0] // 64), -(-size[1] // 64), 3)).repeat(64, 0).repeat(64, 1)
    luma = lowest + (highest - lowest) * (texture - texture.min()) / max(np.ptp(texture), 1e-9)
    return luma[..., None] * tints[: size[0], : size[1]]


def _with_sky(photo: np.ndarray) -> np.ndarray:
    """An even evening sky over the upper quarter: a photo without any flat part cannot be told from noise."""
    height, width, _ = photo.shape
    photo[: height // 4] = np.linspace(30, 60, width)[:, None] * (0.8, 0.9, 1.0)
    return photo


def _lift(image: Pixels, look: Look = Look(), space: Space = "srgb") -> np.ndarray:
    """In codes of 255, by the curve that `PLAIN` would take it through."""
    [maps] = brightening(PLAIN, space=space).estimate([image])
    enhancer = brightening(look, space=space)
    lifted = enhancer.apply(image, replace(maps, floor=enhancer.floor_of(image)))
    assert (lifted.shape, lifted.dtype) == (image.shape, image.dtype)
    return lifted * (255 / np.iinfo(image.dtype).max)


def _luma(image: np.ndarray) -> np.ndarray:
    return image @ np.array(BT709) if image.shape[2] == 3 else image[..., 0]


def _chroma(image: np.ndarray) -> np.ndarray:
    return image[..., ::2] - _luma(image)[..., None]


# What was not seen


def _half_lit(black: tuple[float, ...], size: tuple[int, int] = (192, 320)) -> np.ndarray:
    """Black on the left; on the right, from the 160th column, patches of 30 codes and more."""
    scene = _flat(*size) * 0 + black
    patches = np.random.default_rng(5).uniform(30, 80, (size[0] // 16, 10, 1)).repeat(16, 0).repeat(16, 1)
    scene[:, 160:] = patches * (1, 0.9, 0.8)[: len(black)] if len(black) > 1 else patches
    return scene


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("black", [(0.0,), (2.0,), (2.0, 1.0, 3.0), (0.0, 0.0, 2.0)])
def test_a_black_pedestal_stays_black_and_neutral_and_what_is_lit_beside_it_is_lifted(
    black: tuple[float, ...], dtype: type, space: Space
) -> None:
    image = _rounded(_half_lit(black), dtype)
    lifted, plain = _lift(image, space=space), _lift(image, PLAIN, space)
    unseen, lit = np.s_[:, :120], np.s_[:, 200:]
    assert _luma(lifted[unseen]).mean() < 0.03 * 255
    assert np.ptp(lifted[unseen], axis=2).max() <= 2
    assert plain[lit].mean() > 1.5 * image[lit].mean() * 255 / np.iinfo(dtype).max
    assert np.abs(lifted[lit] - plain[lit]).max() <= 2


def _lift_planes(planes: list[np.ndarray], coding: Coding, look: Look, space: Space = "srgb") -> list[np.ndarray]:
    enhancer, size = brightening(look, space=space), planes[0].shape
    maps = CurveMaps(
        (torch.full((1, 8, MAP_CHANNELS[space], *size), -0.25),),
        1,
        enhancer.floor_of_planes(planes, planes[0].shape[1], coding),
    )
    lifted = [np.empty_like(plane) for plane in planes]
    enhancer.apply_to_planes(planes, lifted, size[1], coding, maps)
    return lifted


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 2)])
def test_a_black_pedestal_of_a_video_stays_black_and_neutral(across: int, down: int, space: Space) -> None:
    """Blocks of near-black whose chroma is off by one, as codecs leave them."""
    coding = replace(HD, across=across, down=down)
    luma = np.full((192, 320), 18, np.uint8)
    luma[:, 160:] = 16 + np.random.default_rng(5).integers(30, 80, (12, 10)).repeat(16, 0).repeat(16, 1)
    planes = [luma, *(np.full((192 // down, 320 // across), 129, np.uint8) for _ in range(2))]
    lifted, plain = (_lift_planes(planes, coding, look, space) for look in (Look(), PLAIN))
    assert lifted[0][:, :120].mean() < 16 + 0.03 * 219
    assert plain[0][:, :120].mean() > 16 + 0.03 * 219
    for before, after in zip(plain[1:], lifted[1:], strict=True):
        assert np.abs(after[:, : 120 // across].astype(int) - 128).max() <= 1
        assert np.abs(before[:, 200 // across :].astype(int) - after[:, 200 // across :]).max() <= 2
    assert np.abs(plain[0][:, 200:].astype(int) - lifted[0][:, 200:]).max() <= 2


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("pixels_a_code", [2, 5, 8, 20])
@pytest.mark.parametrize("first", [0, 20])
def test_a_clean_ramp_stays_monotone_and_unbanded(first: int, pixels_a_code: int, dtype: type, space: Space) -> None:
    width = 30 * pixels_a_code
    greys = np.round(first + np.arange(width) / pixels_a_code, 0 if dtype == np.uint8 else 9)
    image = _rounded(_flat(48, width) * 0 + greys[:, None], dtype)
    lifted, plain = _lift(image, space=space), _lift(image, PLAIN, space)
    one = 255 / np.iinfo(dtype).max  # a code of its own
    assert np.diff(lifted, axis=1).min() > (-0.01 if dtype == np.uint8 else -1.01 * one)
    assert np.diff(lifted, axis=1).max() <= np.diff(plain, axis=1).max() + 1
    assert np.ptp(lifted, axis=2).max() < (0.01 if dtype == np.uint8 else 1.01 * one)
    assert np.ptp(lifted, axis=0).max() <= 1


# Noise


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("level", "deviation"), [(12, 1), (12, 3), (20, 2), (30, 1), (30, 4)])
def test_noise_falls_to_less_than_two_fifths_and_that_of_colour_to_a_quarter(
    level: float, deviation: float, dtype: type, space: Space
) -> None:
    image = _noisy(_flat(160, 240, level=level), deviation, dtype)
    lifted, plain = _lift(image, space=space), _lift(image, Look(denoise=0), space)
    assert _luma(lifted).std() < 0.4 * _luma(plain).std()
    assert _chroma(lifted).std() < 0.25 * _chroma(plain).std()
    assert _luma(lifted).mean() == pytest.approx(_luma(plain).mean(), rel=0.02)


def test_noise_of_a_grey_picture_and_of_a_large_one_falls_too() -> None:
    for scene in (_flat(160, 240, channels=1), _flat(100, 3700)):
        image = _noisy(scene)
        assert _luma(_lift(image)).std() < 0.4 * _luma(_lift(image, Look(denoise=0))).std()


def test_a_number_says_how_much_is_smoothed_whatever_was_found() -> None:
    image = _noisy(_flat(160, 240), 2)
    deviations = [_luma(_lift(image, Look(denoise=amount))).std() for amount in (0, 0.5, 1, 2)]
    assert all(more < 0.9 * less for less, more in pairwise(deviations))


@pytest.mark.parametrize("deviation", [0, 1, 3])
def test_an_edge_survives(deviation: float) -> None:
    scene = _flat(128, 192, level=20)
    scene[:, 96:] = 45
    image = _noisy(scene, deviation)
    lifted, plain = (_luma(_lift(image, look)).mean(axis=0) for look in (Look(), PLAIN))
    step = lifted[[97, 98]].mean() - lifted[[93, 94]].mean()
    assert step >= 0.85 * (plain[[97, 98]].mean() - plain[[93, 94]].mean())


@pytest.mark.parametrize("space", SPACES)
def test_a_clean_photo_keeps_its_detail(space: Space) -> None:
    image = _rounded(_with_sky(_photo(256, 320)))
    assert np.abs(_lift(image, space=space) - _lift(image, PLAIN, space)).mean() < 0.6


# What is left alone


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_without_denoise_and_floor_it_is_the_curve_alone_to_the_bit(dtype: type, space: Space) -> None:
    image, enhancer = _noisy(_half_lit((2.0, 1.0, 3.0)), dtype=dtype), brightening(PLAIN, space=space)
    [maps] = enhancer.estimate([image])
    assert maps.floor is None
    curves = [each[0].numpy() for each in maps.passes]
    [enhanced] = enhancer.enhance([image])
    np.testing.assert_array_equal(enhanced, apply_curves(image, curves, maps.factor, 8, space, None))


@pytest.mark.parametrize("denoise", ["auto", 2.0])
@pytest.mark.parametrize("nothing", [{"strength": 0.0}, {"iterations": 0}])
def test_what_is_not_lifted_keeps_every_pixel(nothing: dict[str, float], denoise: float) -> None:
    image = _noisy(_half_lit((2.0, 1.0, 3.0)))
    [enhanced] = brightening(Look(denoise=denoise, **nothing)).enhance([image])  # type: ignore[arg-type]
    np.testing.assert_array_equal(enhanced, image)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("deviation", [0, 2])
def test_grey_stays_grey_whether_in_one_channel_or_in_three(deviation: float, space: Space) -> None:
    grey = _noisy(_half_lit((2.0,))[..., :1], deviation)
    rgb = _lift(grey.repeat(3, axis=2), space=space)
    assert np.ptp(rgb, axis=2).max() == 0
    assert np.abs(rgb[..., :1] - _lift(grey, space=space)).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 4), (7, 7), (16, 16)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiny_images_are_lifted(size: tuple[int, int], dtype: type, channels: int) -> None:
    image = _noisy(_flat(*size, channels=channels), 3, dtype)
    for look in (Look(), Look(denoise=2)):
        [enhanced] = brightening(look).enhance([image])
        assert (enhanced.shape, enhanced.dtype) == (image.shape, image.dtype)
        assert enhanced.mean() > 1.5 * image.mean()
    coding = replace(HD, across=2, down=2)
    half = [-(-pixels // 2) for pixels in size]
    planes = [np.full(size, 46, np.uint8), *(np.full(half, 128, np.uint8) for _ in range(2))]
    luma, *chroma = _lift_planes(planes, coding, Look())
    assert luma.mean() > 16 + 1.5 * 30
    assert all((plane == 128).all() for plane in chroma)


# Loops against the reference


def _random_floor(random: np.random.Generator) -> Floor:
    noise_L = random.uniform(0, 0.02, len(LEVELS)).astype(np.float32)
    black, plain, coded_away = random.uniform(0, [0.02, 1, 1])
    return Floor(black, plain, coded_away, noise_L, random.uniform(0, 0.03))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "factor"), [((1, 1), 2), ((3, 790), 5), ((61, 385), 3), ((130, 97), 16), ((400, 5), 7), ((20, 3650), 33)]
)
@pytest.mark.parametrize("cleaned", [True, False])
def test_loops_equal_the_reference(
    cleaned: bool, size: tuple[int, int], factor: int, channels: int, dtype: type, space: Space
) -> None:
    random = np.random.default_rng([*size, channels])
    image = _noisy(_photo(*size, lowest=0, highest=200)[..., :channels], 3, dtype)
    shape = 1, 8, MAP_CHANNELS[space], *(-(-pixels // factor) for pixels in size)
    passes = tuple(torch.from_numpy(random.uniform(-0.5, 0.1, shape).astype(np.float32)) for _ in range(2))
    maps = CurveMaps(passes, factor, _random_floor(random) if cleaned else None)
    enhancer = brightening(Look(passes=2, iterations=5), space=space)
    fast, reference = (
        enhancer.apply(image, maps),
        enhancer._applied(image, maps, _cells_by_reference(image, maps, space)),
    )
    difference = np.abs(fast.astype(float) - reference) * (255 / np.iinfo(dtype).max)
    assert difference.max() <= (2 if dtype == np.uint8 else 1)
    assert (difference > 1).mean() <= 1e-3
    assert difference.mean() < 0.02


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("size", [(61, 64), (61, 61), (5, 70)])
def test_cells_that_stick_out_below_full_size_maps_equal_the_reference(size: tuple[int, int], space: Space) -> None:
    """With a height of 4 n + 1, the middle of the last two rows of cells is below the last row of maps."""
    random = np.random.default_rng(size)
    image, shape = _noisy(_photo(*size)), (1, 8, MAP_CHANNELS[space], *size)
    maps = torch.from_numpy(random.uniform(-0.9, -0.5, shape).astype(np.float32))
    settings = 2, _random_floor(random), 1, 8, space
    moments_Phw = moments_of(image, 2)
    found = coefficients_of(moments_Phw, [maps[0].numpy()], *settings).transpose(1, 0, 2)
    expected = coefficients(torch.from_numpy(moments_Phw)[None], (maps,), *settings)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def _as_tensor(image: Pixels) -> torch.Tensor:
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / np.iinfo(image.dtype).max


def _cells_by_reference(image: Pixels, maps: CurveMaps, space: Space) -> Cells | None:
    if maps.floor is None:
        return None
    side = cell_side(*image.shape[:2])
    found = coefficients(
        moments(_as_tensor(image), side),
        passes=maps.passes,
        side=side,
        floor=maps.floor,
        factor=maps.factor,
        iterations=5,
        space=space,
    )
    return Cells(found, side, maps.floor.black)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (7, 7), (33, 1), (50, 70), (5, 3700), (7300, 9)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_moments_equal_the_reference(size: tuple[int, int], channels: int, dtype: type) -> None:
    image = np.random.default_rng(6).integers(0, np.iinfo(dtype).max + 1, (*size, channels), dtype)
    side = cell_side(*size)
    np.testing.assert_allclose(moments_of(image, side), moments(_as_tensor(image), side)[0].numpy(), atol=2e-6)


@pytest.mark.parametrize("side", [2, 4])
@pytest.mark.parametrize("full", [False, True])
def test_moments_of_planes_are_those_of_rgb(full: bool, side: int) -> None:
    coding = replace(HD, full=full)
    planes = _as_planes(_photo(50, 70), coding)
    found = moments_of_planes(planes, (50, 70), (1, 1), coding.numbers, side)
    x = torch.from_numpy(_as_rgb(planes, coding)).float().permute(2, 0, 1)[None] / 255
    np.testing.assert_allclose(found, moments(x, side)[0].numpy(), atol=2e-5)


def _as_planes(rgb: np.ndarray, coding: Coding) -> list[np.ndarray]:
    red, _, blue, black, span, grey, chroma_span, _ = map(float, coding.numbers)
    luma = _luma(rgb) / 255
    parts = ((rgb[..., 2] / 255 - luma) / (2 * (1 - blue)), (rgb[..., 0] / 255 - luma) / (2 * (1 - red)))
    planes = [black + span * luma, *(grey + chroma_span * part for part in parts)]
    return [plane.round().clip(0, 255).astype(np.uint8) for plane in planes]


def _as_rgb(planes: list[np.ndarray], coding: Coding) -> np.ndarray:
    """In codes of 255, not rounded."""
    red, green, blue, black, span, grey, chroma_span, _ = map(float, coding.numbers)
    luma, of_blue, of_red = (plane.astype(float) for plane in planes)
    luma, of_blue, of_red = (luma - black) / span, (of_blue - grey) / chroma_span, (of_red - grey) / chroma_span
    r, b = luma + 2 * (1 - red) * of_red, luma + 2 * (1 - blue) * of_blue
    return 255 * np.stack([r, (luma - red * r - blue * b) / green, b], axis=2)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("look", [Look(), Look(denoise=1), PLAIN])
def test_planes_are_cleaned_as_rgb_is(look: Look, full: bool, space: Space) -> None:
    coding = replace(HD, full=full)
    planes = _as_planes(_noisy(_photo(120, 200)).astype(float), coding)
    rgb = _rounded(_as_rgb(planes, coding), np.uint16)
    enhancer = brightening(look, space=space)
    floor = enhancer.floor_of_planes(planes, planes[0].shape[1], coding)
    maps = CurveMaps((torch.full((1, 8, MAP_CHANNELS[space], 60, 100), -0.25),), 2, floor)
    lifted = [np.empty_like(plane) for plane in planes]
    enhancer.apply_to_planes(planes, lifted, 200, coding, maps)
    difference = _as_rgb(lifted, coding) - enhancer.apply(rgb, maps) / 257
    assert np.abs(_luma(difference)).max() <= 1
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("across", "down"), [(2, 2), (2, 1)])
@pytest.mark.parametrize("size", [(96, 200), (61, 1371), (33, 35)])
def test_planes_with_fewer_chroma_samples_are_cleaned_as_rgb_is(
    size: tuple[int, int], across: int, down: int, space: Space
) -> None:
    """Under random maps and floors: luma of each pixel, and chroma on the mean of a sample's pixels."""
    random, coding = np.random.default_rng(size), replace(HD, across=across, down=down)
    luma, *chroma = _as_planes(_noisy(_photo(*size, lowest=10, highest=180)).astype(float), HD)
    planes = [luma, *(np.ascontiguousarray(plane[::down, ::across]) for plane in chroma)]
    whole = [luma, *(plane.repeat(down, 0).repeat(across, 1)[: size[0], : size[1]] for plane in planes[1:])]
    rgb = _rounded(_as_rgb(whole, coding), np.uint16)
    shape = 1, 8, MAP_CHANNELS[space], *(-(-pixels // 7) for pixels in size)
    passes = (torch.from_numpy(random.uniform(-0.5, 0.1, shape).astype(np.float32)),)
    maps = CurveMaps(passes, 7, _random_floor(random))
    enhancer = brightening(space=space)
    lifted = [np.empty_like(plane) for plane in planes]
    enhancer.apply_to_planes(planes, lifted, size[1], coding, maps)
    expected = enhancer.apply(rgb, maps) / 257.0
    expected_luma = _luma(expected)
    assert np.abs((lifted[0] - 16.0) * 255 / 219 - expected_luma)[1:-1, 1:-1].max() <= 2
    for number, share, channel in ((1, 0.0722, 2), (2, 0.2126, 0)):
        pixels = (expected[..., channel] - expected_luma) / (2 * (1 - share)) * (224 / 255)
        rows, columns = (count // each for count, each in zip(size, (down, across), strict=True))
        boxes = pixels[: rows * down, : columns * across].reshape(rows, down, columns, across)
        difference = lifted[number][:rows, :columns] - 128.0 - boxes.mean(axis=(1, 3))
        assert np.abs(difference)[1:-1, 1:-1].max() <= 2
        assert np.abs(difference).mean() < 0.5


def test_coefficients_of_a_batch_are_those_of_each() -> None:
    images = [torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(seed)) * 0.2 for seed in range(3)]
    maps = [torch.full((1, 8, 1, 10, 15), -0.1 * (1 + number)) for number in range(3)]
    floor = _random_floor(np.random.default_rng(7))

    def cells(of: torch.Tensor, under: torch.Tensor) -> torch.Tensor:
        seen, passes = moments(of, 2), [under]
        return coefficients(seen, passes=passes, side=2, floor=floor, factor=4, iterations=8, space="srgb")

    alone = [cells(image, each) for image, each in zip(images, maps, strict=True)]
    torch.testing.assert_close(cells(torch.cat(images), torch.cat(maps)), torch.cat(alone))
