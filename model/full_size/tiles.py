"""Loops over a tile of an image or frame, compiled by numba for the CPU. `cpu_kernels.py` calls them.

Loops run over a whole tile, or over whole blocks of it, without branches, so that the compiler vectorises them; it may
fuse a multiplication and an addition, which then round once instead of twice.

Between two columns of maps a map is a straight line along a row: its value at the first column, and its rise from there
to the next. So the steps of a block need no maps from memory, only these two numbers for each step.

Suffixes: S steps, a multiple of four, M channels of their maps (for `light` 2: shade, and light minus shade), L columns
of maps with the first and the last repeated, N all numbers of a row of maps, T pixels of a tile, C channels.
"""

import numpy as np

from model.compiled import inlined
from model.curve.light import FULL, LEAST_SPAN, SPAN, TOE
from model.noise.cleaning import LIFTED_UNSEEN

TILE = 640  # pixels: divides 1,920 and 3,840, and is a multiple of 128, the largest cell
BLOCK = 16  # lengths are multiples of this, so that the compiler's vectors are full
ROOM = TILE + BLOCK  # of a tile's arrays, as the last block may stick out


@inlined
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


@inlined
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


@inlined
def maps_of_row(nodes_N, rises_N, maps_HN, column, y, scale):  # type: ignore[no-untyped-def]
    """Write the maps of a row of the image: at each column of maps, and their rise from there to the next column.

    `column`: numbers of a column. `scale`: pixels that a pixel of the maps covers, and that row `y` does. Below the
    maps, their last row counts.
    """
    factor, side = scale
    at = (2 * y + 1) * side + factor
    below = at // (2 * factor)
    place = np.float32(at - 2 * factor * below) / np.float32(2 * factor)
    last = len(maps_HN) - 1  # a coarse cell at the border may have its centre beyond the last row
    upper_N, lower_N = maps_HN[min(max(below - 1, 0), last)], maps_HN[min(below, last)]
    for n in range(len(nodes_N)):
        nodes_N[n] = upper_N[n] + place * (lower_N[n] - upper_N[n])
    next_N = nodes_N[column:]
    for n in range(len(next_N)):
        rises_N[n] = next_N[n] - nodes_N[n]


@inlined
def _take_four(values_T, place_T, node_SM, rise_SM, m):  # type: ignore[no-untyped-def]
    """Take four steps of one channel between two columns of maps. `m`: the channel of the maps."""
    a, b, c, d = node_SM[0, m], node_SM[1, m], node_SM[2, m], node_SM[3, m]
    of_a, of_b, of_c, of_d = rise_SM[0, m], rise_SM[1, m], rise_SM[2, m], rise_SM[3, m]
    for i in range(len(values_T)):
        x, place = values_T[i], place_T[i]
        x = x + (a + place * of_a) * (x * x - x)
        x = x + (b + place * of_b) * (x * x - x)
        x = x + (c + place * of_c) * (x * x - x)
        values_T[i] = x + (d + place * of_d) * (x * x - x)


@inlined
def lift_tile(lifted_T, pixels_T, curve, m, left, right):  # type: ignore[no-untyped-def]
    """Take all steps of one channel of a tile, the pixels `left` to `right` of a row.

    `curve`: the row's maps, see `maps_of_row`; where in the row the pixels between each two columns of maps begin; and
    each pixel's place between the two, 0 to 1. `m`: the channel of the maps.
    """
    (nodes_LSM, rises_LSM), starts, place_W = curve
    for column in range(_first(starts, left), len(starts) - 1):
        start, end = _blocks(starts, column, left, right)
        tile, place_t = slice(start - left, end - left), place_W[start:end]
        node_SM, rise_SM, lifted_t, pixels_t = nodes_LSM[column], rises_LSM[column], lifted_T[tile], pixels_T[tile]
        for i in range(len(lifted_t)):
            lifted_t[i] = pixels_t[i]
        for step in range(0, node_SM.shape[0], 4):
            _take_four(lifted_t, place_t, node_SM[step:], rise_SM[step:], m)
        if starts[column + 1] >= right:
            break


@inlined
def _first(starts, left):  # type: ignore[no-untyped-def]
    """Return the last column of maps that starts at or before a pixel."""
    return max(np.searchsorted(starts, left, side="right") - 1, 0)


@inlined
def _blocks(starts, column, left, right):  # type: ignore[no-untyped-def]
    """Return where in a tile a column's pixels begin, and the end of their blocks: what sticks out is done next."""
    start, end = max(starts[column], left), min(starts[column + 1], right)
    return start, start + (end - start + BLOCK - 1) // BLOCK * BLOCK


@inlined
def to_light(one_T, other_T, guide_T, luma_T):  # type: ignore[no-untyped-def]
    """Write the light of luma and of a slightly higher luma, and the place of luma between shade and light."""
    one, toe, unit = np.float32(1), np.float32(TOE), np.float32(1 / (1 + TOE))
    span_of, least = np.float32(SPAN), np.float32(LEAST_SPAN)
    for i in range(len(luma_T)):
        luma = luma_T[i]
        above = luma + span_of * min(luma, one - luma) + least
        one_T[i], other_T[i] = luma * (luma + toe) * unit, above * (above + toe) * unit
        guide_T[i] = np.sqrt(luma)


@inlined
def _step_twice(x, y, guide, place, numbers):  # type: ignore[no-untyped-def]
    """Take a step of two values by one map. `guide`: the place between shade and light; see `bilateral_grid.py`."""
    shade, shade_rise, light, light_rise = numbers
    r = shade + place * shade_rise + guide * (light + place * light_rise)
    return x + r * (x * x - x), y + r * (y * y - y)


@inlined
def _take_four_twice(one_T, other_T, guide_T, place_T, node_SM, rise_SM):  # type: ignore[no-untyped-def]
    """Take four steps of two values for each pixel with the same maps, between two columns of them."""
    a = node_SM[0, 0], rise_SM[0, 0], node_SM[0, 1], rise_SM[0, 1]
    b = node_SM[1, 0], rise_SM[1, 0], node_SM[1, 1], rise_SM[1, 1]
    c = node_SM[2, 0], rise_SM[2, 0], node_SM[2, 1], rise_SM[2, 1]
    d = node_SM[3, 0], rise_SM[3, 0], node_SM[3, 1], rise_SM[3, 1]
    for i in range(len(one_T)):
        x, y, guide, place = one_T[i], other_T[i], guide_T[i], place_T[i]
        x, y = _step_twice(x, y, guide, place, a)
        x, y = _step_twice(x, y, guide, place, b)
        x, y = _step_twice(x, y, guide, place, c)
        one_T[i], other_T[i] = _step_twice(x, y, guide, place, d)


@inlined
def take_luma(luma_T, room_CT, curve, left, right):  # type: ignore[no-untyped-def]
    """Take a tile's luma and a slightly higher luma, as light, through the curve; see `light.lift_luma`.

    `room_CT`: scratch space of three channels. The first two hold both lights afterwards. The rest as in `lift_tile`.
    """
    (nodes_LSM, rises_LSM), starts, place_W = curve
    for column in range(_first(starts, left), len(starts) - 1):
        start, end = _blocks(starts, column, left, right)
        tile, place_t = slice(start - left, end - left), place_W[start:end]
        node_SM, rise_SM = nodes_LSM[column], rises_LSM[column]
        one_t, other_t, guide_t = room_CT[0, tile], room_CT[1, tile], room_CT[2, tile]
        to_light(one_t, other_t, guide_t, luma_T[tile])
        for step in range(0, node_SM.shape[0], 4):
            _take_four_twice(one_t, other_t, guide_t, place_t, node_SM[step:], rise_SM[step:])
        if starts[column + 1] >= right:
            break


@inlined
def seen_share(seen, luma, lifted, black):  # type: ignore[no-untyped-def]
    """Compute the factor that a pixel is multiplied by after the curve; see `cleaning.hold_back`."""
    most = np.float32(LIFTED_UNSEEN) * max(luma - black, np.float32(0))
    return seen + (np.float32(1) - seen) * min(most / max(lifted, np.float32(1e-6)), np.float32(1))


@inlined
def coded(light):  # type: ignore[no-untyped-def]
    """Convert light to a coded value; see `light.from_light`."""
    return np.sqrt(light * np.float32(1 + TOE) + np.float32(TOE**2 / 4)) - np.float32(TOE / 2)


@inlined
def scale_of(luma, lifted, above, highest, lowest):  # type: ignore[no-untyped-def]
    """Compute chroma's factor in one division: the slope of the tone curve, or less if there is no room for that.

    `above`: the slightly higher luma after the curve. `highest`, `lowest`: of the pixel's channels, minus its luma.
    """
    zero, one, least = np.float32(0), np.float32(1), np.float32(1e-6)
    rise, over = above - lifted, np.float32(SPAN) * min(luma, one - luma) + np.float32(LEAST_SPAN)
    room, to = max(max(luma + highest, np.float32(FULL)) - lifted, zero), max(highest, least)
    is_less = room * over < rise * to
    rise, over = room if is_less else rise, to if is_less else over
    to = max(-lowest, least)
    is_less = lifted * over < rise * to
    rise, over = lifted if is_less else rise, to if is_less else over
    return rise / over
