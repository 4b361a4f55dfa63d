"""The light-enhancement curve at full size, fused, as loops that numba compiles for the CPU. `apply.py` calls them.

What `curves.upsample` and `curves.apply_curve` do in torch, without full-size maps: the rows of the image that lie
between two rows of maps are worked together, a tile of TILE values at a time, with the tile's part of those two rows in
the core's nearest cache. Loops over a tile are of constant length and without branches, of which the compiler makes
vector code. All arithmetic is that of float32 in the order of the reference.

Suffixes: K maps, H height, V values of a row of the image (channels of a pixel side by side), L columns of
maps, S samples of a line of a plane (with what pads it), T values of a tile.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

TILE = 384  # values: eight maps, twice, take 24 kB. Even, so that no chroma sample is in two tiles


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
        k, four = steps[at], steps[at : at + 4]
        if len(four) == 4 and four[1] == k + 1 and four[2] == k + 2 and four[3] == k + 3:
            _four_steps_of_four_maps(tile_T, maps_KT[k : k + 4], rises_KT[k : k + 4], place)
            at += 4
        elif len(four) == 4 and four[1] == four[2] == four[3] == k:
            _four_steps_of_one_map(tile_T, maps_KT[k], rises_KT[k], place)
            at += 4
        else:
            _step(tile_T, maps_KT[k], rises_KT[k], place)
            at += 1


@_compiled
def _widen(wide_KV, maps_KML, starts, place_V):  # type: ignore[no-untyped-def]
    """A row of maps, interpolated to all values of a row of the image: straight lines from map pixel to map pixel."""
    count, channels, columns = maps_KML.shape
    for k in range(count):
        wide_V = wide_KV[k]
        for channel in range(channels):
            line_L = maps_KML[k, channel]
            for column in range(columns + 1):
                one, other = line_L[max(column - 1, 0)], line_L[min(column, columns - 1)]
                rise = other - one
                first, end = starts[column], starts[column + 1]
                if channels == 1:  # the compiler makes vector code of this
                    for v in range(first, end):
                        wide_V[v] = one + place_V[v] * rise
                else:
                    for v in range(first + channel, end, channels):
                        wide_V[v] = one + place_V[v] * rise


@_compiled
def _lines(map_T, rise_T, above, below):  # type: ignore[no-untyped-def]
    if len(above) == TILE:
        for i in range(TILE):
            map_T[i] = above[i]
            rise_T[i] = below[i] - above[i]
    else:
        for i in range(len(above)):
            map_T[i] = above[i]
            rise_T[i] = below[i] - above[i]


@_compiled
def lift(image_HV, enhanced_HV, maps_HKML, steps, factor, columns):  # type: ignore[no-untyped-def]
    height, row_values = image_HV.shape
    map_rows, count, _, _ = maps_HKML.shape
    white = np.float32(np.iinfo(image_HV.dtype).max)
    above_KV, below_KV = np.empty((count, row_values), np.float32), np.empty((count, row_values), np.float32)
    maps_KT, rises_KT = np.zeros((count, TILE), np.float32), np.zeros((count, TILE), np.float32)
    tile_T = np.zeros(TILE, np.float32)
    _widen(below_KV, maps_HKML[0], *columns)
    first = 0
    for map_row in range(map_rows + 1):  # the rows whose centres lie between that of this row of maps and the last
        end = min(height, factor // 2 + map_row * factor) if map_row < map_rows else height
        above_KV, below_KV = below_KV, above_KV
        _widen(below_KV, maps_HKML[min(map_row, map_rows - 1)], *columns)
        for left in range(0, row_values, TILE):
            right = min(left + TILE, row_values)
            for k in range(count):
                _lines(maps_KT[k], rises_KT[k], above_KV[k, left:right], below_KV[k, left:right])
            for y in range(first, end):
                place = np.float32(2 * y + 1 + factor - 2 * factor * map_row) / np.float32(2 * factor)
                _load(tile_T, image_HV[y, left:right], white)
                _take_steps(tile_T, maps_KT, rises_KT, place, steps)
                _store(enhanced_HV[y, left:right], tile_T, white)
        first = end


@_compiled
def _spread(chroma_T, samples, across, grey, span):  # type: ignore[no-untyped-def]
    """Chroma of a tile's pixels, -1/2 to 1/2."""
    if across == 2 and len(samples) == TILE // 2:
        for i in range(TILE // 2):
            chroma = (np.float32(samples[i]) - grey) / span
            chroma_T[2 * i] = chroma
            chroma_T[2 * i + 1] = chroma
    else:
        for i in range(min(TILE, across * len(samples))):
            chroma_T[i] = (np.float32(samples[i // across]) - grey) / span


@_compiled
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


@_compiled
def _to_rgb(red_T, green_T, blue_T, planes, weights):  # type: ignore[no-untyped-def]
    """Clipped: what lies outside of RGB has no curve."""
    luma_T, of_blue_T, of_red_T = planes
    red, green, blue = weights
    of_red, of_blue = np.float32(2) * (np.float32(1) - red), np.float32(2) * (np.float32(1) - blue)
    red_of_green, blue_of_green = of_red * red / green, of_blue * blue / green
    zero, one = np.float32(0), np.float32(1)
    for i in range(TILE):
        y, cb, cr = luma_T[i], of_blue_T[i], of_red_T[i]
        red_T[i] = min(max(y + of_red * cr, zero), one)
        green_T[i] = min(max(y - red_of_green * cr - blue_of_green * cb, zero), one)
        blue_T[i] = min(max(y + of_blue * cb, zero), one)


@_compiled
def _from_rgb(planes, red_T, green_T, blue_T, weights):  # type: ignore[no-untyped-def]
    luma_T, of_blue_T, of_red_T = planes
    red, green, blue = weights
    of_red, of_blue = np.float32(0.5) / (np.float32(1) - red), np.float32(0.5) / (np.float32(1) - blue)
    for i in range(TILE):
        y = red * red_T[i] + green * green_T[i] + blue * blue_T[i]
        luma_T[i] = y
        of_blue_T[i] = (blue_T[i] - y) * of_blue
        of_red_T[i] = (red_T[i] - y) * of_red


@_compiled
def _read(values_T, samples, black, span):  # type: ignore[no-untyped-def]
    if len(samples) == TILE:
        for i in range(TILE):
            values_T[i] = (np.float32(samples[i]) - black) / span
    else:
        for i in range(len(samples)):
            values_T[i] = (np.float32(samples[i]) - black) / span


@_compiled
def _write(samples, values, scale, black, top):  # type: ignore[no-untyped-def]
    """`scale`: codes of one unit of `values`."""
    if len(samples) == TILE:
        for i in range(TILE):
            samples[i] = np.int32(min(max(np.rint(values[i] * scale + black), np.float32(0)), top))
    else:
        for i in range(len(samples)):
            samples[i] = np.int32(min(max(np.rint(values[i] * scale + black), np.float32(0)), top))


@_compiled
def lift_planes(planes, enhanced, subsampling, numbers, maps_HKML, steps, factor, columns):  # type: ignore[no-untyped-def]
    (luma_HS, blue_HS, red_HS), (new_luma_HS, new_blue_HS, new_red_HS) = planes, enhanced
    across, down = subsampling
    red, green, blue, black, span, grey, chroma_span, top = numbers
    weights = red, green, blue
    height, width = len(luma_HS), len(columns[1])
    map_rows, count, _, _ = maps_HKML.shape
    above_KV, below_KV = np.empty((count, width), np.float32), np.empty((count, width), np.float32)
    maps_KT, rises_KT = np.zeros((count, TILE), np.float32), np.zeros((count, TILE), np.float32)
    red_T, green_T, blue_T = np.zeros(TILE, np.float32), np.zeros(TILE, np.float32), np.zeros(TILE, np.float32)
    coded = np.zeros(TILE, np.float32), np.zeros(TILE, np.float32), np.zeros(TILE, np.float32)
    blue_sums, red_sums = np.zeros(width, np.float32), np.zeros(width, np.float32)
    _widen(below_KV, maps_HKML[0], *columns)
    first = 0
    for map_row in range(map_rows + 1):
        end = min(height, factor // 2 + map_row * factor) if map_row < map_rows else height
        above_KV, below_KV = below_KV, above_KV
        _widen(below_KV, maps_HKML[min(map_row, map_rows - 1)], *columns)
        for left in range(0, width, TILE):
            right = min(left + TILE, width)
            under = slice(left // across, (right + across - 1) // across)
            for k in range(count):
                _lines(maps_KT[k], rises_KT[k], above_KV[k, left:right], below_KV[k, left:right])
            for y in range(first, end):
                place = np.float32(2 * y + 1 + factor - 2 * factor * map_row) / np.float32(2 * factor)
                _read(coded[0], luma_HS[y, left:right], black, span)
                _spread(coded[1], blue_HS[y // down, under], across, grey, chroma_span)
                _spread(coded[2], red_HS[y // down, under], across, grey, chroma_span)
                _to_rgb(red_T, green_T, blue_T, coded, weights)
                _take_steps(red_T, maps_KT, rises_KT, place, steps[0])
                _take_steps(green_T, maps_KT, rises_KT, place, steps[1])
                _take_steps(blue_T, maps_KT, rises_KT, place, steps[2])
                _from_rgb(coded, red_T, green_T, blue_T, weights)
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
