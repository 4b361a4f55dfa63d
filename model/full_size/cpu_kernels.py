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
