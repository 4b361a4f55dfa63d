"""Loops that apply curve maps to a whole image or frame, compiled by numba for the CPU. `cpu.py` calls them.

They do what `reference.upsample` and `light.lift` do, without full-size maps: the rows of the image that lie between
two rows of maps are processed together, a tile of TILE pixels at a time, with the tile's part of those two rows in the
core's nearest cache.

Suffixes: K maps, M channels of a map (for `light` 2: shade, and light minus shade), H height, V values of a row of the
image (channels of a pixel side by side), W its width, L columns of maps, S samples of a line of a plane (with its
padding), T pixels of a tile, C channels.
"""

import numpy as np

from model.compiled import compiled
from model.full_size.clean_tiles import (
    NO_ROW,
    between_cells,
    clean,
    clean_coded,
    hold_back,
    hold_back_coded,
    seen_of_tile,
)
from model.full_size.tiles import (
    TILE,
    clip_luma,
    from_rgb,
    lift_coded_in_light,
    lift_in_light,
    lift_tile,
    load,
    luma_of_tile,
    store,
    to_rgb,
)


@compiled
def _widen(wide_MKW, maps_MKL, starts, places):  # type: ignore[no-untyped-def]
    """Interpolate a row of maps linearly to all pixels of a row of the image."""
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
    """Copy the part of two widened rows of maps that is over a tile: the upper row, and the lower minus the upper."""
    map_channels, count, _ = above_MKT.shape
    for m in range(map_channels):
        for k in range(count):
            above, below = above_MKW[m, k, left:right], below_MKW[m, k, left:right]
            for i in range(len(above)):
                above_MKT[m, k, i] = above[i]
                rises_MKT[m, k, i] = below[i] - above[i]


@compiled
def lift(  # type: ignore[no-untyped-def]
    image_HV, enhanced_HV, maps_HMKL, steps, factor, columns, in_light, cells_HPL, side, black, shares
):
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
    luma_T, seen_T = np.zeros(TILE, np.float32), np.ones(TILE, np.float32)
    room_CT = np.zeros((3, TILE), np.float32)
    between = np.zeros((6, TILE), np.float32), np.zeros((6, TILE), np.float32), np.float32(0)
    _widen(below_MKW, maps_HMKL[0], *columns)
    first = 0
    for map_row in range(map_rows + 1):  # image rows between the centres of the last row of maps and this one
        end = min(height, factor // 2 + map_row * factor) if map_row < map_rows else height
        above_MKW, below_MKW = below_MKW, above_MKW
        _widen(below_MKW, maps_HMKL[min(map_row, map_rows - 1)], *columns)
        for left in range(0, width, TILE):
            right = min(left + TILE, width)
            _cut(above_MKT, rises_MKT, above_MKW, below_MKW, left, right)
            cell_row = NO_ROW
            for y in range(first, end):
                if cells_HPL is not None:
                    between, cell_row = between_cells(between, cell_row, cells_HPL, y, left, side)
                place = np.float32(2 * y + 1 + factor - 2 * factor * map_row) / np.float32(2 * factor)
                load(pixels_CT, image_HV[y, channels * left : channels * right], scale)
                if cells_HPL is not None:
                    clean(pixels_CT, luma_T, between, shares)
                    seen_of_tile(seen_T, between)
                curve = maps_KT, above_MKT, rises_MKT, place, steps
                if in_light is not None:
                    if cells_HPL is None:
                        luma_of_tile(luma_T, pixels_CT, shares)
                    lift_in_light(pixels_CT, luma_T, seen_T, room_CT, curve, black)
                else:
                    lift_tile(pixels_CT, curve)
                    if cells_HPL is not None:
                        hold_back(pixels_CT, luma_T, seen_T, black, shares)
                store(enhanced_HV[y, channels * left : channels * right], pixels_CT, white)
        first = end


@compiled
def _spread(chroma_T, samples, across, grey, unit):  # type: ignore[no-untyped-def]
    """Write the chroma of a tile's pixels, -1/2 to 1/2."""
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
    """Add the chroma of its `across` pixels to each sample's sum; at the border, the last pixel counts twice."""
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
def _read(values_T, samples, black, unit):  # type: ignore[no-untyped-def]
    if len(samples) == TILE:
        for i in range(TILE):
            values_T[i] = (np.float32(samples[i]) - black) * unit
    else:
        for i in range(len(samples)):
            values_T[i] = (np.float32(samples[i]) - black) * unit


@compiled
def _write(samples, values, scale, black, top):  # type: ignore[no-untyped-def]
    """Convert values to codes, rounded and clipped. `scale`: codes of one unit of `values`."""
    if len(samples) == TILE:
        for i in range(TILE):
            samples[i] = np.int32(min(max(np.rint(values[i] * scale + black), np.float32(0)), top))
    else:
        for i in range(len(samples)):
            samples[i] = np.int32(min(max(np.rint(values[i] * scale + black), np.float32(0)), top))


@compiled
def lift_planes(  # type: ignore[no-untyped-def]
    planes, enhanced, subsampling, numbers, maps_HMKL, steps, factor, columns, in_light, cells_HPL, side, lowest
):
    (luma_HS, blue_HS, red_HS), (new_luma_HS, new_blue_HS, new_red_HS) = planes, enhanced
    across, down = subsampling
    red, green, blue, black, span, grey, chroma_span, top = numbers
    weights, one = (red, green, blue), np.float32(1)
    unit, chroma_unit = np.nextafter(one / span, one), one / chroma_span  # so that white becomes 1, or is clipped to it
    map_rows, map_channels, count, _ = maps_HMKL.shape
    height, width = len(luma_HS), len(columns[1])
    above_MKW = np.empty((map_channels, count, width), np.float32)
    below_MKW = np.empty((map_channels, count, width), np.float32)
    above_MKT = np.zeros((map_channels, count, TILE), np.float32)
    rises_MKT = np.zeros((map_channels, count, TILE), np.float32)
    maps_KT = np.zeros((count, TILE), np.float32)
    rgb_CT = np.zeros((3, TILE), np.float32)
    luma_T, seen_T = np.zeros(TILE, np.float32), np.ones(TILE, np.float32)
    room_CT = np.zeros((3, TILE), np.float32)
    between = np.zeros((6, TILE), np.float32), np.zeros((6, TILE), np.float32), np.float32(0)
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
            cell_row = NO_ROW
            for y in range(first, end):
                if cells_HPL is not None:
                    between, cell_row = between_cells(between, cell_row, cells_HPL, y, left, side)
                place = np.float32(2 * y + 1 + factor - 2 * factor * map_row) / np.float32(2 * factor)
                _read(coded[0], luma_HS[y, left:right], black, unit)
                _spread(coded[1], blue_HS[y // down, under], across, grey, chroma_unit)
                _spread(coded[2], red_HS[y // down, under], across, grey, chroma_unit)
                if cells_HPL is not None:
                    clean_coded(coded, luma_T, between, weights)
                    seen_of_tile(seen_T, between)
                curve = maps_KT, above_MKT, rises_MKT, place, steps
                if in_light is not None:
                    if cells_HPL is None:
                        clip_luma(coded[0])
                    lift_coded_in_light(coded, seen_T, room_CT, curve, weights, lowest)
                else:
                    to_rgb(rgb_CT, coded, weights)
                    lift_tile(rgb_CT, curve)
                    from_rgb(coded, rgb_CT, weights)
                    if cells_HPL is not None:
                        hold_back_coded(coded, luma_T, seen_T, lowest)
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
