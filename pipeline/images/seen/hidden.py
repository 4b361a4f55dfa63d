"""Pixels that full transparency hides: what lies there is arbitrary, and must not decide how the rest is enhanced."""

import numpy as np
import numpy.typing as npt

from pipeline.images.photo import Samples
from pipeline.images.seen.borders import Box

Floats = npt.NDArray[np.float64]
CELL = 8  # pixels along each side of the squares that are filled with one colour


def box_of_visible(alpha: Samples) -> Box:
    """Return the smallest box with all visible pixels; the whole image if there are none."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return Box(0, alpha.shape[0], 0, alpha.shape[1])
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def filled(pixels: Samples, visible: npt.NDArray[np.bool_]) -> Samples:
    """Return a copy of an image, HxWxC, with each hidden pixel replaced by the mean of the visible ones around it."""
    height, width, channels = pixels.shape
    size = -(-height // CELL), -(-width // CELL)
    sums_hwC, counts_hw = np.zeros((*size, channels)), np.zeros(size)
    lefts = np.arange(0, width, CELL)
    for y in range(size[0]):
        rows = slice(y * CELL, (y + 1) * CELL)
        seen = visible[rows]
        counts_hw[y] = np.add.reduceat(seen.sum(axis=0), lefts)
        sums_hwC[y] = np.add.reduceat(np.where(seen[..., None], pixels[rows], 0).sum(axis=0, dtype=np.float64), lefts)
    colours_hwC = _spread(sums_hwC, counts_hw).round().astype(pixels.dtype)
    copy = pixels.copy()
    for y in range(size[0]):
        rows = slice(y * CELL, (y + 1) * CELL)
        wide = np.repeat(colours_hwC[y], CELL, axis=0)[:width]
        np.copyto(copy[rows], wide[None], where=~visible[rows][..., None])
    return copy


def _spread(sums_hwC: Floats, counts_hw: Floats) -> Floats:
    """Return the mean colour of each cell, and for empty ones that of the smallest larger cell that is not empty."""
    if counts_hw.size == 1 or counts_hw.all():
        return sums_hwC / np.maximum(counts_hw, 1)[..., None]
    coarse = _spread(_pooled(sums_hwC), _pooled(counts_hw))
    near = coarse.repeat(2, axis=0).repeat(2, axis=1)[: counts_hw.shape[0], : counts_hw.shape[1]]
    means: Floats = np.where(counts_hw[..., None] > 0, sums_hwC / np.maximum(counts_hw, 1)[..., None], near)
    return means


def _pooled(cells: Floats) -> Floats:
    """Add cells two by two."""
    padded = np.pad(cells, [(0, cells.shape[0] % 2), (0, cells.shape[1] % 2), *[(0, 0)] * (cells.ndim - 2)])
    added: Floats = padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
    return added
