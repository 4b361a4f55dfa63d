"""Cleaning of a tile: `cleaning.clean` and `cleaning.hold_back` as loops that numba compiles. See `tiles.py`.

Suffixes: P planes of cells, see `cleaning.Cell`, L columns of cells, T pixels of a tile, C channels.
"""

import numpy as np

from model.compiled import compiled
from model.full_size.tiles import TILE, seen_share, shares_of_chroma
from model.noise.cleaning import Cell

NO_ROW = -2  # no row of cells is widened yet
GAIN, OFFSET, COLOUR_GAIN, RED_OFFSET, BLUE_OFFSET, SEEN = map(int, Cell)


@compiled
def between_cells(between, row, cells_HPL, y, left, side):  # type: ignore[no-untyped-def]
    """Widen the rows of cells above and below row `y` of the image over a tile, and find its place between the two.

    `between`, `row`: what this returned for the image row before, or scratch space and NO_ROW. `left`: the tile's first
    pixel. Returns the new `between` (cells above, cells below, place from 0 to 1), and the row of the cells below.
    """
    above_PT, below_PT, _ = between
    below = (2 * y + 1 + side) // (2 * side)
    if below != row:
        above_PT, below_PT = below_PT, above_PT
        if row == NO_ROW:
            _widen_row(above_PT, cells_HPL, below - 1, left, side)
        _widen_row(below_PT, cells_HPL, below, left, side)
    place = np.float32(2 * y + 1 + side - 2 * side * below) / np.float32(2 * side)
    return (above_PT, below_PT, place), below


@compiled
def _widen_row(wide_PT, cells_HPL, row, left, side):  # type: ignore[no-untyped-def]
    """Interpolate a row of cells to a tile's pixels. Cells at the border are repeated beyond it."""
    _, planes, columns = cells_HPL.shape
    row = min(max(row, 0), len(cells_HPL) - 1)
    first, end = left // side - 1, (left + TILE) // side + 1  # of the tile's cells, and one on either side
    for p in range(planes):
        if first >= 0 and end <= columns:
            _widen(wide_PT[p], cells_HPL[row, p, first:end], side)
        else:
            near_L = np.empty(end - first, np.float32)
            for c in range(len(near_L)):
                near_L[c] = cells_HPL[row, p, min(max(first + c, 0), columns - 1)]
            _widen(wide_PT[p], near_L, side)


@compiled
def _at(between, plane, i):  # type: ignore[no-untyped-def]
    above_PT, below_PT, place = between
    return above_PT[plane, i] + place * (below_PT[plane, i] - above_PT[plane, i])


@compiled
def seen_of_tile(seen_T, between):  # type: ignore[no-untyped-def]
    for i in range(TILE):
        seen_T[i] = _at(between, SEEN, i)


@compiled
def _widen(wide_T, near_L, side):  # type: ignore[no-untyped-def]
    """Interpolate cells to a tile's pixels. `near_L`: the cells of the tile, and one on either side."""
    cells = len(near_L) - 2
    if side == 2:
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


@compiled
def clean(pixels_CT, cleaned_T, between, shares):  # type: ignore[no-untyped-def]
    """Remove the noise of pixels in place, and write their luma. `between`: see `between_cells`."""
    zero, one = np.float32(0), np.float32(1)
    of_red, of_green, of_blue = shares
    if len(pixels_CT) == 1:
        for i in range(TILE):
            gain = _at(between, GAIN, i)
            offset = _at(between, OFFSET, i)
            luma = min(max(gain * pixels_CT[0, i] + offset, zero), one)
            pixels_CT[0, i] = luma
            cleaned_T[i] = luma
        return
    for i in range(TILE):
        red, green, blue = pixels_CT[0, i], pixels_CT[1, i], pixels_CT[2, i]
        luma = of_red * red + of_green * green + of_blue * blue
        gain = _at(between, COLOUR_GAIN, i)
        more_red = gain * (red - luma) + _at(between, RED_OFFSET, i)
        more_blue = gain * (blue - luma) + _at(between, BLUE_OFFSET, i)
        more_green = -(of_red / of_green) * more_red - (of_blue / of_green) * more_blue
        gain = _at(between, GAIN, i)
        offset = _at(between, OFFSET, i)
        luma = min(max(gain * luma + offset, zero), one)
        red = min(max(luma + more_red, zero), one)
        green = min(max(luma + more_green, zero), one)
        blue = min(max(luma + more_blue, zero), one)
        pixels_CT[0, i], pixels_CT[1, i], pixels_CT[2, i] = red, green, blue
        cleaned_T[i] = of_red * red + of_green * green + of_blue * blue


@compiled
def clean_coded(planes, cleaned_T, between, weights):  # type: ignore[no-untyped-def]
    """Clean a tile of luma and chroma, as `clean` does. Colours outside of RGB are not clipped."""
    luma_T, of_blue_T, of_red_T = planes
    of_red, of_blue, _, _ = shares_of_chroma(weights)
    zero, one = np.float32(0), np.float32(1)
    less_red, less_blue = one / of_red, one / of_blue
    for i in range(TILE):
        gain = _at(between, COLOUR_GAIN, i)
        red = _at(between, RED_OFFSET, i)
        blue = _at(between, BLUE_OFFSET, i)
        of_red_T[i] = gain * of_red_T[i] + less_red * red
        of_blue_T[i] = gain * of_blue_T[i] + less_blue * blue
        gain = _at(between, GAIN, i)
        offset = _at(between, OFFSET, i)
        luma = min(max(gain * min(max(luma_T[i], zero), one) + offset, zero), one)
        luma_T[i] = luma
        cleaned_T[i] = luma


@compiled
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


@compiled
def hold_back_coded(planes, cleaned_T, seen_T, black):  # type: ignore[no-untyped-def]
    luma_T, of_blue_T, of_red_T = planes
    for i in range(TILE):
        share = seen_share(seen_T[i], cleaned_T[i], luma_T[i], black)
        luma_T[i] *= share
        of_blue_T[i] *= share
        of_red_T[i] *= share
