"""Statistics of blocks of pixels are those that numpy finds in each block by itself."""

import numpy as np
import pytest

from model.curve.light import BT709
from model.noise.blocks import SIDE, blocks_of
from model.noise.floor import _rising


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("box", [1, 2, 3])
def test_statistics_are_those_of_each_block(box: int, channels: int, dtype: type) -> None:
    white = np.iinfo(dtype).max
    height, width = 5 * SIDE * box + 3, 8 * SIDE * box + 5  # 40 blocks: more than are looked at together
    image = np.random.default_rng(5).integers(0, white, (height, width, channels), dtype, endpoint=True)
    planes = _planes(image[: height - 3, : width - 5] / white, box)
    found = blocks_of(image, box, 1000, 0.0, 1 / white)
    assert len(found) == len(planes)
    for blocks, plane in zip(found, planes, strict=True):
        rows, columns = (side // SIDE for side in plane.shape)
        expected = plane.reshape(rows, SIDE, columns, SIDE).swapaxes(1, 2).reshape(-1, SIDE, SIDE)
        quarters = expected.reshape(-1, 2, SIDE // 2, 2, SIDE // 2).swapaxes(2, 3).reshape(len(expected), 4, -1)
        diagonal = expected[:, ::2, ::2] + expected[:, 1::2, 1::2] - expected[:, ::2, 1::2] - expected[:, 1::2, ::2]
        means = quarters.mean(-1)
        np.testing.assert_allclose(blocks.means, expected.mean((1, 2)), atol=1e-6)
        np.testing.assert_allclose(blocks.quarters, means, atol=1e-6)
        np.testing.assert_allclose(blocks.ranges, np.ptp(means, -1), atol=1e-6)
        np.testing.assert_allclose(blocks.spreads, np.ptp(quarters, -1), atol=1e-6)
        np.testing.assert_allclose(blocks.deviations, np.sqrt(np.mean(diagonal**2, (1, 2)) / 4), atol=1e-6)


def _planes(image: np.ndarray, box: int) -> list[np.ndarray]:
    rows, columns = (side // box for side in image.shape[:2])
    means = image.reshape(rows, box, columns, box, -1).mean((1, 3))
    if means.shape[2] == 1:
        return [means[..., 0]]
    luma = means @ np.array(BT709)
    return [luma, means[..., 0] - luma, means[..., 2] - luma]


def test_values_are_clipped() -> None:
    codes = np.tile(np.array([0, 255], np.uint8), (SIDE, SIDE // 2))[..., None]
    (blocks,) = blocks_of(codes, 1, 1, 16.0, 1 / 219, limits=(0, 1))
    assert blocks.spreads.max() == 1
    (blocks,) = blocks_of(codes, 1, 1, 16.0, 1 / 219)
    assert blocks.spreads.max() == pytest.approx(255 / 219)


def test_order_of_values_is_stable() -> None:
    values = np.random.default_rng(6).integers(-9, 9, 500).astype(np.float32) / 7
    np.testing.assert_array_equal(_rising(values), np.argsort(values, kind="stable"))
