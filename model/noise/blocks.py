"""Blocks of pixels, spread evenly over an image, in which its floor is measured: see `floor.py`.

Suffixes: N blocks, S pixels along a block's side, C channels, H height, W width, V values of a row (W * C).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from model.compiled import compiled, inlined

Floats = npt.NDArray[np.float32]

SIDE = 8  # pixels of a block


def blocks_of(
    image_HWC: npt.NDArray[Any],
    box: int,
    most: int,
    zero: float,
    unit: float,
    seen: int | None = None,
    visible: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """Return at most `most` blocks, spread evenly over the image, as `blocks_CNSS`.

    `image_HWC`: copied if not contiguous. `zero`: the code of 0. `unit`: value of one code. `seen`: the part of the
    width that is not padding. `visible`: the pixels of which blocks may consist.
    """
    height, width, channels = image_HWC.shape
    width = width if seen is None else seen
    rows, columns = height // (SIDE * box), width // (SIDE * box)
    there = rows * columns if visible is None else len(usable := _all_visible(visible, SIDE * box, rows, columns))
    wanted = np.linspace(0, there - 1, min(there, most)).astype(np.int64)
    if visible is not None:
        wanted = usable[wanted]
    blocks_CNSS = np.empty((channels, len(wanted), SIDE, SIDE), np.float32)
    corners = wanted // max(columns, 1) * (SIDE * box), wanted % max(columns, 1) * (SIDE * box)
    image_HV = image_HWC.reshape(height, image_HWC.shape[1] * channels)
    _take(blocks_CNSS, image_HV, *corners, box, np.float32(zero), np.float32(unit))
    return blocks_CNSS


def _all_visible(visible: npt.NDArray[np.bool_], side: int, rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the blocks of `side` x `side` pixels that are visible entirely."""
    blocks = visible[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return np.flatnonzero(blocks.all(axis=(1, 3)))


@compiled
def _take(blocks_CNSS, image_HV, tops, lefts, box, zero, unit):  # type: ignore[no-untyped-def]
    """Write blocks of means of `box` x `box` pixels. `tops`, `lefts`: the blocks' first pixels."""
    channels, blocks, _, _ = blocks_CNSS.shape
    share, zero = unit / np.float32(box * box), zero * unit
    sums_V = np.empty(SIDE * box * channels, np.float32)
    for n in range(blocks):
        left = lefts[n] * channels
        for y in range(SIDE):
            top = tops[n] + y * box
            row_V = image_HV[top, left : left + len(sums_V)]
            for v in range(len(sums_V)):
                sums_V[v] = row_V[v]
            for row in range(top + 1, top + box):
                row_V = image_HV[row, left : left + len(sums_V)]
                for v in range(len(sums_V)):
                    sums_V[v] += np.float32(row_V[v])
            for c in range(channels):
                _average_columns(blocks_CNSS[c, n, y], sums_V[c:], box, channels, share, zero)


@inlined
def _average_columns(row_S, sums_V, box, channels, share, zero):  # type: ignore[no-untyped-def]
    """Write means of `box` values of one channel. Loops of constant length: most boxes are of one pixel or two."""
    if box == 1:
        for x in range(SIDE):
            row_S[x] = sums_V[x * channels] * share - zero
    elif box == 2:
        for x in range(SIDE):
            row_S[x] = (sums_V[2 * x * channels] + sums_V[(2 * x + 1) * channels]) * share - zero
    else:
        for x in range(SIDE):
            total = np.float32(0)
            for column in range(x * box, (x + 1) * box):
                total += sums_V[column * channels]
            row_S[x] = total * share - zero
