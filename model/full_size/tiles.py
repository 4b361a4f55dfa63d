"""Loops over a tile of an image or frame, compiled by numba for the CPU. `cpu_kernels.py` calls them.

Loops run over a whole tile, with constant length and without branches, so that the compiler vectorises them; it may
fuse a multiplication and an addition, which then round once instead of twice.

Suffixes: K maps, M channels of a map (for `light` 2: shade, and light minus shade), T pixels of a tile, C channels.
"""

import numpy as np

from model.compiled import compiled
from model.curve.light import FULL, LEAST_SPAN, SPAN, TOE
from model.noise.cleaning import LIFTED_UNSEEN

TILE = 640  # pixels: divides 1,920 and 3,840, and is a multiple of 128, the largest cell


@compiled
def load(pixels_CT, values, scale):  # type: ignore[no-untyped-def]
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
def store(values, pixels_CT, white):  # type: ignore[no-untyped-def]
    """Write a tile to a row of the image, rounded half to even, as torch does."""
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
    """Take all steps of one channel, four at a time if possible, to save memory traffic. `steps`: the map of each."""
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
def lift_tile(pixels_CT, curve):  # type: ignore[no-untyped-def]
    """Take all steps of all channels of a tile.

    `curve`: scratch space for the tile's maps; the row of maps above it; the row below minus that; the place of the
    tile's row between the two, 0 to 1; and the map that each step takes.
    """
    maps_KT, above_MKT, rises_MKT, place, steps = curve
    map_channels, count, _ = above_MKT.shape
    for channel in range(len(pixels_CT)):
        if channel < map_channels:  # otherwise the last channel's maps serve again
            for k in range(count):
                for i in range(TILE):
                    maps_KT[k, i] = above_MKT[channel, k, i] + place * rises_MKT[channel, k, i]
        _take_steps(pixels_CT, channel, maps_KT, steps)


@compiled
def _between(above_MKT, rises_MKT, place, guide_T, k, i):  # type: ignore[no-untyped-def]
    shade = above_MKT[0, k, i] + place * rises_MKT[0, k, i]
    return shade + guide_T[i] * (above_MKT[1, k, i] + place * rises_MKT[1, k, i])


@compiled
def _take_steps_twice(pair_CT, guide_T, curve):  # type: ignore[no-untyped-def]
    """Take all steps of two values for each pixel with the same maps, without writing the maps to memory.

    `guide_T`: the place between the maps of shade and of light; see `curve/bilateral_grid.py`.
    """
    _, above_MKT, rises_MKT, place, steps = curve
    fours = len(steps) // 4 * 4
    for at in range(0, fours, 4):
        first, second, third, fourth = steps[at], steps[at + 1], steps[at + 2], steps[at + 3]
        for i in range(TILE):
            x, y = pair_CT[0, i], pair_CT[1, i]
            r = _between(above_MKT, rises_MKT, place, guide_T, first, i)
            x, y = x + r * (x * x - x), y + r * (y * y - y)
            r = _between(above_MKT, rises_MKT, place, guide_T, second, i)
            x, y = x + r * (x * x - x), y + r * (y * y - y)
            r = _between(above_MKT, rises_MKT, place, guide_T, third, i)
            x, y = x + r * (x * x - x), y + r * (y * y - y)
            r = _between(above_MKT, rises_MKT, place, guide_T, fourth, i)
            pair_CT[0, i], pair_CT[1, i] = x + r * (x * x - x), y + r * (y * y - y)
    for at in range(fours, len(steps)):
        step = steps[at]
        for i in range(TILE):
            x, y = pair_CT[0, i], pair_CT[1, i]
            r = _between(above_MKT, rises_MKT, place, guide_T, step, i)
            pair_CT[0, i], pair_CT[1, i] = x + r * (x * x - x), y + r * (y * y - y)


@compiled
def seen_share(seen, luma, lifted, black):  # type: ignore[no-untyped-def]
    """Compute the factor that a pixel is multiplied by after the curve; see `cleaning.hold_back`."""
    most = np.float32(LIFTED_UNSEEN) * max(luma - black, np.float32(0))
    return seen + (np.float32(1) - seen) * min(most / max(lifted, np.float32(1e-6)), np.float32(1))


@compiled
def _take_luma(luma_T, room_CT, curve):  # type: ignore[no-untyped-def]
    """Take a tile's luma and a slightly higher luma, as light, through the curve; see `light.lift_luma`.

    `room_CT`: scratch space of three channels. The first two hold both lights afterwards.
    """
    one, toe, unit = np.float32(1), np.float32(TOE), np.float32(1 / (1 + TOE))
    span_of, least = np.float32(SPAN), np.float32(LEAST_SPAN)
    pair_CT, guide_T = room_CT[:2], room_CT[2]
    for i in range(TILE):
        luma = luma_T[i]
        above = luma + span_of * min(luma, one - luma) + least
        pair_CT[0, i] = luma * (luma + toe) * unit
        pair_CT[1, i] = above * (above + toe) * unit
        guide_T[i] = np.sqrt(luma)
    _take_steps_twice(pair_CT, guide_T, curve)


@compiled
def _coded(light):  # type: ignore[no-untyped-def]
    """Convert light to a coded value; see `light.from_light`."""
    return np.sqrt(light * np.float32(1 + TOE) + np.float32(TOE**2 / 4)) - np.float32(TOE / 2)


@compiled
def _scale(luma, lifted, above, highest, lowest):  # type: ignore[no-untyped-def]
    """Compute chroma's factor in one division: the slope of the tone curve, or less if there is no room for that.

    `above`: the slightly higher luma after the curve. `highest`, `lowest`: of the pixel's channels.
    """
    zero, one, least = np.float32(0), np.float32(1), np.float32(1e-6)
    rise, over = above - lifted, np.float32(SPAN) * min(luma, one - luma) + np.float32(LEAST_SPAN)
    room, to = max(max(highest, np.float32(FULL)) - lifted, zero), max(highest - luma, least)
    is_less = room * over < rise * to
    rise, over = room if is_less else rise, to if is_less else over
    to = max(luma - lowest, least)
    is_less = lifted * over < rise * to
    rise, over = lifted if is_less else rise, to if is_less else over
    return rise / over


@compiled
def _risen(luma, room_CT, i, highest, lowest, seen, black):  # type: ignore[no-untyped-def]
    """Return the enhanced luma and chroma's factor, with unseen pixels held back. `room_CT`: see `_take_luma`."""
    lifted = _coded(room_CT[0, i])
    scale = _scale(luma, lifted, _coded(room_CT[1, i]), highest, lowest)
    share = seen_share(seen, luma, lifted, black)
    return lifted * share, scale * share


@compiled
def luma_of_tile(luma_T, pixels_CT, shares):  # type: ignore[no-untyped-def]
    if len(pixels_CT) == 1:
        luma_T[:] = pixels_CT[0]
        return
    of_red, of_green, of_blue = shares
    for i in range(TILE):
        luma_T[i] = of_red * pixels_CT[0, i] + of_green * pixels_CT[1, i] + of_blue * pixels_CT[2, i]


@compiled
def lift_in_light(pixels_CT, luma_T, seen_T, room_CT, curve, black):  # type: ignore[no-untyped-def]
    """Lift a tile of RGB or grey, with unseen pixels held back; see `light.lift` and `cleaning.hold_back`.

    `luma_T`: of the pixels. `seen_T`: the share of each that the camera saw.
    """
    _take_luma(luma_T, room_CT, curve)
    if len(pixels_CT) == 1:
        for i in range(TILE):
            luma, lifted = luma_T[i], _coded(room_CT[0, i])
            pixels_CT[0, i] = lifted * seen_share(seen_T[i], luma, lifted, black)
        return
    for i in range(TILE):
        luma, red, green, blue = luma_T[i], pixels_CT[0, i], pixels_CT[1, i], pixels_CT[2, i]
        highest, lowest = max(max(red, green), blue), min(min(red, green), blue)
        lifted, scale = _risen(luma, room_CT, i, highest, lowest, seen_T[i], black)
        pixels_CT[0, i] = lifted + scale * (red - luma)
        pixels_CT[1, i] = lifted + scale * (green - luma)
        pixels_CT[2, i] = lifted + scale * (blue - luma)


@compiled
def shares_of_chroma(weights):  # type: ignore[no-untyped-def]
    """Return the factors of chroma in RGB: of Cr in red, of Cb in blue, and of Cr and of Cb subtracted in green."""
    red, green, blue = weights
    of_red, of_blue = np.float32(2) * (np.float32(1) - red), np.float32(2) * (np.float32(1) - blue)
    return of_red, of_blue, of_red * red / green, of_blue * blue / green


@compiled
def clip_luma(luma_T):  # type: ignore[no-untyped-def]
    """Clip luma to [0, 1] in place, where the curve is defined."""
    for i in range(TILE):
        luma_T[i] = min(max(luma_T[i], np.float32(0)), np.float32(1))


@compiled
def lift_coded_in_light(planes, seen_T, room_CT, curve, weights, black):  # type: ignore[no-untyped-def]
    """Lift a tile of luma, in [0, 1], and chroma, as `lift_in_light` does."""
    luma_T, of_blue_T, of_red_T = planes
    of_red, of_blue, red_of_green, blue_of_green = shares_of_chroma(weights)
    _take_luma(luma_T, room_CT, curve)
    for i in range(TILE):
        luma, cb, cr = luma_T[i], of_blue_T[i], of_red_T[i]
        more_red, more_green, more_blue = of_red * cr, -red_of_green * cr - blue_of_green * cb, of_blue * cb
        highest = luma + max(max(more_red, more_green), more_blue)
        lowest = luma + min(min(more_red, more_green), more_blue)
        lifted, scale = _risen(luma, room_CT, i, highest, lowest, seen_T[i], black)
        luma_T[i], of_blue_T[i], of_red_T[i] = lifted, scale * cb, scale * cr


@compiled
def to_rgb(rgb_CT, planes, weights):  # type: ignore[no-untyped-def]
    """Convert a tile to RGB, clipped to [0, 1], where the curve is defined."""
    luma_T, of_blue_T, of_red_T = planes
    of_red, of_blue, red_of_green, blue_of_green = shares_of_chroma(weights)
    zero, one = np.float32(0), np.float32(1)
    for i in range(TILE):
        y, cb, cr = luma_T[i], of_blue_T[i], of_red_T[i]
        rgb_CT[0, i] = min(max(y + of_red * cr, zero), one)
        rgb_CT[1, i] = min(max(y - red_of_green * cr - blue_of_green * cb, zero), one)
        rgb_CT[2, i] = min(max(y + of_blue * cb, zero), one)


@compiled
def from_rgb(planes, rgb_CT, weights):  # type: ignore[no-untyped-def]
    luma_T, of_blue_T, of_red_T = planes
    red, green, blue = weights
    of_red, of_blue = np.float32(0.5) / (np.float32(1) - red), np.float32(0.5) / (np.float32(1) - blue)
    for i in range(TILE):
        y = red * rgb_CT[0, i] + green * rgb_CT[1, i] + blue * rgb_CT[2, i]
        luma_T[i] = y
        of_blue_T[i] = (rgb_CT[2, i] - y) * of_blue
        of_red_T[i] = (rgb_CT[0, i] - y) * of_red
