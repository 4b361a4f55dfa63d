"""Means of boxes of an image or frame: `reference.reduce` and `cleaning.moments` as loops that numba compiles.

Suffixes: P planes, H height, W width, h and w height and width in cells, C channels, V values of a row (W * C).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.compiled import compiled
from model.curve.light import BT709, Shares

Floats = npt.NDArray[np.float32]


def reduce_pixels(image_HWC: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float32]:
    """Average boxes of `factor` x `factor` pixels.

    `image_HWC`: uint8 or uint16. Returns float32 in [0, 1], of ceil(H / factor) x ceil(W / factor) pixels; boxes that
    stick out see the border repeated.
    """
    height, width, channels = image_HWC.shape
    image_HV = np.ascontiguousarray(image_HWC).reshape(height, width * channels)
    white = np.iinfo(image_HV.dtype).max
    reduced_HWC = np.empty((-(-height // factor), -(-width // factor), channels), np.float32)
    sums_V = np.empty(width * channels, np.uint32 if factor * white < 1 << 32 else np.uint64)
    _average(reduced_HWC, sums_V, image_HV, factor, 1 / (factor**2 * white))
    return reduced_HWC


@compiled
def _average(reduced_HWC, sums_V, image_HV, factor, scale):  # type: ignore[no-untyped-def]
    """Write the means of boxes. `sums_V`: scratch space for the column sums of a row of boxes."""
    height, width, channels = reduced_HWC.shape
    columns = len(sums_V) // channels
    for y in range(height):
        top, bottom = y * factor, min((y + 1) * factor, len(image_HV)) - 1
        last_V = image_HV[bottom]
        times = np.uint32(factor - (bottom - top))  # the last row counts once for each missing row, too
        for v in range(len(sums_V)):
            sums_V[v] = times * last_V[v]
        for row in range(top, bottom - 1, 2):  # two rows at once, which halves the traffic to and from the sums
            one_V, two_V = image_HV[row], image_HV[row + 1]
            for v in range(len(sums_V)):
                sums_V[v] += np.uint32(one_V[v]) + np.uint32(two_V[v])
        if (bottom - top) % 2:
            one_V = image_HV[bottom - 1]
            for v in range(len(sums_V)):
                sums_V[v] += one_V[v]
        for x in range(width):
            left, right = x * factor, min((x + 1) * factor, columns) - 1
            for c in range(channels):
                total = np.float64(factor - (right - left)) * np.float64(sums_V[right * channels + c])
                for column in range(left, right):
                    total += sums_V[column * channels + c]
                reduced_HWC[y, x, c] = total * scale


def moments_of(image_HWC: npt.NDArray[Any], side: int, shares: Shares = BT709) -> Floats:
    """Compute `moments_Phw` of an image, RGB or grey, uint8 or uint16; see `cleaning.moments`."""
    height, width, channels = image_HWC.shape
    image_HV = np.ascontiguousarray(image_HWC).reshape(height, width * channels)
    planes_Phw = np.zeros((2 if channels == 1 else 6, -(-height // side), -(-width // side)), np.float32)
    unit = np.float32(1 / np.iinfo(image_HV.dtype).max)
    _of_pixels(planes_Phw, image_HV, width, side // 2, unit, tuple(map(np.float32, shares)))
    return planes_Phw


def moments_of_planes(
    planes: Sequence[npt.NDArray[Any]],
    size: tuple[int, int],
    subsampling: tuple[int, int],
    numbers: Sequence[np.float32],
    side: int,
) -> Floats:
    """Compute `moments_Phw` of a YUV frame's planes. `size`: height and width. See `cpu.apply_curves_to_planes`.

    `subsampling`: pixels across and down that a chroma sample covers. `numbers`: see `cpu.Coding.numbers`.
    """
    height, width = size
    across, down = subsampling
    red, _, blue, black, span, grey, chroma_span, _ = numbers
    planes_Phw = np.zeros((6, -(-height // side), -(-width // side)), np.float32)
    luma, of_blue, of_red = planes
    none, one, two = map(np.float32, range(3))
    _of_plane(planes_Phw[:2], luma, (height, width), (side, side), black, one / span, (none, one))
    cell, chroma_size = (side // across, side // down), (-(-height // down), -(-width // across))
    _of_plane(planes_Phw[2:4], of_red, chroma_size, cell, grey, two * (one - red) / chroma_span, (-two, two))
    _of_plane(planes_Phw[4:], of_blue, chroma_size, cell, grey, two * (one - blue) / chroma_span, (-two, two))
    return planes_Phw


@compiled
def _of_pixels(planes_Phw, image_HV, width, box, unit, shares):  # type: ignore[no-untyped-def]
    rows = planes_Phw.shape[1]
    height, colours = len(image_HV), len(planes_Phw) == 6
    of_red, of_green, of_blue = shares
    luma_W, red_W, blue_W = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    sums_V = np.empty(image_HV.shape[1], np.float32)
    for y in range(rows):
        boxes = 0
        for top in range(2 * y * box, min(2 * (y + 1) * box, height), box):
            _mean_of_rows(sums_V, image_HV[top : min(top + box, height)], unit)
            if colours:
                for x in range(width):
                    red, green, blue = sums_V[3 * x], sums_V[3 * x + 1], sums_V[3 * x + 2]
                    luma = of_red * red + of_green * green + of_blue * blue
                    luma_W[x] = luma
                    red_W[x] = red - luma
                    blue_W[x] = blue - luma
                _add(planes_Phw[2, y], planes_Phw[3, y], red_W, 2 * box, box)
                _add(planes_Phw[4, y], planes_Phw[5, y], blue_W, 2 * box, box)
                _add(planes_Phw[0, y], planes_Phw[1, y], luma_W, 2 * box, box)
            else:
                _add(planes_Phw[0, y], planes_Phw[1, y], sums_V, 2 * box, box)
            boxes += 1
        _divide(planes_Phw[:, y], width, 2 * box, box, boxes)


@compiled
def _of_plane(planes_Phw, plane_HS, size, cell, zero, unit, limits):  # type: ignore[no-untyped-def]
    """Write the moments of one plane.

    `plane_HS`: with its padding, so that one kind of array is compiled for. `size`: height and width without it.
    `cell`: samples across and down. `zero`: the code of 0. `unit`: value of one code. `limits`: of the values.
    """
    rows = planes_Phw.shape[1]
    height, width = size
    across, down = cell
    box_across, box_down = max(across // 2, 1), max(down // 2, 1)
    least, most = limits
    sums_W = np.empty(width, np.float32)
    for y in range(rows):
        boxes = 0
        for top in range(y * down, min((y + 1) * down, height), box_down):
            _mean_of_rows(sums_W, plane_HS[top : min(top + box_down, height)], np.float32(1))
            for x in range(width):
                sums_W[x] = min(max((sums_W[x] - zero) * unit, least), most)
            _add(planes_Phw[0, y], planes_Phw[1, y], sums_W, across, box_across)
            boxes += 1
        _divide(planes_Phw[:, y], width, across, box_across, boxes)


@compiled
def _mean_of_rows(sums_V, rows_HV, unit):  # type: ignore[no-untyped-def]
    one = unit / np.float32(len(rows_HV))
    row_V = rows_HV[0]
    for v in range(len(sums_V)):
        sums_V[v] = np.float32(row_V[v]) * one
    for y in range(1, len(rows_HV)):
        row_V = rows_HV[y]
        for v in range(len(sums_V)):
            sums_V[v] += np.float32(row_V[v]) * one


@compiled
def _add(means_w, squares_w, values_W, cell, box):  # type: ignore[no-untyped-def]
    """Add the boxes of a row of values, and their squares, to its cells."""
    whole = len(values_W) // cell
    if cell == 1:
        for x in range(whole):
            means_w[x] += values_W[x]
            squares_w[x] += values_W[x] * values_W[x]
    elif cell == 2 and box == 1:
        for x in range(whole):
            one, two = values_W[2 * x], values_W[2 * x + 1]
            means_w[x] += one + two
            squares_w[x] += one * one + two * two
    elif cell == 4 and box == 2:
        half = np.float32(0.5)
        for x in range(whole):
            one = half * (values_W[4 * x] + values_W[4 * x + 1])
            two = half * (values_W[4 * x + 2] + values_W[4 * x + 3])
            means_w[x] += one + two
            squares_w[x] += one * one + two * two
    else:
        whole = 0
    for left in range(whole * cell, len(values_W), box):  # the last cell, or all cells of a large photo
        total = np.float32(0)
        right = min(left + box, len(values_W))
        for x in range(left, right):
            total += values_W[x]
        mean = total / np.float32(right - left)
        means_w[left // cell] += mean
        squares_w[left // cell] += mean * mean


@compiled
def _divide(planes_Pw, width, cell, box, rows):  # type: ignore[no-untyped-def]
    """Turn sums into means. `rows`: the number of rows of boxes that were added."""
    last = planes_Pw.shape[1] - 1
    share = np.float32(1) / np.float32(rows * (cell // box))
    at_last = np.float32(1) / np.float32(rows * -(-(width - last * cell) // box))
    for p in range(len(planes_Pw)):
        for x in range(last):
            planes_Pw[p, x] *= share
        planes_Pw[p, last] *= at_last
