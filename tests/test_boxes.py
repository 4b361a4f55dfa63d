"""The reduced copy that the CPU makes, against the readable reference."""

import numpy as np
import pytest
import torch

from model.boxes import reduce_pixels
from model.curves import reduce


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1, 3), (31, 47, 1), (200, 333, 3), (7, 1000, 3)])
@pytest.mark.parametrize("factor", [1, 2, 3, 16, 301])
def test_boxes_are_averaged_as_in_the_reference(dtype: type, size: tuple[int, int, int], factor: int) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, size, dtype)
    expected = reduce(torch.from_numpy(image), factor).numpy() / np.iinfo(dtype).max
    np.testing.assert_allclose(reduce_pixels(image, factor), expected, rtol=0, atol=1e-6)


def test_sums_have_room_for_white_photos_of_any_size() -> None:
    white = np.full((70_000, 2, 3), 65535, np.uint16)
    np.testing.assert_array_equal(reduce_pixels(white[::2], 35_000), np.ones((1, 1, 3), np.float32))
