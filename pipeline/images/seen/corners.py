"""Empty corners of an image, black or white: what a stitched or turned photo does not cover.

Their edges are sharp, and straight or gently curved. They lie across from each other, and the photo between them
touches all four sides, as programs make no image larger than they must. A dark sky has noise, or fades, or lies on one
side; what stands before a plain background touches no side. Where there is any doubt, no corner is empty.
"""

import numpy as np
import numpy.typing as npt

from pipeline.images.photo import Samples
from pipeline.images.seen.borders import AT_ONCE, PLAIN

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

STEP = 4.0  # levels of 255 by which the photo must differ from an empty corner, behind the edge
VISIBLE = 0.5  # share of the edge where it must do so: a dark part of the photo may lie at the rest
TRACES, TRACES_PX, BEYOND_PX = 0.3, 16, 32  # what a JPEG leaves before the edge, as a share of the step; rows
CODED = 0.25  # share of the edge from which such traces tell that there are some
APART, BEND_PX = 8, 3  # columns between three points of an edge, and rows that these may be off a straight line
SMOOTH = 0.7  # share of the edge where they are not
EXACT = 0.6  # share of them, but for such traces, that have one colour without any difference
LEAST_SHARE, LEAST_SHARE_SEEN = 1 / 64, 1 / 8  # of all pixels
LEAST_SIDE_PX, MARGIN_PX = 64, 2  # of an image; that is left around the photo


def empty_corners(pixels: Samples) -> Mask | None:
    """Return which pixels of an image, HxWxC, are its empty corners; None if it has none."""
    if min(pixels.shape[:2]) < LEAST_SIDE_PX:
        return None
    level = np.iinfo(pixels.dtype).max / 255
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    for black in (True, False):
        at = _differences(corners, black=black) <= PLAIN * level
        if (at[0] and at[3]) or (at[1] and at[2]):
            empty = _above_and_below(pixels, level, black=black)
            if empty is None and (turned := _above_and_below(pixels.swapaxes(0, 1), level, black=black)) is not None:
                empty = turned.T
            if empty is not None:
                return empty
    return None


def _differences(pixels: Samples, *, black: bool) -> Samples:
    """Return how much each pixel differs from black, or from white, in its most different channel."""
    channels = list(np.moveaxis(pixels, -1, 0))  # one after the other is ten times as fast as along the last axis
    found: Samples = np.maximum.reduce(channels) if black else np.iinfo(pixels.dtype).max - np.minimum.reduce(channels)
    return found


def _above_and_below(pixels: Samples, level: float, *, black: bool) -> Mask | None:
    """Return which pixels are empty, black or white, at the top and bottom of columns; None if they are no corners."""
    height, width = pixels.shape[:2]
    top, is_above = _edge(pixels, level, black=black)
    if not is_above:
        return None
    bottom, is_below = _edge(pixels[::-1], level, black=black)
    seen = (height - top - bottom).clip(min=0)
    touches_all_sides = max(top.min(), bottom.min()) <= MARGIN_PX and all(
        columns.any() for columns in (seen[: MARGIN_PX + 1], seen[-MARGIN_PX - 1 :])
    )
    has_size = LEAST_SHARE <= 1 - seen.sum() / (height * width) <= 1 - LEAST_SHARE_SEEN
    if not (touches_all_sides and has_size and is_below):
        return None
    rows = np.arange(height)[:, None]
    empty: Mask = (rows < top) | (rows >= height - bottom)
    differences = _differences(pixels, black=black)
    plain = differences[empty & (differences <= PLAIN * level)]
    return empty if np.bincount(plain).max() >= EXACT * len(plain) else None


def _empty_rows(pixels: Samples, near: float, *, black: bool) -> Rows:
    """Return how many rows at the top are empty in each column: few, in most photos, so only these are looked at."""
    height, width = pixels.shape[:2]
    empty, columns = np.full(width, height), np.arange(width)
    top = 0
    while top < height and len(columns):
        rows = pixels[top : top + min(1 + top, AT_ONCE)]
        is_photo = _differences(rows[:, columns], black=black) > near
        ends = is_photo.any(axis=0)
        empty[columns[ends]] = top + is_photo[:, ends].argmax(axis=0)
        columns = columns[~ends]
        top += len(rows)
    return empty


def _edge(pixels: Samples, level: float, *, black: bool) -> tuple[Rows, bool]:
    """Return how many rows at the top are empty in each column, and whether they end as empty corners do."""
    height, near = len(pixels), PLAIN * level
    rows = _empty_rows(pixels, near, black=black)
    behind = (rows + np.arange(BEYOND_PX)[:, None]).clip(max=height - 1)
    values = _differences(pixels[behind, np.arange(len(rows))], black=black)
    beyond = values[TRACES_PX:].mean(axis=0)
    is_there = values[:TRACES_PX] > np.maximum(near, TRACES * beyond)
    traces = np.where(is_there.any(axis=0), is_there.argmax(axis=0), TRACES_PX)
    if rows.any() and (traces[rows > 0] > 1).mean() >= CODED:
        rows += np.where(rows > 0, traces, 0)
    before, here, after = rows[: -2 * APART], rows[APART:-APART], rows[2 * APART :]
    is_edge = (rows > 0) & (beyond >= STEP * level)
    along = is_edge[: -2 * APART] & is_edge[APART:-APART] & is_edge[2 * APART :]
    bend, slope = np.abs(before - 2 * here + after), np.abs(after - before) / (2 * APART)
    is_smooth = not along.any() or (bend <= BEND_PX + slope)[along].mean() >= SMOOTH
    is_visible = is_edge.sum() >= VISIBLE * np.count_nonzero(rows)
    return rows.clip(max=height), bool(is_smooth and is_visible)
