"""The reduced copy that the CPU makes, against the readable reference."""

import numpy as np
import pytest
import torch

from model.curve.reference import reduce
from model.full_size.reduce import reduce_pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1, 3), (31, 47, 1), (200, 333, 3), (7, 1000, 3)])
@pytest.mark.parametrize("factor", [1, 2, 3, 16, 301])
def test_boxes_are_averaged_as_in_the_reference(dtype: type, size: tuple[int, int, int], factor: int) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, size, dtype)
    expected = reduce(torch.from_numpy(image), factor).numpy() / np.iinfo(dtype).max
    np.testing.assert_allclose(reduce_pixels(image, factor), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [35_000, 70_000])
def test_sums_have_room_for_white_photos_of_any_size(rows: int) -> None:
    white = np.full((rows, 2, 3), 65535, np.uint16)
    np.testing.assert_array_equal(reduce_pixels(white, rows), np.ones((1, 1, 3), np.float32))


@pytest.mark.parametrize("size", [(4, 600_000, 1), (600_000, 4, 1)])
def test_what_sticks_out_of_a_long_photo_is_not_walked_through(size: tuple[int, int, int]) -> None:
    """It would be the square of its length: hours."""
    image = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    factor = 600_000 // 128
    expected = reduce(torch.from_numpy(image), factor).numpy() / 255
    np.testing.assert_allclose(reduce_pixels(image, factor), expected, rtol=0, atol=1e-6)
