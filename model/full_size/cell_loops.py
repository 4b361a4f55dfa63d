"""Loops of `cells.py`, which numba compiles: over rows of planes, of constant length and without branches.

Suffixes: P planes, h and w cells, u and v cells of twice the side, called coarse, K maps, M channels of a map, H rows
and L columns of maps.
"""

import numpy as np

from model.compiled import compiled, inlined
from model.curve.light import LEAST_SPAN, SPAN
from model.full_size.tiles import ROOM, TILE, coded, lift_tile, maps_of_row, take_luma
from model.noise.cleaning import AMPLIFIED_FROM, BLOCKS, BLOCKS_UP_TO, COARSE, COLOUR, FADE, LEAST_VARIANCE, LUMA, Cell

GAIN, OFFSET, COLOUR_GAIN, RED_OFFSET, BLUE_OFFSET, SEEN = map(int, Cell)


@compiled
def average(means_hw, plane_hw, radius):  # type: ignore[no-untyped-def]
    height, width = plane_hw.shape
    share = np.float32(1 / (2 * radius + 1) ** 2)
    sums_w = np.empty(width + 2 * radius, np.float32)
    inner_w = sums_w[radius : radius + width]
    last = height - 1
    for y in range(height):
        above_w, here_w, below_w = plane_hw[max(y - 1, 0)], plane_hw[y], plane_hw[min(y + 1, last)]
        if radius == 1:
            for x in range(width):
                inner_w[x] = above_w[x] + here_w[x] + below_w[x]
        else:
            first_w, last_w = plane_hw[max(y - 2, 0)], plane_hw[min(y + 2, last)]
            for x in range(width):
                inner_w[x] = (above_w[x] + here_w[x] + below_w[x]) + (first_w[x] + last_w[x])
        sums_w[:radius] = inner_w[0]
        sums_w[radius + width :] = inner_w[width - 1]
        row_w = means_hw[y]
        if radius == 1:
            for x in range(width):
                row_w[x] = share * (sums_w[x] + sums_w[x + 1] + sums_w[x + 2])
        else:
            for x in range(width):
                row_w[x] = share * ((sums_w[x] + sums_w[x + 1] + sums_w[x + 2]) + (sums_w[x + 3] + sums_w[x + 4]))


@compiled
def pool(coarse_uv, plane_hw):  # type: ignore[no-untyped-def]
    """Average cells two by two; the last row and column average what there is."""
    last = len(plane_hw) - 1
    for v in range(len(coarse_uv)):
        _pool_rows(coarse_uv[v], plane_hw[2 * v], plane_hw[min(2 * v + 1, last)])


@inlined
def _pool_rows(coarse_v, upper_w, lower_w):  # type: ignore[no-untyped-def]
    quarter = np.float32(0.25)
    whole = len(upper_w) // 2
    for u in range(whole):
        coarse_v[u] = quarter * (upper_w[2 * u] + upper_w[2 * u + 1] + lower_w[2 * u] + lower_w[2 * u + 1])
    if whole < len(coarse_v):
        coarse_v[whole] = np.float32(0.5) * (upper_w[2 * whole] + lower_w[2 * whole])


@compiled
def rises(rises_uv, luma_uv, maps_HLSM, scale, columns, in_light):  # type: ignore[no-untyped-def]
    """Compute the slope of the tone curve at each coarse cell; see `light.tone`. `scale`: see `maps_of_row`."""
    starts, place_W = columns
    maps_HN, column = maps_HLSM.reshape(len(maps_HLSM), -1), maps_HLSM[0, 0].size
    nodes_N, rises_N = np.empty_like(maps_HN[0]), np.empty_like(maps_HN[0])
    curve = (nodes_N.reshape(maps_HLSM.shape[1:]), rises_N.reshape(maps_HLSM.shape[1:])), starts, place_W
    luma_T, above_T, room_CT = np.zeros(ROOM, np.float32), np.zeros(ROOM, np.float32), np.zeros((3, ROOM), np.float32)
    span_of, least, one = np.float32(SPAN), np.float32(LEAST_SPAN), np.float32(1)
    channels, width = maps_HLSM.shape[3], rises_uv.shape[1]
    for y in range(len(rises_uv)):
        maps_of_row(nodes_N, rises_N, maps_HN, column, y, scale)
        for left in range(0, width, TILE):
            right = min(left + TILE, width)
            luma_v, rises_v = luma_uv[y, left:right], rises_uv[y, left:right]
            for i in range(len(luma_v)):
                luma_T[i] = luma_v[i]
                above_T[i] = luma_v[i] + span_of * min(luma_v[i], one - luma_v[i]) + least
            if in_light is not None:
                take_luma(luma_T, room_CT, curve, left, right)
                for i in range(len(rises_v)):
                    rises_v[i] = (coded(room_CT[1, i]) - coded(room_CT[0, i])) / (above_T[i] - luma_T[i])
            else:
                rises_v[:] = 0
                for m in range(channels):
                    lift_tile(room_CT[0], luma_T, curve, m, left, right)
                    lift_tile(room_CT[1], above_T, curve, m, left, right)
                    for i in range(len(rises_v)):
                        rise = (room_CT[1, i] - room_CT[0, i]) / (above_T[i] - luma_T[i])
                        rises_v[i] += rise / np.float32(channels)


@inlined
def noise_at(luma, noise_L):  # type: ignore[no-untyped-def]
    """Interpolate the deviation of noise at a luma. `noise_L`: at the squares of 0 to 1 in equal steps, as LEVELS."""
    zero, one, last = np.float32(0), np.float32(1), np.int32(len(noise_L) - 1)
    luma, step = min(max(luma, zero), one), one / np.float32(last)
    level = min(np.int32(np.sqrt(luma) * np.float32(last)), last - np.int32(1))
    low, high = np.float32(level) * step, np.float32(level + np.int32(1)) * step
    place = (luma - low * low) / (high * high - low * low)
    return noise_L[level] + place * (noise_L[level + np.int32(1)] - noise_L[level])


@compiled
def amplified(amplified_uv, noise_uv, luma_uv, rises_uv, noise_L):  # type: ignore[no-untyped-def]
    """Compute the amplifying share of each rise, and the deviation of noise at each luma times that share."""
    one = np.float32(1)
    for y in range(len(luma_uv)):
        for x in range(luma_uv.shape[1]):
            amplified = one - one / max(rises_uv[y, x], one)
            amplified_uv[y, x] = amplified
            noise_uv[y, x] = amplified * noise_at(luma_uv[y, x], noise_L)


@compiled
def guide_finely(gain_hw, offset_hw, around_hw, squares_hw, noise_uv):  # type: ignore[no-untyped-def]
    width = gain_hw.shape[1]
    strength, least, one = np.float32(LUMA), np.float32(LEAST_VARIANCE), np.float32(1)
    eps_w = np.empty(width + 1, np.float32)
    for y in range(len(gain_hw)):
        noise_v, around_w, squares_w = noise_uv[y // 2], around_hw[y], squares_hw[y]
        for u in range(len(noise_v)):
            eps = (strength * noise_v[u]) * (strength * noise_v[u])
            eps_w[2 * u] = eps
            eps_w[2 * u + 1] = eps
        gain_w, offset_w = gain_hw[y], offset_hw[y]
        for x in range(width):
            variance = max(squares_w[x] - around_w[x] * around_w[x], least)
            gain = variance / (variance + eps_w[x])
            gain_w[x] = gain
            offset_w[x] = (one - gain) * around_w[x]


@compiled
def pool_smooth(mean_uv, square_uv, gain_hw, offset_hw, mean_hw, square_hw):  # type: ignore[no-untyped-def]
    """Average the smooth luma and its square over coarse cells."""
    height, width = gain_hw.shape
    smooth_2w, squares_2w = np.empty((2, width), np.float32), np.empty((2, width), np.float32)
    for v in range(len(mean_uv)):
        for i in range(2):
            y = min(2 * v + i, height - 1)
            gain_w, offset_w, mean_w, square_w = gain_hw[y], offset_hw[y], mean_hw[y], square_hw[y]
            for x in range(width):
                gain, offset = gain_w[x], offset_w[x]
                smooth_2w[i, x] = gain * mean_w[x] + offset
                squares_2w[i, x] = gain * gain * square_w[x] + 2 * gain * offset * mean_w[x] + offset * offset
        _pool_rows(mean_uv[v], smooth_2w[0], smooth_2w[1])
        _pool_rows(square_uv[v], squares_2w[0], squares_2w[1])


@compiled
def guide_coarsely(more_uv, other_uv, smooth, noise_uv, rises_uv, black, coded_away):  # type: ignore[no-untyped-def]
    mean_uv, around_uv, squares_uv = smooth
    strength, least = np.float32(COARSE), np.float32(LEAST_VARIANCE)
    blocks, reach, from_ = coded_away * np.float32(BLOCKS), np.float32(1 / BLOCKS_UP_TO), np.float32(AMPLIFIED_FROM)
    for y in range(len(more_uv)):
        for x in range(more_uv.shape[1]):
            noise = strength * noise_uv[y, x]
            eps = noise * noise
            if blocks > 0 and rises_uv[y, x] > from_:
                above = max(mean_uv[y, x] - black, np.float32(0)) * reach
                near = blocks * np.exp(-above * above)
                eps += near * near
            around = around_uv[y, x]
            variance = max(squares_uv[y, x] - around * around, least)
            gain = variance / (variance + eps)
            more_uv[y, x] = gain
            other_uv[y, x] = (np.float32(1) - gain) * around


@compiled
def guide_colours(gain_uv, red_uv, blue_uv, around, amplified_uv, noise):  # type: ignore[no-untyped-def]
    red_mean_uv, red_square_uv, blue_mean_uv, blue_square_uv = around
    least, strength, one = np.float32(LEAST_VARIANCE), np.float32(COLOUR) * noise, np.float32(1)
    for y in range(len(gain_uv)):
        for x in range(gain_uv.shape[1]):
            red, blue = red_mean_uv[y, x], blue_mean_uv[y, x]
            variance = max(red_square_uv[y, x] - red * red, least) + max(blue_square_uv[y, x] - blue * blue, least)
            eps = strength * amplified_uv[y, x]
            gain = variance / (variance + eps * eps)
            gain_uv[y, x] = gain
            red_uv[y, x] = (one - gain) * red
            blue_uv[y, x] = (one - gain) * blue


@inlined
def _double(wide_w, coarse_uv, y, line_v):  # type: ignore[no-untyped-def]
    """Interpolate row `y` of a plane from coarse cells. `line_v`: space for a row of them and one on either side."""
    last, columns, width = len(coarse_uv) - 1, coarse_uv.shape[1], len(wide_w)
    quarter = np.float32(0.25)
    here_v, near_v = coarse_uv[y // 2], coarse_uv[min(max(y // 2 - 1 + 2 * (y % 2), 0), last)]
    for u in range(columns):
        line_v[u + 1] = here_v[u] + quarter * (near_v[u] - here_v[u])
    line_v[0], line_v[columns + 1] = line_v[1], line_v[columns]
    for u in range(width // 2):
        before, here, after = line_v[u], line_v[u + 1], line_v[u + 2]
        wide_w[2 * u] = here + quarter * (before - here)
        wide_w[2 * u + 1] = here + quarter * (after - here)
    if width % 2:
        wide_w[width - 1] = line_v[columns] + quarter * (line_v[columns - 1] - line_v[columns])


@compiled
def join(cells_hPw, luma_hw, gain_hw, offset_hw, more_uv, other_uv, mean_hw):  # type: ignore[no-untyped-def]
    """Combine both filters of luma into one, and write the filtered luma."""
    height, width = luma_hw.shape
    line_v = np.empty(more_uv.shape[1] + 2, np.float32)
    more_w, other_w = np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        _double(more_w, more_uv, y, line_v)
        _double(other_w, other_uv, y, line_v)
        new_gain_w, new_offset_w, luma_w = cells_hPw[y, GAIN], cells_hPw[y, OFFSET], luma_hw[y]
        gain_w, offset_w, mean_w = gain_hw[y], offset_hw[y], mean_hw[y]
        for x in range(width):
            gain = more_w[x] * gain_w[x]
            offset = more_w[x] * offset_w[x] + other_w[x]
            new_gain_w[x], new_offset_w[x] = gain, offset
            luma_w[x] = gain * mean_w[x] + offset


@compiled
def finish(cells_hPw, luma_hw, around_uv, colours_Puv, black, half):  # type: ignore[no-untyped-def]
    """Write the seen share, and the coefficients of chroma, which fades where little was seen."""
    height, width = luma_hw.shape
    line_v = np.empty(around_uv.shape[1] + 2, np.float32)
    wide_w, own_w, around_w = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        red_w, blue_w = cells_hPw[y, RED_OFFSET], cells_hPw[y, BLUE_OFFSET]
        _double(around_w, around_uv, y, line_v)
        _see(cells_hPw[y, SEEN], own_w, around_w, luma_hw[y], black, half)
        _double(wide_w, colours_Puv[0], y, line_v)
        _multiply(cells_hPw[y, COLOUR_GAIN], own_w, wide_w)
        _double(wide_w, colours_Puv[1], y, line_v)
        _multiply(red_w, own_w, wide_w)
        _double(wide_w, colours_Puv[3], y, line_v)
        _add_product(red_w, around_w, wide_w)
        _double(wide_w, colours_Puv[2], y, line_v)
        _multiply(blue_w, own_w, wide_w)
        _double(wide_w, colours_Puv[4], y, line_v)
        _add_product(blue_w, around_w, wide_w)


@compiled
def see(seen_hw, luma_hw, around_uv, black, half):  # type: ignore[no-untyped-def]
    """Write the seen share alone; as `finish` does."""
    line_v = np.empty(around_uv.shape[1] + 2, np.float32)
    own_w, around_w = np.empty_like(luma_hw[0]), np.empty_like(luma_hw[0])
    for y in range(len(luma_hw)):
        _double(around_w, around_uv, y, line_v)
        _see(seen_hw[y], own_w, around_w, luma_hw[y], black, half)


@inlined
def _see(seen_w, own_w, around_w, luma_w, black, half):  # type: ignore[no-untyped-def]
    """Write the seen share, and the weights of a cell's own chroma and of that around it.

    `around_w`: luma around, which is replaced.
    """
    zero, one, fade = np.float32(0), np.float32(1), np.float32(FADE**2) * half
    tiny = np.float32(1e-30) if half == 0 else zero  # if all is seen, black is too: avoids 0 / 0
    for x in range(len(seen_w)):
        above = max(np.float32(0.5) * (luma_w[x] + around_w[x]) - black, zero)
        power = above * above + tiny
        seen, coloured = power / (power + half), power / (power + fade)
        seen_w[x], own_w[x], around_w[x] = seen, coloured * seen, coloured * (one - seen)


@inlined
def _multiply(products_w, one_w, other_w):  # type: ignore[no-untyped-def]
    for x in range(len(products_w)):
        products_w[x] = one_w[x] * other_w[x]


@inlined
def _add_product(sums_w, one_w, other_w):  # type: ignore[no-untyped-def]
    for x in range(len(sums_w)):
        sums_w[x] += one_w[x] * other_w[x]
