"""Plain borders of an image: the bars of a letterboxed frame, the mount of a scan, the rest of a screenshot.

A border is made of whole rows or columns of one colour, and ends in a sharp, straight edge. The opposite side has one
of the same colour: a sky over a straight roof is none, nor is a strip with a camera's text below a photo. Where there
is any doubt, there is no border.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.images.photo import Samples

PLAIN = 2.5  # levels of 255 by which values of a border may differ from its colour
STEP = 4.0  # the same by which an image must at least differ from its border, next to it
ALONG = 0.8  # share of the edge where it must do so
REACH = 16  # rows of a border that JPEG's blocks, which the edge crosses, may leave uneven
RINGING = 0.15  # how uneven, as a share of the step from border to image
LEAST, LEAST_SHARE = 4, 1 / 64  # rows of a border, and the share of all rows
LEAST_INSIDE, LEAST_SHARE_INSIDE = 16, 1 / 8
AT_ONCE = 64  # rows looked at together


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


def whole(pixels: Samples) -> Box:
    """Return the box of an entire image."""
    return Box(0, pixels.shape[0], 0, pixels.shape[1])


def around(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that holds all of these."""
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return Box(min(tops), max(bottoms), min(lefts), max(rights))


def inside_borders(pixels: Samples) -> Box:
    """Return the part of an image, HxWxC, that is inside its plain borders; all of it if there are none."""
    box = whole(pixels)
    while True:
        top, bottom, left, right = _borders(pixels[box.slices])
        if not (top or bottom or left or right):
            return box
        box = Box(box.top + top, box.bottom - bottom, box.left + left, box.right - right)  # a frame may be inside


def _borders(pixels: Samples) -> tuple[int, int, int, int]:
    """Return the rows of the borders at the top and at the bottom, and the columns of those at the left and right."""
    turned = pixels.swapaxes(0, 1)
    top, bottom, left, right = map(_plain_rows, (pixels, pixels[::-1], turned, turned[::-1]))
    height, width = pixels.shape[:2]
    if top + bottom >= height or left + right >= width:
        return 0, 0, 0, 0
    rows, columns = slice(top, height - bottom), slice(left, width - right)
    above, below = _at_both_ends(pixels[:, columns], top, bottom)
    before, after = _at_both_ends(turned[:, rows], left, right)
    if not (above and before):
        above, below, before, after = (*_alike(above, below), *_alike(before, after))
    # rows and columns may be plain without being a border, like those around a word: then edges are too short
    if rows.stop - rows.start < ALONG * (height - above - below):
        before = after = 0
    if columns.stop - columns.start < ALONG * (width - before - after):
        above = below = 0
    return above, below, before, after


def _at_both_ends(pixels: Samples, top: int, bottom: int) -> tuple[int, int]:
    """Return the rows of both borders; none unless both are there and enough is left. `top`, `bottom`: plain rows."""
    height, level = len(pixels), np.iinfo(pixels.dtype).max / 255
    colours = np.median(pixels[[0, -1]], axis=1)
    if not (top and bottom) or np.abs(colours[0] - colours[1]).max() > PLAIN * level:
        return 0, 0
    borders = _thickness(pixels, top), _thickness(pixels[::-1], bottom)
    # bars are of one width: beside a dark part of the image, the edge of one of them cannot be seen
    if 0 in borders and min(top, bottom) >= max(max(borders) - REACH, max(borders) / 2, 1):
        borders = max(borders), max(borders)
    inside = height - sum(borders)
    return borders if all(borders) and inside >= max(LEAST_INSIDE, height * LEAST_SHARE_INSIDE) else (0, 0)


def _alike(one: int, other: int) -> tuple[int, int]:
    """Return the widths of two bars without others across them; none if one is much wider: it may be a dark sky."""
    return (one, other) if max(one, other) <= 2 * min(one, other) else (0, 0)


def _plain_rows(pixels: Samples) -> int:
    """Return how many rows from the top on have one colour."""
    white, width = np.iinfo(pixels.dtype).max, pixels.shape[1]
    colour, near = np.median(pixels[0], axis=0), PLAIN * white / 255
    bounds = np.ceil(colour - near), np.floor(colour + near)
    # for all values of a row, as they lie in memory: that is 50 times as fast as by the channels of a pixel
    least, most = (np.tile(each.clip(0, white).astype(pixels.dtype), width) for each in bounds)
    plain = 0
    while plain < len(pixels):
        rows = pixels[plain : plain + (AT_ONCE if plain else 1)]  # a first row is enough for most images
        values = rows.reshape(len(rows), -1)
        uneven = ((values < least) | (values > most)).any(axis=1)
        if uneven.any():
            return plain + int(uneven.argmax())
        plain += len(rows)
    return plain


def _thickness(pixels: Samples, plain: int) -> int:
    """Return the rows of the border at the top, of which `plain` are plain; 0 if it is none."""
    height = len(pixels)
    if plain < max(LEAST, height * LEAST_SHARE) or height - plain < 2 * REACH:
        return 0
    near = _differences(pixels[plain : plain + 2 * REACH], np.median(pixels[0], axis=0))
    deviations = np.sqrt((near**2).mean(axis=1))
    edge = int((deviations >= np.median(deviations[REACH:]) / 2).argmax())
    if edge > REACH:
        return 0
    level = np.iinfo(pixels.dtype).max / 255
    inside = near[edge : edge + 2].mean(axis=0)
    before = near[edge - 2] if edge > 1 else np.zeros_like(inside)
    is_sharp = (inside >= STEP * level) & (before <= np.maximum(RINGING * inside, PLAIN * level))
    return plain + edge if is_sharp.mean() >= ALONG else 0


def _differences(rows: Samples, colour: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return how much each pixel differs from a colour, in its most different channel."""
    differences: npt.NDArray[np.float32] = np.abs(rows - colour.astype(np.float32)).max(axis=2)
    return differences
