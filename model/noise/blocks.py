"""Blocks of pixels, spread evenly over an image, in which its floor is measured: see `floor.py`.

Suffixes: N blocks, S pixels along a block's side, C channels, H height, W width, V values of a row (W * C), X
columns of a strip of blocks.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from model.compiled import compiled, inlined
from model.curve.light import BT709, Shares

Floats = npt.NDArray[np.float32]

SIDE, HALF = 8, 4  # pixels of a block, and of its quarters, along each side
TOGETHER = 32  # blocks looked at side by side, in a strip that fits into a core's nearest cache


@dataclass(frozen=True, slots=True)
class Blocks:
    """Statistics of the blocks of one plane."""

    means: Floats
    ranges: Floats
    """Range of the means of a block's quarters."""
    deviations: Floats
    """Deviation of the diagonal differences of two pixels by two."""
    quarters: Floats
    """Means of the quarters of each block, Nx4."""
    spreads: Floats
    """Range of the pixels of each quarter, Nx4."""


def blocks_of(
    image_HWC: npt.NDArray[Any],
    box: int,
    most: int,
    zero: float,
    unit: float,
    seen: int | None = None,
    visible: npt.NDArray[np.bool_] | None = None,
    shares: Shares = BT709,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> list[Blocks]:
    """Return the statistics of at most `most` blocks, spread evenly over the image, of luma, R - Y and B - Y, or grey.

    `image_HWC`: copied if not contiguous. `box`: pixels along each side whose mean counts as one. `zero`: the code of
    0. `unit`: value of one code. `seen`: the part of the width that is not padding. `visible`: the pixels of which
    blocks may consist. `shares`: of red, green and blue in luma. `limits`: what values are clipped to.
    """
    height, width, channels = image_HWC.shape
    width = width if seen is None else seen
    rows, columns = height // (SIDE * box), width // (SIDE * box)
    there = rows * columns if visible is None else len(usable := _all_visible(visible, SIDE * box, rows, columns))
    wanted = np.linspace(0, there - 1, min(there, most)).astype(np.int64)
    if visible is not None:
        wanted = usable[wanted]
    corners = wanted // max(columns, 1) * (SIDE * box), wanted % max(columns, 1) * (SIDE * box)
    image_HV = image_HWC.reshape(height, image_HWC.shape[1] * channels)
    single_CN3, quarters_CN8 = (np.empty((channels, len(wanted), count), np.float32) for count in (3, 8))
    numbers = (zero, unit, *limits, *shares)
    _look_at_all(single_CN3, quarters_CN8, image_HV, *corners, box, tuple(map(np.float32, numbers)))
    return [
        Blocks(*map(np.ascontiguousarray, (*single_N3.T, quarters_N8[:, :4], quarters_N8[:, 4:])))
        for single_N3, quarters_N8 in zip(single_CN3, quarters_CN8, strict=True)
    ]


def _all_visible(visible: npt.NDArray[np.bool_], side: int, rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the blocks of `side` x `side` pixels that are visible entirely."""
    blocks = visible[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return np.flatnonzero(blocks.all(axis=(1, 3)))


@compiled
def _look_at_all(single_CN3, quarters_CN8, image_HV, tops, lefts, box, numbers):  # type: ignore[no-untyped-def]
    """Write the statistics of blocks of means of `box` x `box` pixels.

    `single_CN3`: mean, range of quarters, deviation. `quarters_CN8`: four means, four ranges. `tops`, `lefts`: the
    blocks' first pixels. `numbers`: see `blocks_of`.
    """
    channels, blocks, _ = single_CN3.shape
    zero, unit, least, most = numbers[:4]
    share, zero = unit / np.float32(box * box), zero * unit
    strip_CSX = np.zeros((channels, SIDE, SIDE * TOGETHER), np.float32)
    sums_V = np.empty(SIDE * box * channels, np.float32)
    scratch_3HX = np.empty((3, SIDE // 2, SIDE * TOGETHER), np.float32)
    for first in range(0, blocks, TOGETHER):
        count = min(TOGETHER, blocks - first)
        for n in range(count):
            _take(strip_CSX, n * SIDE, sums_V, image_HV, tops[first + n], lefts[first + n] * channels, box)
        for c in range(channels):
            for y in range(SIDE):
                row_X = strip_CSX[c, y]
                for x in range(len(row_X)):
                    row_X[x] = min(max(row_X[x] * share - zero, least), most)
        if channels == 3:
            _to_luma_and_colours(strip_CSX[0], strip_CSX[1], strip_CSX[2], numbers[4:])
        for c in range(channels):
            chosen = slice(first, first + count)
            _look(single_CN3[c, chosen], quarters_CN8[c, chosen], strip_CSX[c], scratch_3HX)


@inlined
def _take(strip_CSX, place, sums_V, image_HV, first, left, box):  # type: ignore[no-untyped-def]
    """Write the sums of a block's boxes to columns of a strip from `place`. `sums_V`: scratch space for a row."""
    channels = len(strip_CSX)
    for y in range(SIDE):
        top = first + y * box
        row_V = image_HV[top, left : left + len(sums_V)]
        for v in range(len(sums_V)):
            sums_V[v] = row_V[v]
        for row in range(top + 1, top + box):
            row_V = image_HV[row, left : left + len(sums_V)]
            for v in range(len(sums_V)):
                sums_V[v] += np.float32(row_V[v])
        for c in range(channels):
            _add_columns(strip_CSX[c, y, place : place + SIDE], sums_V[c:], box, channels)


@inlined
def _add_columns(row_S, sums_V, box, channels):  # type: ignore[no-untyped-def]
    """Write sums of `box` values of one channel. Loops of constant length: most boxes are of one pixel or two."""
    if box == 1:
        for x in range(SIDE):
            row_S[x] = sums_V[x * channels]
    elif box == 2:
        for x in range(SIDE):
            row_S[x] = sums_V[2 * x * channels] + sums_V[(2 * x + 1) * channels]
    else:
        for x in range(SIDE):
            total = np.float32(0)
            for column in range(x * box, (x + 1) * box):
                total += sums_V[column * channels]
            row_S[x] = total


@partial(inlined, fused=False)
def _to_luma_and_colours(red_SX, green_SX, blue_SX, shares):  # type: ignore[no-untyped-def]
    """Turn red, green and blue into luma, R - Y and B - Y."""
    for y in range(SIDE):
        red_X, green_X, blue_X = red_SX[y], green_SX[y], blue_SX[y]
        for x in range(len(red_X)):
            red, blue = red_X[x], blue_X[x]
            luma = red * shares[0] + green_X[x] * shares[1] + blue * shares[2]
            red_X[x], green_X[x], blue_X[x] = luma, red - luma, blue - luma


@inlined
def _look(single_N3, quarters_N8, strip_SX, scratch_3HX):  # type: ignore[no-untyped-def]
    """Write the statistics of the blocks of a strip."""
    lows_HX, highs_HX, differences_HX = scratch_3HX[0], scratch_3HX[1], scratch_3HX[2]
    for half in range(SIDE // HALF):
        _bound(lows_HX[half], highs_HX[half], strip_SX[half * HALF : (half + 1) * HALF])
    for pair in range(SIDE // 2):
        _subtract(differences_HX[pair], strip_SX[2 * pair], strip_SX[2 * pair + 1])
    for n in range(len(single_N3)):
        single_3, quarters_8 = single_N3[n], quarters_N8[n]
        for q in range(4):
            half, first = q // 2, SIDE * n + q % 2 * HALF
            total = np.float32(0)
            for y in range(half * HALF, (half + 1) * HALF):
                for x in range(first, first + HALF):
                    total += strip_SX[y, x]
            quarters_8[q] = total / np.float32(HALF * HALF)
            quarters_8[4 + q] = _range(highs_HX[half, first : first + HALF], lows_HX[half, first : first + HALF])
        squares = np.float32(0)
        for pair in range(SIDE // 2):
            for x in range(SIDE * n, SIDE * (n + 1), 2):
                squares += differences_HX[pair, x] * differences_HX[pair, x]
        means_4 = quarters_8[:HALF]
        single_3[0] = (means_4[0] + means_4[1] + means_4[2] + means_4[3]) / np.float32(4)
        single_3[1] = _range(means_4, means_4)
        single_3[2] = np.sqrt(squares / np.float32(SIDE * SIDE))


@inlined
def _bound(low_X, high_X, rows_HX):  # type: ignore[no-untyped-def]
    """Write the least and the greatest value of each column."""
    one_X, two_X, three_X, four_X = rows_HX[0], rows_HX[1], rows_HX[2], rows_HX[3]
    for x in range(len(low_X)):
        one, two, three, four = one_X[x], two_X[x], three_X[x], four_X[x]
        low_X[x] = min(min(one, two), min(three, four))
        high_X[x] = max(max(one, two), max(three, four))


@inlined
def _subtract(difference_X, one_X, other_X):  # type: ignore[no-untyped-def]
    """Write the differences of the diagonals of two by two pixels; every second one is of pixels of one block."""
    for x in range(len(difference_X) - 1):
        difference_X[x] = (one_X[x] + other_X[x + 1]) - (one_X[x + 1] + other_X[x])


@inlined
def _range(highs_4, lows_4):  # type: ignore[no-untyped-def]
    high = max(max(highs_4[0], highs_4[1]), max(highs_4[2], highs_4[3]))
    return high - min(min(lows_4[0], lows_4[1]), min(lows_4[2], lows_4[3]))
