"""What happens at full size, fused, as loops that numba compiles for the CPU. `apply.py` calls them.

What `curves.upsample` and `curves.apply_curve` do in torch, without full-size maps: the rows of the image that lie
between two rows of maps are worked together, a tile of TILE pixels at a time, with the tile's part of those two rows in
the core's nearest cache. Loops over a tile are of constant length and without branches, of which the compiler makes
vector code; it may contract a multiplication and an addition into one, which rounds once instead of twice.

Suffixes: K maps, H height, V values of a row of the image (channels of a pixel side by side), L columns of
maps, S samples of a line of a plane (with what pads it), T pixels of a tile, C channels.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache

TILE = 384  # pixels: eight maps, three times, take 36 kB. Even, so that no chroma sample is in two tiles


class KernelCache(FunctionCache):
    """Machine code of one function, kept on disk for the next process: it saves time, and nothing depends on it."""

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return what was kept, or None. A file that cannot be read, as one cut off by a full disk, is begun anew."""
        kept: Any = None
        try:
            kept = super().load_overload(signature, target)  # type: ignore[no-untyped-call]
        except Exception:  # unpickling what is damaged may raise anything
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
        if kept is None:  # it is compiled next, and numba then names source files relative to the current directory
            _leave_a_deleted_directory()
        return kept

    def save_overload(self, signature: Any, compiled_code: Any) -> None:
        """Keep it, where there is room."""
        with suppress(Exception):  # the index of another process is read here, too
            super().save_overload(signature, compiled_code)  # type: ignore[no-untyped-call]


def _leave_a_deleted_directory() -> None:
    """Ray replaces the directory that workers of a cluster stand in, where a node joins that shares its disk."""
    try:
        os.getcwd()  # noqa: PTH109 (the file has no other use for paths)
    except FileNotFoundError:
        os.chdir(os.sep)


def compiled(function: Callable[..., Any]) -> Any:
    """Return the function as machine code, made when it is first called."""
    kernel: Any = numba.njit(fastmath={"contract"})(function)
    with suppress(RuntimeError):  # neither beside the source nor in the user's cache folder is there a place for it
        # what `enable_caching` does, but for a cache that a full disk or a damaged file cannot stop
        kernel._cache = KernelCache(function)  # type: ignore[no-untyped-call]
    return kernel


@compiled
def _load(pixels_CT, values, scale):  # type: ignore[no-untyped-def]
    if len(pixels_CT) == 1:
        for i in range(len(values)):
            pixels_CT[0, i] = np.float32(values[i]) * scale
    elif len(values) == 3 * TILE:
        for i in range(TILE):
            pixels_CT[0, i] = np.float32(values[3 * i]) * scale
            pixels_CT[1, i] = np.float32(values[3 * i + 1]) * scale
            pixels_CT[2, i] = np.float32(values[3 * i + 2]) * scale
    else:  # the end of a row
        for i in range(len(values) // 3):
            pixels_CT[0, i] = np.float32(values[3 * i]) * scale
            pixels_CT[1, i] = np.float32(values[3 * i + 1]) * scale
            pixels_CT[2, i] = np.float32(values[3 * i + 2]) * scale


@compiled
def _store(values, pixels_CT, white):  # type: ignore[no-untyped-def]
    """Rounded to even, as torch does."""
    if len(pixels_CT) == 1:
        for i in range(len(values)):
            values[i] = np.int32(np.rint(pixels_CT[0, i] * white))
    elif len(values) == 3 * TILE:
        for i in range(TILE):
            values[3 * i] = np.int32(np.rint(pixels_CT[0, i] * white))
            values[3 * i + 1] = np.int32(np.rint(pixels_CT[1, i] * white))
            values[3 * i + 2] = np.int32(np.rint(pixels_CT[2, i] * white))
    else:
        for i in range(len(values) // 3):
            values[3 * i] = np.int32(np.rint(pixels_CT[0, i] * white))
            values[3 * i + 1] = np.int32(np.rint(pixels_CT[1, i] * white))
            values[3 * i + 2] = np.int32(np.rint(pixels_CT[2, i] * white))


@compiled
def _take_steps(pixels_CT, channel, maps_KT, steps):  # type: ignore[no-untyped-def]
    """`steps`: which map each takes. Four at a time where that can be, which saves going through memory between."""
    fours = len(steps) // 4 * 4
    for at in range(0, fours, 4):
        one, two, three, four = steps[at], steps[at + 1], steps[at + 2], steps[at + 3]
        for i in range(TILE):
            x = pixels_CT[channel, i]
            x = x + maps_KT[one, i] * (x * x - x)
            x = x + maps_KT[two, i] * (x * x - x)
            x = x + maps_KT[three, i] * (x * x - x)
            pixels_CT[channel, i] = x + maps_KT[four, i] * (x * x - x)
    for at in range(fours, len(steps)):
        one = steps[at]
        for i in range(TILE):
            x = pixels_CT[channel, i]
            pixels_CT[channel, i] = x + maps_KT[one, i] * (x * x - x)


@compiled
def _lift_tile(pixels_CT, maps_KT, above_MKT, rises_MKT, place, steps):  # type: ignore[no-untyped-def]
    """All steps of the channels of a tile. `place`: of its row between two rows of maps, 0 to 1."""
    map_channels, count, _ = above_MKT.shape
    for channel in range(len(pixels_CT)):
        if channel < map_channels:  # else those of the last one
            for k in range(count):
                for i in range(TILE):
                    maps_KT[k, i] = above_MKT[channel, k, i] + place * rises_MKT[channel, k, i]
        _take_steps(pixels_CT, channel, maps_KT, steps)


@compiled
def _widen(wide_MKW, maps_MKL, starts, places):  # type: ignore[no-untyped-def]
    """A row of maps, interpolated to all pixels of a row of the image: straight lines from map pixel to map pixel."""
    map_channels, count, columns = maps_MKL.shape
    for m in range(map_channels):
        for k in range(count):
            for column in range(columns + 1):
                one, other = maps_MKL[m, k, max(column - 1, 0)], maps_MKL[m, k, min(column, columns - 1)]
                rise = other - one
                for x in range(starts[column], starts[column + 1]):
                    wide_MKW[m, k, x] = one + places[x] * rise


@compiled
def _cut(above_MKT, rises_MKT, above_MKW, below_MKW, left, right):  # type: ignore[no-untyped-def]
    """The part of two widened rows of maps that is over a tile."""
    map_channels, count, _ = above_MKT.shape
    for m in range(map_channels):
        for k in range(count):
            above, below = above_MKW[m, k, left:right], below_MKW[m, k, left:right]
            for i in range(len(above)):
                above_MKT[m, k, i] = above[i]
                rises_MKT[m, k, i] = below[i] - above[i]


@compiled
def lift(image_HV, enhanced_HV, maps_HMKL, steps, factor, columns):  # type: ignore[no-untyped-def]
    map_rows, map_channels, count, _ = maps_HMKL.shape
    height, width = len(image_HV), len(columns[1])
    channels = image_HV.shape[1] // width
    white = np.float32(np.iinfo(image_HV.dtype).max)
    scale = np.float32(1) / white
    above_MKW = np.empty((map_channels, count, width), np.float32)
    below_MKW = np.empty((map_channels, count, width), np.float32)
    above_MKT = np.zeros((map_channels, count, TILE), np.float32)
    rises_MKT = np.zeros((map_channels, count, TILE), np.float32)
    maps_KT, pixels_CT = np.zeros((count, TILE), np.float32), np.zeros((channels, TILE), np.float32)
    _widen(below_MKW, maps_HMKL[0], *columns)
    first = 0
    for map_row in range(map_rows + 1):  # the rows whose centres lie between that of this row of maps and the last
        end = min(height, factor // 2 + map_row * factor) if map_row < map_rows else height
        above_MKW, below_MKW = below_MKW, above_MKW
        _widen(below_MKW, maps_HMKL[min(map_row, map_rows - 1)], *columns)
        for left in range(0, width, TILE):
            right = min(left + TILE, width)
            _cut(above_MKT, rises_MKT, above_MKW, below_MKW, left, right)
            for y in range(first, end):
                place = np.float32(2 * y + 1 + factor - 2 * factor * map_row) / np.float32(2 * factor)
                _load(pixels_CT, image_HV[y, channels * left : channels * right], scale)
                _lift_tile(pixels_CT, maps_KT, above_MKT, rises_MKT, place, steps)
                _store(enhanced_HV[y, channels * left : channels * right], pixels_CT, white)
        first = end


@compiled
def _spread(chroma_T, samples, across, grey, unit):  # type: ignore[no-untyped-def]
    """Chroma of a tile's pixels, -1/2 to 1/2."""
    if across == 2 and len(samples) == TILE // 2:
        for i in range(TILE // 2):
            chroma = (np.float32(samples[i]) - grey) * unit
            chroma_T[2 * i] = chroma
            chroma_T[2 * i + 1] = chroma
    else:
        for i in range(min(TILE, across * len(samples))):
            chroma_T[i] = (np.float32(samples[i // across]) - grey) * unit


@compiled
def _gathered(sums, chroma_T, pixels, across):  # type: ignore[no-untyped-def]
    """Add to each chroma sample what the pixels under it ask for, in sum as many as `across`."""
    if across == 2 and pixels == TILE:
        for i in range(TILE // 2):
            sums[i] += chroma_T[2 * i] + chroma_T[2 * i + 1]
    elif across == 2:
        for i in range(len(sums)):
            sums[i] += chroma_T[2 * i] + chroma_T[min(2 * i + 1, pixels - 1)]
    else:
        for i in range(pixels):
            sums[i] += chroma_T[i]


@compiled
def _to_rgb(rgb_CT, planes, weights):  # type: ignore[no-untyped-def]
    """Clipped: what lies outside of RGB has no curve."""
    luma_T, of_blue_T, of_red_T = planes
    red, green, blue = weights
    of_red, of_blue = np.float32(2) * (np.float32(1) - red), np.float32(2) * (np.float32(1) - blue)
    red_of_green, blue_of_green = of_red * red / green, of_blue * blue / green
    zero, one = np.float32(0), np.float32(1)
    for i in range(TILE):
        y, cb, cr = luma_T[i], of_blue_T[i], of_red_T[i]
        rgb_CT[0, i] = min(max(y + of_red * cr, zero), one)
        rgb_CT[1, i] = min(max(y - red_of_green * cr - blue_of_green * cb, zero), one)
        rgb_CT[2, i] = min(max(y + of_blue * cb, zero), one)


@compiled
def _from_rgb(planes, rgb_CT, weights):  # type: ignore[no-untyped-def]
    luma_T, of_blue_T, of_red_T = planes
    red, green, blue = weights
    of_red, of_blue = np.float32(0.5) / (np.float32(1) - red), np.float32(0.5) / (np.float32(1) - blue)
    for i in range(TILE):
        y = red * rgb_CT[0, i] + green * rgb_CT[1, i] + blue * rgb_CT[2, i]
        luma_T[i] = y
        of_blue_T[i] = (rgb_CT[2, i] - y) * of_blue
        of_red_T[i] = (rgb_CT[0, i] - y) * of_red


@compiled
def _read(values_T, samples, black, unit):  # type: ignore[no-untyped-def]
    if len(samples) == TILE:
        for i in range(TILE):
            values_T[i] = (np.float32(samples[i]) - black) * unit
    else:
        for i in range(len(samples)):
            values_T[i] = (np.float32(samples[i]) - black) * unit


@compiled
def _write(samples, values, scale, black, top):  # type: ignore[no-untyped-def]
    """`scale`: codes of one unit of `values`."""
    if len(samples) == TILE:
        for i in range(TILE):
            samples[i] = np.int32(min(max(np.rint(values[i] * scale + black), np.float32(0)), top))
    else:
        for i in range(len(samples)):
            samples[i] = np.int32(min(max(np.rint(values[i] * scale + black), np.float32(0)), top))


@compiled
def lift_planes(planes, enhanced, subsampling, numbers, maps_HMKL, steps, factor, columns):  # type: ignore[no-untyped-def]
    (luma_HS, blue_HS, red_HS), (new_luma_HS, new_blue_HS, new_red_HS) = planes, enhanced
    across, down = subsampling
    red, green, blue, black, span, grey, chroma_span, top = numbers
    weights, one = (red, green, blue), np.float32(1)
    unit, chroma_unit = np.nextafter(one / span, one), one / chroma_span  # so that white is 1, or is clipped to it
    map_rows, map_channels, count, _ = maps_HMKL.shape
    height, width = len(luma_HS), len(columns[1])
    above_MKW = np.empty((map_channels, count, width), np.float32)
    below_MKW = np.empty((map_channels, count, width), np.float32)
    above_MKT = np.zeros((map_channels, count, TILE), np.float32)
    rises_MKT = np.zeros((map_channels, count, TILE), np.float32)
    maps_KT = np.zeros((count, TILE), np.float32)
    rgb_CT = np.zeros((3, TILE), np.float32)
    coded = np.zeros(TILE, np.float32), np.zeros(TILE, np.float32), np.zeros(TILE, np.float32)
    blue_sums, red_sums = np.zeros(width, np.float32), np.zeros(width, np.float32)
    _widen(below_MKW, maps_HMKL[0], *columns)
    first = 0
    for map_row in range(map_rows + 1):
        end = min(height, factor // 2 + map_row * factor) if map_row < map_rows else height
        above_MKW, below_MKW = below_MKW, above_MKW
        _widen(below_MKW, maps_HMKL[min(map_row, map_rows - 1)], *columns)
        for left in range(0, width, TILE):
            right = min(left + TILE, width)
            under = slice(left // across, (right + across - 1) // across)
            _cut(above_MKT, rises_MKT, above_MKW, below_MKW, left, right)
            for y in range(first, end):
                place = np.float32(2 * y + 1 + factor - 2 * factor * map_row) / np.float32(2 * factor)
                _read(coded[0], luma_HS[y, left:right], black, unit)
                _spread(coded[1], blue_HS[y // down, under], across, grey, chroma_unit)
                _spread(coded[2], red_HS[y // down, under], across, grey, chroma_unit)
                _to_rgb(rgb_CT, coded, weights)
                _lift_tile(rgb_CT, maps_KT, above_MKT, rises_MKT, place, steps)
                _from_rgb(coded, rgb_CT, weights)
                _write(new_luma_HS[y, left:right], coded[0], span, black, top)
                if y % down == 0:
                    blue_sums[under] = 0
                    red_sums[under] = 0
                _gathered(blue_sums[under], coded[1], right - left, across)
                _gathered(red_sums[under], coded[2], right - left, across)
                if y % down == down - 1 or y == height - 1:
                    scale = chroma_span / np.float32(across * (y % down + 1))
                    _write(new_blue_HS[y // down, under], blue_sums[under], scale, grey, top)
                    _write(new_red_HS[y // down, under], red_sums[under], scale, grey, top)
        first = end
