"""Cleaning of a tile: `cleaning.clean` and `cleaning.hold_back` as loops that numba compiles. See `tiles.py`.

Suffixes: P planes of cells, see `cleaning.Cell`, L columns of cells, T pixels or samples of a tile, C channels.
"""

import numpy as np

from model.compiled import inlined
from model.full_size.tiles import TILE, seen_share
from model.noise.cleaning import Cell

GAIN, OFFSET, COLOUR_GAIN, RED_OFFSET, BLUE_OFFSET, SEEN = map(int, Cell)


@inlined
def widen_cells(wide_T, cells_HPL, plane, place, sides, line_L):  # type: ignore[no-untyped-def]
    """Interpolate a plane of cells at the samples of a tile. Cells at the border are repeated beyond it.

    `place`: row of the tile and its first sample. `sides`: samples along a cell, down and across. `line_L`: scratch
    space for the cells of a tile, and one on either side.
    """
    (y, left), (down, across) = place, sides
    below = (2 * y + 1 + down) // (2 * down)
    share = np.float32(2 * y + 1 + down - 2 * down * below) / np.float32(2 * down)
    last, columns = len(cells_HPL) - 1, cells_HPL.shape[2]
    upper_L, lower_L = cells_HPL[min(max(below - 1, 0), last), plane], cells_HPL[min(below, last), plane]
    count = len(wide_T) // across
    first = left // across - 1  # column of the first cell
    start, end = max(first, 0), min(first + count + 2, columns)
    inner_L, upper_L, lower_L = line_L[start - first : end - first], upper_L[start:end], lower_L[start:end]
    for c in range(len(inner_L)):
        inner_L[c] = upper_L[c] + share * (lower_L[c] - upper_L[c])
    line_L[: start - first] = inner_L[0]
    line_L[end - first : count + 2] = inner_L[len(inner_L) - 1]
    _widen(wide_T, line_L[: count + 2], across)


@inlined
def _widen(wide_T, near_L, side):  # type: ignore[no-untyped-def]
    """Interpolate cells along a row. `near_L`: the cells of the tile, and one on either side."""
    cells = len(near_L) - 2
    if side == 1:
        for c in range(cells):
            wide_T[c] = near_L[c + 1]
    elif side == 2:
        for c in range(cells):
            before, here, after = near_L[c], near_L[c + 1], near_L[c + 2]
            wide_T[2 * c] = here + np.float32(0.25) * (before - here)
            wide_T[2 * c + 1] = here + np.float32(0.25) * (after - here)
    elif side == 4:
        for c in range(cells):
            before, here, after = near_L[c], near_L[c + 1], near_L[c + 2]
            wide_T[4 * c] = here + np.float32(0.375) * (before - here)
            wide_T[4 * c + 1] = here + np.float32(0.125) * (before - here)
            wide_T[4 * c + 2] = here + np.float32(0.125) * (after - here)
            wide_T[4 * c + 3] = here + np.float32(0.375) * (after - here)
    else:
        half = side // 2
        for c in range(cells):
            before, here, after = near_L[c], near_L[c + 1], near_L[c + 2]
            for i in range(half):
                place = np.float32(2 * i + 1) / np.float32(2 * side)
                wide_T[c * side + half - 1 - i] = here + place * (before - here)
                wide_T[c * side + half + i] = here + place * (after - here)


@inlined
def clean(pixels_CT, cleaned_T, cells_PT, shares):  # type: ignore[no-untyped-def]
    """Remove the noise of pixels in place, and write their luma. `cells_PT`: at each pixel."""
    zero, one = np.float32(0), np.float32(1)
    gain_T, offset_T = cells_PT[GAIN], cells_PT[OFFSET]
    if len(pixels_CT) == 1:
        grey_T = pixels_CT[0]
        for i in range(TILE):
            luma = min(max(gain_T[i] * grey_T[i] + offset_T[i], zero), one)
            grey_T[i] = luma
            cleaned_T[i] = luma
        return
    of_red, of_green, of_blue = shares
    red_of_green, blue_of_green = -of_red / of_green, -of_blue / of_green
    red_T, green_T, blue_T = pixels_CT[0], pixels_CT[1], pixels_CT[2]
    colour_T, more_red_T, more_blue_T = cells_PT[COLOUR_GAIN], cells_PT[RED_OFFSET], cells_PT[BLUE_OFFSET]
    for i in range(TILE):
        red, green, blue, colour = red_T[i], green_T[i], blue_T[i], colour_T[i]
        luma = of_red * red + of_green * green + of_blue * blue
        more_red = colour * (red - luma) + more_red_T[i]
        more_blue = colour * (blue - luma) + more_blue_T[i]
        more_green = red_of_green * more_red + blue_of_green * more_blue
        luma = min(max(gain_T[i] * luma + offset_T[i], zero), one)
        red = min(max(luma + more_red, zero), one)
        green = min(max(luma + more_green, zero), one)
        blue = min(max(luma + more_blue, zero), one)
        red_T[i], green_T[i], blue_T[i] = red, green, blue
        cleaned_T[i] = of_red * red + of_green * green + of_blue * blue


@inlined
def clean_luma(luma_T, gain_T, offset_T):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0), np.float32(1)
    for i in range(TILE):
        luma_T[i] = min(max(gain_T[i] * min(max(luma_T[i], zero), one) + offset_T[i], zero), one)


@inlined
def clean_chroma(chroma_T, gain_T, offset_T, scale):  # type: ignore[no-untyped-def]
    """Clean samples of chroma. `scale`: from R - Y or B - Y to chroma. Colours outside of RGB are not clipped."""
    for i in range(len(chroma_T)):
        chroma_T[i] = gain_T[i] * chroma_T[i] + scale * offset_T[i]


@inlined
def hold_back(pixels_CT, cleaned_T, seen_T, black, shares):  # type: ignore[no-untyped-def]
    """Darken unseen pixels in place. `pixels_CT`: RGB or grey after the curve. `cleaned_T`: luma before it."""
    if len(pixels_CT) == 1:
        for i in range(TILE):
            pixels_CT[0, i] *= seen_share(seen_T[i], cleaned_T[i], pixels_CT[0, i], black)
        return
    of_red, of_green, of_blue = shares
    for i in range(TILE):
        lifted = of_red * pixels_CT[0, i] + of_green * pixels_CT[1, i] + of_blue * pixels_CT[2, i]
        share = seen_share(seen_T[i], cleaned_T[i], lifted, black)
        pixels_CT[0, i] *= share
        pixels_CT[1, i] *= share
        pixels_CT[2, i] *= share
