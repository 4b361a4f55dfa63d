"""Loop that applies curve maps to a whole image, compiled by numba for the CPU. `cpu.py` calls it.

It does what `reference.upsample` and `light.lift` do, without full-size maps: a row of the image is processed a tile of
TILE pixels at a time, so that all that is needed for it stays in the core's nearest cache.

Suffixes: S steps, M channels of their maps (for `light` 2: shade, and light minus shade), N all numbers of a row of
maps, H height, V values of a row of the image (channels of a pixel side by side), W its width, L columns of maps or of
cells, P planes of cells, T pixels of a tile, C channels.
"""

import numpy as np

from model.compiled import compiled, inlined
from model.full_size.clean_tiles import SEEN, clean, hold_back, widen_cells
from model.full_size.tiles import (
    ROOM,
    TILE,
    coded,
    lift_tile,
    load,
    maps_of_row,
    scale_of,
    seen_share,
    store,
    take_luma,
    to_light,
)


@compiled
def lift(  # type: ignore[no-untyped-def]
    image_HV, enhanced_HV, maps_HLSM, factor, columns, in_light, cells_HPL, side, black, shares
):
    starts, place_W = columns
    height, width = len(image_HV), starts[len(starts) - 1]
    channels = image_HV.shape[1] // width
    white = np.float32(np.iinfo(image_HV.dtype).max)
    scale = np.float32(1) / white
    maps_HN, column = maps_HLSM.reshape(len(maps_HLSM), -1), maps_HLSM[0, 0].size
    nodes_N, rises_N = np.empty_like(maps_HN[0]), np.empty_like(maps_HN[0])
    curve = (nodes_N.reshape(maps_HLSM.shape[1:]), rises_N.reshape(maps_HLSM.shape[1:])), starts, place_W
    pixels_CT, lifted_CT = np.zeros((channels, ROOM), np.float32), np.zeros((channels, ROOM), np.float32)
    luma_T, room_CT = np.zeros(ROOM, np.float32), np.zeros((5, ROOM), np.float32)
    cells_PT, line_L = np.ones((SEEN + 1, TILE), np.float32), np.empty(TILE + 2, np.float32)
    for y in range(height):
        maps_of_row(nodes_N, rises_N, maps_HN, column, y, (factor, 1))
        for left in range(0, width, TILE):
            right = min(left + TILE, width)
            load(pixels_CT, image_HV[y, channels * left : channels * right], scale)
            if cells_HPL is not None:
                for plane in range(SEEN + 1):
                    widen_cells(cells_PT[plane], cells_HPL, plane, (y, left), (side, side), line_L)
                clean(pixels_CT, luma_T, cells_PT, shares)
            if in_light is not None:
                if cells_HPL is None:
                    _luma_of_tile(luma_T, pixels_CT, shares)
                take_luma(luma_T, room_CT, curve, left, right)
                _follow(pixels_CT, luma_T, cells_PT[SEEN], room_CT, black)
                store(enhanced_HV[y, channels * left : channels * right], pixels_CT, white)
            else:
                for c in range(channels):  # of the last maps if there are fewer
                    lift_tile(lifted_CT[c], pixels_CT[c], curve, min(c, maps_HLSM.shape[3] - 1), left, right)
                if cells_HPL is not None:
                    hold_back(lifted_CT, luma_T, cells_PT[SEEN], black, shares)
                store(enhanced_HV[y, channels * left : channels * right], lifted_CT, white)


@compiled
def lifted_luma(values_V, maps_KMN, steps, in_light, seen_N, black, weights, shares):  # type: ignore[no-untyped-def]
    """Return the mean of an enhanced RGB image's weighted channels. `maps_KMN`: a map for each of its N pixels.

    `values_V`: the image's. `steps`: the map that each step takes. `seen_N`: see `cleaning.hold_back`.
    """
    pixels, of_red, of_green, of_blue = len(seen_N), weights[0], weights[1], weights[2]
    scale = np.float32(1) / np.float32(np.iinfo(values_V.dtype).max)
    pixels_CT, seen_T = np.zeros((3, ROOM), np.float32), np.ones(ROOM, np.float32)
    luma_T, room_CT = np.zeros(ROOM, np.float32), np.zeros((3, ROOM), np.float32)
    total = 0.0
    for left in range(0, pixels, TILE):
        tile = slice(left, min(left + TILE, pixels))
        count = tile.stop - left
        load(pixels_CT, values_V[3 * left : 3 * tile.stop], scale)
        _luma_of_tile(luma_T, pixels_CT, shares)
        seen_T[:count] = seen_N[tile]
        if in_light is not None:
            one_T, other_T, guide_T = room_CT[0, :count], room_CT[1, :count], room_CT[2, :count]
            to_light(one_T, other_T, guide_T, luma_T[:count])
            for k in steps:
                _take_two(one_T, other_T, guide_T, maps_KMN[k, 0, tile], maps_KMN[k, 1, tile])
            _follow(pixels_CT, luma_T, seen_T, room_CT, black)
        else:
            for c in range(3):
                for k in steps:
                    _take_one(pixels_CT[c, :count], maps_KMN[k, min(c, maps_KMN.shape[1] - 1), tile])
            hold_back(pixels_CT, luma_T, seen_T, black, shares)
        red_T, green_T, blue_T = pixels_CT[0], pixels_CT[1], pixels_CT[2]
        for i in range(TILE):
            luma_T[i] = of_red * red_T[i] + of_green * green_T[i] + of_blue * blue_T[i]
        for i in range(count):
            total += luma_T[i]
    return total / pixels


@inlined
def _take_two(one_T, other_T, guide_T, shade_T, light_T):  # type: ignore[no-untyped-def]
    for i in range(len(one_T)):
        x, y, r = one_T[i], other_T[i], shade_T[i] + guide_T[i] * (light_T[i] - shade_T[i])
        one_T[i], other_T[i] = x + r * (x * x - x), y + r * (y * y - y)


@inlined
def _take_one(values_T, map_T):  # type: ignore[no-untyped-def]
    for i in range(len(values_T)):
        x = values_T[i]
        values_T[i] = x + map_T[i] * (x * x - x)


@inlined
def _luma_of_tile(luma_T, pixels_CT, shares):  # type: ignore[no-untyped-def]
    if len(pixels_CT) == 1:
        luma_T[:] = pixels_CT[0]
        return
    of_red, of_green, of_blue = shares
    for i in range(TILE):
        luma_T[i] = of_red * pixels_CT[0, i] + of_green * pixels_CT[1, i] + of_blue * pixels_CT[2, i]


@inlined
def _follow(pixels_CT, luma_T, seen_T, room_CT, black):  # type: ignore[no-untyped-def]
    """Lift a tile of RGB or grey with its luma, and hold unseen pixels back; see `light.lift`, `cleaning.hold_back`.

    `room_CT`: see `take_luma`. `seen_T`: the share of each pixel that the camera saw.
    """
    one_T, other_T = room_CT[0], room_CT[1]
    if len(pixels_CT) == 1:
        for i in range(TILE):
            luma, lifted = luma_T[i], coded(one_T[i])
            pixels_CT[0, i] = lifted * seen_share(seen_T[i], luma, lifted, black)
        return
    red_T, green_T, blue_T = pixels_CT[0], pixels_CT[1], pixels_CT[2]
    for i in range(TILE):
        luma, lifted = luma_T[i], coded(one_T[i])
        red, green, blue = red_T[i] - luma, green_T[i] - luma, blue_T[i] - luma
        highest, lowest = max(max(red, green), blue), min(min(red, green), blue)
        share = seen_share(seen_T[i], luma, lifted, black)
        scale = share * scale_of(luma, lifted, coded(other_T[i]), highest, lowest)
        lifted *= share
        red_T[i], green_T[i], blue_T[i] = lifted + scale * red, lifted + scale * green, lifted + scale * blue
