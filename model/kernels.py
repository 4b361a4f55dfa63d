"""The light-enhancement curve at full size, fused: low-resolution maps and an image give the enhanced one in one pass.

What `curves.upsample` and `curves.apply_curve` do in torch, compiled for the CPU by numba. Full-size maps are never
made: the rows of the image that lie between two rows of maps are worked together, a tile of TILE values at a time, with
the tile's part of those two rows in the core's nearest cache. Loops over a tile are of constant length and without
branches, of which the compiler makes vector code. All arithmetic is that of float32 in the order of the reference: maps
of the image's own size give the very same bits.

A value is one channel of one pixel: an image is H x (W * C) of them, as they lie in memory. Tensor suffixes: K maps,
M channels of a map (C or 1), H height, W width, C channels of the image, V values of a row, L of a row of maps,
T of a tile.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]  # uint8 or uint16, HxWxC
Floats = npt.NDArray[np.float32]

TILE = 384  # values: eight maps, twice, take 24 kB


def apply_curves(image_HWC: Pixels, passes: Sequence[Floats], factor: int, iterations: int) -> Pixels:
    """Apply curve maps to an image.

    `image_HWC`: uint8 or uint16. `passes`: for each pass of the enhancement `maps_KMHW`, float32 in [-1, 1], of
    ceil(H / factor) x ceil(W / factor) pixels. `iterations`: steps of each pass; those beyond its maps repeat the last
    one. Returns an image of the same shape and dtype.
    """
    height, width, channels = image_HWC.shape
    counts = [len(maps_KMHW) for maps_KMHW in passes]
    firsts = accumulate(counts[:-1], initial=0)
    steps = [
        first + min(step, count - 1) for first, count in zip(firsts, counts, strict=True) for step in range(iterations)
    ]
    image_HV = np.ascontiguousarray(image_HWC).reshape(height, width * channels)
    enhanced_HV = np.empty_like(image_HV)
    maps_KMHW = np.concatenate(passes)
    count, map_channels, map_rows, map_columns = maps_KMHW.shape
    maps_HKL = np.ascontiguousarray(maps_KMHW.transpose(2, 0, 3, 1)).reshape(
        map_rows, count, map_columns * map_channels
    )
    columns = _columns(width, channels, factor, map_columns, map_channels)
    _lift(image_HV, enhanced_HV, maps_HKL, np.array(steps, np.int64), factor, columns)
    return enhanced_HV.reshape(image_HWC.shape)


def _columns(width: int, channels: int, factor: int, map_columns: int, map_channels: int) -> tuple[Any, Any, Any]:
    """For every value of a row: the values of a row of maps before and after it, and its place between them, 0 to 1.

    Pixel p of the image lies at (p + 1/2) / factor - 1/2; beyond the first and the last map pixel it is that one's.
    """
    at = 2 * np.arange(width) + 1 - factor
    before = at // (2 * factor)
    place = (at - before * 2 * factor).astype(np.float32) / np.float32(2 * factor)
    channel = np.arange(channels) % map_channels
    columns = (np.clip(column, 0, map_columns - 1)[:, None] for column in (before, before + 1))
    one, other = ((column * map_channels + channel).ravel() for column in columns)
    return one, other, np.repeat(place, channels)


def _compiled(function: Callable[..., Any]) -> Any:
    """The function as machine code, which is kept on disk for the next process where there is a place for it."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # neither beside the source nor in the user's cache folder
        return numba.njit(function)


@_compiled
def _load(tile_T, values, white):  # type: ignore[no-untyped-def]
    if len(values) == TILE:
        for i in range(TILE):
            tile_T[i] = np.float32(values[i]) / white
    else:  # the end of a row
        for i in range(len(values)):
            tile_T[i] = np.float32(values[i]) / white


@_compiled
def _store(values, tile_T, white):  # type: ignore[no-untyped-def]
    """Rounded to even, as torch does."""
    if len(values) == TILE:
        for i in range(TILE):
            values[i] = np.int32(np.rint(tile_T[i] * white))
    else:
        for i in range(len(values)):
            values[i] = np.int32(np.rint(tile_T[i] * white))


@_compiled
def _step(tile_T, map_T, rise_T, place):  # type: ignore[no-untyped-def]
    for i in range(TILE):
        x = tile_T[i]
        tile_T[i] = x + (map_T[i] + place * rise_T[i]) * (x * x - x)


@_compiled
def _four_steps_of_one_map(tile_T, map_T, rise_T, place):  # type: ignore[no-untyped-def]
    for i in range(TILE):
        x, r = tile_T[i], map_T[i] + place * rise_T[i]
        x = x + r * (x * x - x)
        x = x + r * (x * x - x)
        x = x + r * (x * x - x)
        tile_T[i] = x + r * (x * x - x)


@_compiled
def _four_steps_of_four_maps(tile_T, maps_KT, rises_KT, place):  # type: ignore[no-untyped-def]
    for i in range(TILE):
        x = tile_T[i]
        x = x + (maps_KT[0, i] + place * rises_KT[0, i]) * (x * x - x)
        x = x + (maps_KT[1, i] + place * rises_KT[1, i]) * (x * x - x)
        x = x + (maps_KT[2, i] + place * rises_KT[2, i]) * (x * x - x)
        tile_T[i] = x + (maps_KT[3, i] + place * rises_KT[3, i]) * (x * x - x)


@_compiled
def _take_steps(tile_T, maps_KT, rises_KT, place, steps):  # type: ignore[no-untyped-def]
    """Four at a time where that can be, which saves going through memory between them."""
    at = 0
    while at < len(steps):
        k, last = steps[at], steps[min(at + 3, len(steps) - 1)]
        if at + 4 <= len(steps) and last == k + 3:
            _four_steps_of_four_maps(tile_T, maps_KT[k : k + 4], rises_KT[k : k + 4], place)
            at += 4
        elif at + 4 <= len(steps) and last == k:
            _four_steps_of_one_map(tile_T, maps_KT[k], rises_KT[k], place)
            at += 4
        else:
            _step(tile_T, maps_KT[k], rises_KT[k], place)
            at += 1


@_compiled
def _widen(wide_KV, maps_KL, before_V, after_V, place_V):  # type: ignore[no-untyped-def]
    """A row of maps, interpolated to all values of a row of the image."""
    for k in range(len(maps_KL)):
        line_L, wide_V = maps_KL[k], wide_KV[k]
        for v in range(len(wide_V)):
            one = line_L[before_V[v]]
            wide_V[v] = one + place_V[v] * (line_L[after_V[v]] - one)


@_compiled
def _lift(image_HV, enhanced_HV, maps_HKL, steps, factor, columns):  # type: ignore[no-untyped-def]
    height, row_values = image_HV.shape
    map_rows, count, _ = maps_HKL.shape
    white = np.float32(np.iinfo(image_HV.dtype).max)
    above_KV, below_KV = np.empty((count, row_values), np.float32), np.empty((count, row_values), np.float32)
    maps_KT, rises_KT = np.zeros((count, TILE), np.float32), np.zeros((count, TILE), np.float32)
    tile_T = np.zeros(TILE, np.float32)
    _widen(below_KV, maps_HKL[0], *columns)
    top = 0
    for map_row in range(map_rows + 1):  # the rows whose centres lie between that of this row of maps and the last
        bottom = min(height, factor // 2 + map_row * factor) if map_row < map_rows else height
        above_KV, below_KV = below_KV, above_KV
        _widen(below_KV, maps_HKL[min(map_row, map_rows - 1)], *columns)
        for left in range(0, row_values, TILE):
            right = min(left + TILE, row_values)
            maps_KT[:, : right - left] = above_KV[:, left:right]
            rises_KT[:, : right - left] = below_KV[:, left:right] - above_KV[:, left:right]
            for y in range(top, bottom):
                place = np.float32(2 * y + 1 + factor - 2 * factor * map_row) / np.float32(2 * factor)
                _load(tile_T, image_HV[y, left:right], white)
                _take_steps(tile_T, maps_KT, rises_KT, place, steps)
                _store(enhanced_HV[y, left:right], tile_T, white)
        top = bottom
