"""Loop that applies curve maps to the planes of a YUV frame, compiled by numba for the CPU. `cpu.py` calls it.

The rows that share a row of chroma samples are processed together, a tile at a time. Chroma is cleaned at its own size,
and only its factor is computed for each pixel. See `cpu_kernels.py` for what is the same with images.

Suffixes: S steps, or samples of a line of a plane (with its padding), M channels of maps, D rows that share chroma, N
all numbers of a row of maps, H height, W width, L columns of maps or of cells, P planes of cells, T pixels or samples
of a tile, C channels.
"""

import numpy as np

from model.compiled import compiled, inlined
from model.full_size.clean_tiles import (
    BLUE_OFFSET,
    COLOUR_GAIN,
    GAIN,
    OFFSET,
    RED_OFFSET,
    SEEN,
    clean_chroma,
    clean_luma,
    widen_cells,
)
from model.full_size.tiles import ROOM, TILE, coded, lift_tile, maps_of_row, scale_of, seen_share, take_luma


@compiled
def lift_planes(  # type: ignore[no-untyped-def]
    planes, enhanced, subsampling, numbers, maps_HLSM, factor, columns, in_light, cells_HPL, side, lowest
):
    (luma_HS, blue_HS, red_HS), (new_luma_HS, new_blue_HS, new_red_HS) = planes, enhanced
    across, down = subsampling
    red, green, blue, black, span, grey, chroma_span, top = numbers
    weights, one = (red, green, blue), np.float32(1)
    unit, chroma_unit = np.nextafter(one / span, one), one / chroma_span  # so that white becomes 1, or is clipped to it
    starts, place_W = columns
    height, width = len(luma_HS), starts[len(starts) - 1]
    maps_HN, column = maps_HLSM.reshape(len(maps_HLSM), -1), maps_HLSM[0, 0].size
    nodes_DN = np.empty((down, maps_HN.shape[1]), np.float32)
    rises_DN = np.empty_like(nodes_DN)
    nodes_DLSM, rises_DLSM = (
        nodes_DN.reshape((down, *maps_HLSM.shape[1:])),
        rises_DN.reshape((down, *maps_HLSM.shape[1:])),
    )
    luma_T, share_T, seen_T = np.zeros(ROOM, np.float32), np.zeros(TILE, np.float32), np.ones(TILE, np.float32)
    room_CT = np.zeros((6, ROOM), np.float32)
    chroma_CT, sums_CT = np.zeros((2, TILE // across), np.float32), np.zeros((2, TILE // across), np.float32)
    spread_CT, cells_PT = np.zeros((2, TILE), np.float32), np.zeros((3, TILE), np.float32)
    line_L = np.empty(TILE + 2, np.float32)
    for first in range(0, height, down):
        rows = min(down, height - first)
        for row in range(rows):
            maps_of_row(nodes_DN[row], rises_DN[row], maps_HN, column, first + row, (factor, 1))
        for left in range(0, width, TILE):
            right = min(left + TILE, width)
            under = slice(left // across, (right + across - 1) // across)
            _read(chroma_CT[0], blue_HS[first // down, under], grey, chroma_unit)
            _read(chroma_CT[1], red_HS[first // down, under], grey, chroma_unit)
            if cells_HPL is not None:
                at, sides = (first // down, left // across), (side // down, side // across)
                _clean_colours(chroma_CT, cells_PT, cells_HPL, at, sides, line_L, weights)
            if in_light is not None:
                _room_of_chroma(sums_CT, chroma_CT, weights)
                _spread(spread_CT, sums_CT, across)
            else:
                _spread(spread_CT, chroma_CT, across)
            sums_CT[:] = 0
            for row in range(rows):
                y, curve = first + row, ((nodes_DLSM[row], rises_DLSM[row]), starts, place_W)
                _read(luma_T, luma_HS[y, left:right], black, unit)
                if cells_HPL is not None:
                    for plane, into_T in ((GAIN, cells_PT[0]), (OFFSET, cells_PT[1]), (SEEN, seen_T)):
                        widen_cells(into_T, cells_HPL, plane, (y, left), (side, side), line_L)
                    clean_luma(luma_T, cells_PT[0], cells_PT[1])
                if in_light is not None:
                    if cells_HPL is None:
                        _clip(luma_T)
                    take_luma(luma_T, room_CT, curve, left, right)
                    _follow(luma_T, share_T, spread_CT, seen_T, room_CT, lowest)
                    _gather(sums_CT[0], share_T, right - left, across)
                else:
                    _to_rgb(room_CT[:3], luma_T, spread_CT, weights)
                    for c in range(3):
                        lift_tile(room_CT[3 + c], room_CT[c], curve, min(c, maps_HLSM.shape[3] - 1), left, right)
                    _from_rgb(luma_T, room_CT[:2], room_CT[3:], seen_T, weights, lowest)
                    _gather(sums_CT[0], room_CT[0], right - left, across)
                    _gather(sums_CT[1], room_CT[1], right - left, across)
                _write(new_luma_HS[y, left:right], luma_T, span, black, top)
            if in_light is not None:
                _scale(sums_CT, chroma_CT)
            scale = chroma_span / np.float32(across * rows)
            _write(new_blue_HS[first // down, under], sums_CT[0], scale, grey, top)
            _write(new_red_HS[first // down, under], sums_CT[1], scale, grey, top)


@inlined
def _read(values_T, samples, black, unit):  # type: ignore[no-untyped-def]
    for i in range(len(samples)):
        values_T[i] = (np.float32(samples[i]) - black) * unit


@inlined
def _write(samples, values_T, scale, black, top):  # type: ignore[no-untyped-def]
    """Convert values to codes, rounded and clipped. `scale`: codes of one unit of `values_T`."""
    for i in range(len(samples)):
        samples[i] = np.int32(min(max(np.rint(values_T[i] * scale + black), np.float32(0)), top))


@inlined
def _shares_of_chroma(weights):  # type: ignore[no-untyped-def]
    """Return the factors of chroma in RGB: of Cr in red, of Cb in blue, and of Cr and of Cb subtracted in green."""
    red, green, blue = weights
    of_red, of_blue = np.float32(2) * (np.float32(1) - red), np.float32(2) * (np.float32(1) - blue)
    return of_red, of_blue, of_red * red / green, of_blue * blue / green


@inlined
def _clean_colours(chroma_CT, cells_PT, cells_HPL, at, sides, line_L, weights):  # type: ignore[no-untyped-def]
    """Clean the chroma samples of a tile. `at`, `sides`: see `widen_cells`. `cells_PT`: scratch space."""
    of_red, of_blue, _, _ = _shares_of_chroma(weights)
    samples = chroma_CT.shape[1]
    gain_T, offset_T = cells_PT[0, :samples], cells_PT[1, :samples]
    widen_cells(gain_T, cells_HPL, COLOUR_GAIN, at, sides, line_L)
    widen_cells(offset_T, cells_HPL, BLUE_OFFSET, at, sides, line_L)
    clean_chroma(chroma_CT[0], gain_T, offset_T, np.float32(1) / of_blue)
    widen_cells(offset_T, cells_HPL, RED_OFFSET, at, sides, line_L)
    clean_chroma(chroma_CT[1], gain_T, offset_T, np.float32(1) / of_red)


@inlined
def _clip(luma_T):  # type: ignore[no-untyped-def]
    """Clip luma to [0, 1] in place, where the curve is defined."""
    for i in range(TILE):
        luma_T[i] = min(max(luma_T[i], np.float32(0)), np.float32(1))


@inlined
def _spread(spread_CT, samples_CT, across):  # type: ignore[no-untyped-def]
    """Repeat two values of each chroma sample for its pixels."""
    for c in range(2):
        spread_T, samples_T = spread_CT[c], samples_CT[c]
        if across == 2:
            for i in range(TILE // 2):
                spread_T[2 * i] = samples_T[i]
                spread_T[2 * i + 1] = samples_T[i]
        else:
            for i in range(TILE):
                spread_T[i] = samples_T[i]


@inlined
def _room_of_chroma(room_CT, chroma_CT, weights):  # type: ignore[no-untyped-def]
    """Write for each chroma sample by how much the highest channel exceeds luma, and the lowest."""
    of_red, of_blue, red_of_green, blue_of_green = _shares_of_chroma(weights)
    blue_T, red_T, highest_T, lowest_T = chroma_CT[0], chroma_CT[1], room_CT[0], room_CT[1]
    for i in range(len(blue_T)):
        cb, cr = blue_T[i], red_T[i]
        red, green, blue = of_red * cr, -red_of_green * cr - blue_of_green * cb, of_blue * cb
        highest_T[i], lowest_T[i] = max(max(red, green), blue), min(min(red, green), blue)


@inlined
def _follow(luma_T, scale_T, spread_CT, seen_T, room_CT, black):  # type: ignore[no-untyped-def]
    """Write the enhanced luma of a tile and chroma's factor, with unseen pixels held back.

    `spread_CT`: see `_room_of_chroma`. `seen_T`: the share of each pixel that was seen. `room_CT`: see `take_luma`.
    """
    one_T, other_T, highest_T, lowest_T = room_CT[0], room_CT[1], spread_CT[0], spread_CT[1]
    for i in range(TILE):
        luma, lifted = luma_T[i], coded(one_T[i])
        share = seen_share(seen_T[i], luma, lifted, black)
        scale_T[i] = share * scale_of(luma, lifted, coded(other_T[i]), highest_T[i], lowest_T[i])
        luma_T[i] = lifted * share


@inlined
def _gather(sums_T, values_T, pixels, across):  # type: ignore[no-untyped-def]
    """Add the values of its `across` pixels to each sample's sum; at the border, the last pixel counts twice."""
    if across == 2:
        if pixels % 2:
            values_T[pixels] = values_T[pixels - 1]
        for i in range(TILE // 2):
            sums_T[i] += values_T[2 * i] + values_T[2 * i + 1]
    else:
        for i in range(TILE):
            sums_T[i] += values_T[i]


@inlined
def _scale(sums_CT, chroma_CT):  # type: ignore[no-untyped-def]
    """Scale chroma samples by the sums of their factors, which the first channel of `sums_CT` holds."""
    for i in range(sums_CT.shape[1]):
        scale = sums_CT[0, i]
        sums_CT[0, i], sums_CT[1, i] = scale * chroma_CT[0, i], scale * chroma_CT[1, i]


@inlined
def _to_rgb(rgb_CT, luma_T, chroma_CT, weights):  # type: ignore[no-untyped-def]
    """Convert a tile to RGB, clipped to [0, 1], where the curve is defined."""
    of_red, of_blue, red_of_green, blue_of_green = _shares_of_chroma(weights)
    zero, one = np.float32(0), np.float32(1)
    for i in range(TILE):
        y, cb, cr = luma_T[i], chroma_CT[0, i], chroma_CT[1, i]
        rgb_CT[0, i] = min(max(y + of_red * cr, zero), one)
        rgb_CT[1, i] = min(max(y - red_of_green * cr - blue_of_green * cb, zero), one)
        rgb_CT[2, i] = min(max(y + of_blue * cb, zero), one)


@inlined
def _from_rgb(luma_T, chroma_CT, rgb_CT, seen_T, weights, black):  # type: ignore[no-untyped-def]
    """Convert a tile back, and hold unseen pixels back. `luma_T`: before the curve; replaced."""
    red, green, blue = weights
    of_red, of_blue = np.float32(0.5) / (np.float32(1) - red), np.float32(0.5) / (np.float32(1) - blue)
    for i in range(TILE):
        y = red * rgb_CT[0, i] + green * rgb_CT[1, i] + blue * rgb_CT[2, i]
        share = seen_share(seen_T[i], luma_T[i], y, black)
        chroma_CT[0, i] = share * of_blue * (rgb_CT[2, i] - y)
        chroma_CT[1, i] = share * of_red * (rgb_CT[0, i] - y)
        luma_T[i] = share * y
