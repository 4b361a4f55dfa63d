"""The fused kernel against the readable reference, and what it promises of memory."""

import tracemalloc

import numpy as np
import pytest
import torch

from model.curves import apply_curve, upsample
from model.kernels import TILE, apply_curves


def _reference(image: np.ndarray, passes: list[np.ndarray], factor: int, iterations: int) -> np.ndarray:
    white = np.iinfo(image.dtype).max
    x = torch.from_numpy(image.astype(np.int32)).permute(2, 0, 1)[None].float() / white
    for maps in passes:
        full = upsample(torch.from_numpy(maps)[None], factor, slice(0, image.shape[0]), image.shape[1])
        x = apply_curve(x, full, iterations)
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


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (50, TILE // 3), (50, TILE // 3 + 1), (61, 500)])
@pytest.mark.parametrize("factor", [2, 5, 16, 33, 700])
@pytest.mark.parametrize("map_channels", [1, 3])
def test_any_size_and_factor_equals_the_reference(size: tuple[int, int], factor: int, map_channels: int) -> None:
    image = _image(*size)
    maps = _maps(image, factor, 8, map_channels)
    assert np.abs(apply_curves(image, [maps], factor, 8) - _reference(image, [maps], factor, 8)).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_maps_of_the_images_own_size_give_the_very_same_bits(dtype: type, channels: int) -> None:
    image = _image(90, 211, channels, dtype)
    maps = _maps(image, 1, 8, channels)
    np.testing.assert_array_equal(apply_curves(image, [maps], 1, 8), _reference(image, [maps], 1, 8))


def test_sixteen_bits_and_several_passes_equal_the_reference() -> None:
    image = _image(120, 333, dtype=np.uint16)
    passes = [_maps(image, 7, 8, 1, seed) for seed in range(3)]
    difference = apply_curves(image, passes, 7, 9).astype(int) - _reference(image, passes, 7, 9)
    assert np.abs(difference).max() <= 2
    assert (difference != 0).mean() < 0.01


def test_black_and_white_stay() -> None:
    image = np.zeros((20, 400, 3), np.uint8)
    image[:, 200:] = 255
    np.testing.assert_array_equal(apply_curves(image, [_maps(image, 8, 8, 3)], 8, 16), image)


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
