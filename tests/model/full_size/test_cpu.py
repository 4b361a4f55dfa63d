"""The fused kernel against the readable reference, and what it promises of memory."""

import tracemalloc

import numpy as np
import pytest
import torch

from model.curve.light import Space, lift
from model.curve.reference import upsample
from model.full_size.cpu import Coding, apply_curves, apply_curves_to_planes
from model.full_size.tiles import TILE

KINDS = [(1, "srgb"), (3, "srgb"), (2, "light")]  # channels of the maps, and what the curve acts on


def _reference(
    image: np.ndarray, passes: list[np.ndarray], factor: int, iterations: int, space: Space = "srgb"
) -> np.ndarray:
    white, rows = np.iinfo(image.dtype).max, slice(0, image.shape[0])
    x = torch.from_numpy(image.astype(np.int32)).permute(2, 0, 1)[None].float() / white
    full = [upsample(torch.from_numpy(maps)[None], factor, rows, image.shape[1]) for maps in passes]
    x = lift(x, full, iterations, space)
    return (x * white).round().clamp(0, white)[0].permute(1, 2, 0).numpy()


def _image(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


def _maps(image: np.ndarray, factor: int, count: int, channels: int, seed: int = 0) -> np.ndarray:
    height, width, _ = image.shape
    size = count, channels, -(-height // factor), -(-width // factor)
    return np.random.default_rng(seed).uniform(-1, 1, size).astype(np.float32)


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("iterations", [0, 1, 3, 4, 7, 8, 11, 16])
def test_any_number_of_steps_equals_the_reference(count: int, iterations: int) -> None:
    image = _image(47, 301)
    maps = _maps(image, 4, count, 3)
    difference = apply_curves(image, [maps], 4, iterations) - _reference(image, [maps], 4, iterations)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 1e-4  # where the interpolated map is rounded otherwise


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (50, TILE), (50, TILE + 1), (61, 500)])
@pytest.mark.parametrize("factor", [1, 2, 5, 16, 33, 700])
@pytest.mark.parametrize(("map_channels", "space"), KINDS)
def test_any_size_and_factor_equals_the_reference(
    size: tuple[int, int], factor: int, map_channels: int, space: Space
) -> None:
    image = _image(*size)
    maps = _maps(image, factor, 8, map_channels)
    difference = apply_curves(image, [maps], factor, 8, space) - _reference(image, [maps], factor, 8, space)
    assert np.abs(difference).max() <= 1


def test_grey_in_light_equals_the_reference() -> None:
    image = _image(40, 500, channels=1)
    maps = _maps(image, 8, 8, 2)
    assert np.abs(apply_curves(image, [maps], 8, 8, "light") - _reference(image, [maps], 8, 8, "light")).max() <= 1


@pytest.mark.parametrize(("map_channels", "space"), KINDS)
def test_sixteen_bits_and_several_passes_equal_the_reference(map_channels: int, space: Space) -> None:
    image = _image(120, 333, dtype=np.uint16)
    passes = [_maps(image, 7, 8, map_channels, seed) for seed in range(3)]
    difference = apply_curves(image, passes, 7, 9, space).astype(int) - _reference(image, passes, 7, 9, space)
    assert np.abs(difference).max() <= 2
    assert (difference != 0).mean() < 0.01


def test_passes_may_have_other_numbers_of_maps() -> None:
    """Steps 5, 6, 8, 8 of all nine maps are none of four neighbours."""
    image = _image(20, 50)
    passes = [_maps(image, 4, 8, 3), _maps(image, 4, 1, 3, seed=1)]
    for iterations in (7, 6, 5):
        difference = apply_curves(image, passes, 4, iterations) - _reference(image, passes, 4, iterations)
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("map_channels", "space"), KINDS)
def test_black_and_white_stay(map_channels: int, space: Space) -> None:
    image = np.zeros((20, 400, 3), np.uint8)
    image[:, 200:] = 255
    np.testing.assert_array_equal(apply_curves(image, [_maps(image, 8, 8, map_channels)], 8, 16, space), image)


def test_images_that_do_not_lie_in_one_piece_or_may_not_be_written_are_read() -> None:
    whole = _image(60, 500)
    view = whole[::2, ::-1]
    view.flags.writeable = False
    maps = _maps(view, 8, 8, 1)
    np.testing.assert_array_equal(
        apply_curves(view, [maps], 8, 8), apply_curves(np.ascontiguousarray(view), [maps], 8, 8)
    )


def test_a_large_photo_takes_no_more_than_itself_once_again() -> None:
    image = np.full((4000, 3000, 3), 20, np.uint8)
    maps = _maps(image, 32, 8, 3)
    apply_curves(image[:64], [maps[:, :, :2]], 32, 8)
    tracemalloc.start()
    apply_curves(image, [maps], 32, 8)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1.2 * image.nbytes


def _frame(height: int, width: int, coding: Coding, seed: int = 0) -> list[np.ndarray]:
    """Planes of a dark frame without much colour, all of it inside of RGB."""
    random, scale = np.random.default_rng(seed), 1 << (coding.depth - 8)
    small = -(-height // coding.down), -(-width // coding.across)
    dtype = np.uint8 if coding.depth == 8 else np.uint16
    luma = random.integers(80 * scale, 120 * scale, (height, width))
    return [plane.astype(dtype) for plane in (luma, *random.integers(118 * scale, 138 * scale, (2, *small)))]


def _rgb(planes: list[np.ndarray], coding: Coding) -> np.ndarray:
    """HxWx3 in [0, 1]; ITU-T H.273, equations 38 to 40, 44 and 45 or their kin of full range."""
    red, blue, scale = coding.red, coding.blue, 1 << (coding.depth - 8)
    height, width = planes[0].shape
    y, cb, cr = (plane.astype(float) for plane in planes)
    cb, cr = (x.repeat(coding.down, 0).repeat(coding.across, 1)[:height, :width] for x in (cb, cr))
    top = (1 << coding.depth) - 1
    grey = 128 * scale
    if coding.full:
        y, cb, cr = y / top, (cb - grey) / top, (cr - grey) / top
    else:
        y, cb, cr = (y - 16 * scale) / (219 * scale), (cb - grey) / (224 * scale), (cr - grey) / (224 * scale)
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    return np.stack([r, (y - red * r - blue * b) / (1 - red - blue), b], axis=2)


CODINGS = [
    Coding(red=0.2126, blue=0.0722, depth=8, full=False, across=2, down=2),
    Coding(red=0.299, blue=0.114, depth=8, full=True, across=2, down=1),
    Coding(red=0.2627, blue=0.0593, depth=10, full=False, across=1, down=1),
    Coding(red=0.2126, blue=0.0722, depth=12, full=True, across=2, down=2),
]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [(1, 1), (35, 2 * TILE + 51), (64, TILE), (33, 20)])
@pytest.mark.parametrize(("map_channels", "space"), KINDS)
def test_planes_are_lifted_as_rgb_is(coding: Coding, size: tuple[int, int], map_channels: int, space: Space) -> None:
    luma = coding.shares
    planes, factor = _frame(*size, coding), 6
    maps = _maps(np.empty((*size, 3)), factor, 8, map_channels) / 3
    enhanced = [np.zeros_like(plane) for plane in planes]
    apply_curves_to_planes(planes, enhanced, size[1], coding, [maps], factor, 8, space)
    full = upsample(torch.from_numpy(maps)[None], factor, slice(0, size[0]), size[1])
    x = torch.from_numpy(_rgb(planes, coding)).permute(2, 0, 1)[None].float().clamp(0, 1)
    expected = lift(x, [full], 8, space, luma)[0].permute(1, 2, 0).numpy()
    one = 1 / (219 << (coding.depth - 8))
    got = _rgb(enhanced, coding)
    assert np.abs((got - expected) @ luma).max() < 0.51 * one
    # chroma samples are means over their pixels: so are the colours of boxes of `down` x `across` of them
    rows, columns = size[0] // coding.down, size[1] // coding.across
    whole = (got - expected)[: rows * coding.down, : columns * coding.across]
    boxes = whole.reshape(rows, coding.down, columns, coding.across, 3)
    assert np.abs(boxes.mean(axis=(1, 3))).max(initial=0) < 2.5 * one


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("map_channels", "space"), KINDS)
def test_planes_that_the_curve_does_not_change_keep_every_sample(
    coding: Coding, map_channels: int, space: Space
) -> None:
    planes = _frame(41, 900, coding)
    enhanced = [np.zeros_like(plane) for plane in planes]
    maps = np.zeros((8, map_channels, 6, 113), np.float32)
    apply_curves_to_planes(planes, enhanced, 900, coding, [maps], 8, 8, space)
    for before, after in zip(planes, enhanced, strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_pads_the_lines_of_planes_is_not_touched() -> None:
    coding = CODINGS[0]
    planes = [np.pad(plane, ((0, 0), (0, 13))) for plane in _frame(32, 500, coding)]
    enhanced = [np.full_like(plane, 7) for plane in planes]
    apply_curves_to_planes(planes, enhanced, 500, coding, [_maps(np.empty((32, 500, 3)), 8, 8, 1)], 8, 8)
    assert all((plane[:, -13:] == 7).all() for plane in enhanced)
