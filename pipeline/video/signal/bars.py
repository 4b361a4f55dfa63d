"""Search for the black bars of a letterboxed or pillarboxed film.

Bars are black in every frame, and end in a sharp, straight edge. A black sky does not: it ends along a skyline, or
fades. Where there is any doubt, there are no bars. Frames are looked at until they have shown something at every side,
which for most films is the first one.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from pipeline.video.signal.color import is_full
from pipeline.video.signal.picture import Picture, lines, step

Levels = npt.NDArray[np.uint8]
Means = npt.NDArray[np.float64]

ZERO, GREY = np.uint8(16), np.uint8(128)  # codes of luma and chroma in black

# in 8-bit codes of limited range, above black or away from grey
BLACK = 10  # most that noise and coding make of bars
CLEAN, MOSTLY = 2, 0.8  # the same of most of a bar, where it has to be surely one
STEP = 1.5  # least by which a picture exceeds its bars next to them, in the mean of SEGMENT pixels
UNEVEN = 1.0  # most by which bars differ from their outermost lines, in such a mean
SEGMENT, SEGMENTS = 16, 8  # pixels, and least number of segments

REACH = 16  # lines of a bar in which coding leaves something of a picture, and by which two alike may differ
RINGING = 0.3  # how much of it, as a share
STEEP = 1.6  # factor by which a picture may become brighter BEHIND lines from an edge: a fading sky goes on
BEHIND = 4
ALONG = 0.8  # share of an edge along which a picture must be seen
ALONG_BOTH = 0.3  # the same, where there may be a bar of the same width at the opposite side
STRAIGHT = 0.8  # share of what is seen near such an edge which must begin there
LEAST, LEAST_INSIDE = 4, 16  # lines of a bar, and of a picture
LEAST_SHARE_INSIDE = 1 / 8

APART, APART_SHARE = 100, 1 / 16  # frames between two looks, at most, and as a share of all frames before


class Bars:
    """Collector of what frames show, and judge of where they show nothing."""

    def __init__(self) -> None:
        self.is_open = True
        """Whether there may be bars, as far as is known. If not, there is no need to look at more frames."""
        self._light_HW: Levels | None = None  # of all frames, the most
        self._shape: tuple[str, int, int] | None = None
        self._step, self._next = (1, 1), 0
        self._reformatter = VideoReformatter()

    def is_due(self, count: int) -> bool:
        """Return whether it is time to look at a frame. `count`: number of frames up to here."""
        return self.is_open and count >= self._next

    def look(self, frames: Sequence[VideoFrame], count: int) -> None:
        """Note what one of these frames shows, which follow each other, if it is time to."""
        whole = [frame for frame in frames if not frame.is_corrupt]
        if whole and self.is_due(count):
            self._next = count + min(APART, max(1, int(count * APART_SHARE)))
            self.look_at(whole[-1])

    def look_at(self, frame: VideoFrame) -> None:
        """Note what a frame shows, unless it is broken or all is known."""
        if frame.is_corrupt or not self.is_open:
            return
        covered = step(frame.format)
        if covered is None or self._shape not in (None, (frame.format.name, frame.width, frame.height)):
            self.is_open, self._light_HW = False, None  # where size or format change, so may bars
            return
        self._step, self._shape = covered, (frame.format.name, frame.width, frame.height)
        seen_HW = self._seen(frame)
        light_HW = seen_HW if self._light_HW is None else np.maximum(seen_HW, self._light_HW)
        self.is_open = any(side_HW[:LEAST].max() <= BLACK for side_HW in _sides(light_HW))
        self._light_HW = light_HW if self.is_open else None

    def _seen(self, frame: VideoFrame) -> Levels:
        """Return how far each pixel is above black or away from grey."""
        coded = self._reformatter.reformat(
            frame,
            format="yuv420p",
            src_color_range=ColorRange.JPEG if is_full(frame) else frame.color_range or ColorRange.MPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.POINT,
            threads=1,
        )
        luma_HW, *chroma = (lines(plane, np.uint8)[:, : plane.width] for plane in coded.planes)
        colour_hw = np.maximum.reduce([np.maximum(each_hw, GREY) - np.minimum(each_hw, GREY) for each_hw in chroma])
        seen_HW: Levels = np.maximum(luma_HW, ZERO) - ZERO
        for down, across in product(range(2), range(2)):
            pixels_hw = seen_HW[down::2, across::2]
            height, width = pixels_hw.shape
            np.maximum(pixels_hw, colour_hw[:height, :width], out=pixels_hw)
        return seen_HW

    def picture(self) -> Picture | None:
        """Return the part inside the bars of all frames looked at; None if there are none."""
        if self._light_HW is None:
            return None
        height, width = self._light_HW.shape
        top, bottom, left, right = (_dark_lines(side_HW) for side_HW in _sides(self._light_HW))
        if top == height:
            return None
        columns_HW, rows_HW = self._light_HW[:, left : width - right], self._light_HW[top : height - bottom].T
        sure_down, sure_across = sum(_both(columns_HW, top, bottom)), sum(_both(rows_HW, left, right))
        # an edge goes on where the picture itself is dark
        top, bottom = _both(columns_HW, top, bottom, ALONG_BOTH, columns_HW.shape[1] / (width - sure_across))
        left, right = _both(rows_HW, left, right, ALONG_BOTH, rows_HW.shape[1] / (height - sure_down))
        across, down = self._step
        picture = Picture(
            top=top - top % down,
            bottom=min(height, height - bottom + (bottom - height) % down),
            left=left - left % across,
            right=min(width, width - right + (right - width) % across),
        )
        return None if picture.size == (width, height) else picture


def _sides(light_HW: Levels) -> tuple[Levels, ...]:
    """Return an image as seen from the top, the bottom, the left and the right: the line next to it comes first."""
    return light_HW, light_HW[::-1], light_HW.T, light_HW.T[::-1]


def _dark_lines(side_HW: Levels) -> int:
    """Return how many lines are black before the first that is not."""
    is_seen = (side_HW > BLACK).any(axis=1)
    return int(is_seen.argmax()) if is_seen.any() else len(side_HW)


class _Edge(NamedTuple):
    """Where a bar may end."""

    lines: int
    """Lines of the bar."""
    share: float
    """Share of its length along which a picture is seen next to it; 0 if it may just as well be part of the picture."""
    is_clean: bool
    """Whether the bar is as black as coding leaves it, not only as dark as a night."""


def _both(light_HW: Levels, before: int, after: int, least: float = ALONG, length: float = 1.0) -> tuple[int, int]:
    """Return the lines of the bars at both ends; 0: none there. `before`, `after`: lines that are black.

    A bar without an equal at the other end must be clean, and so must one whose edge is not seen, or only in part.
    `least`: share of an edge that must be seen. `length`: of the lines, as a share of that of the edge.
    """
    ends = _edge(light_HW, before, length), _edge(light_HW[::-1], after, length)
    best, other = sorted(ends, key=lambda edge: -edge.share)
    far_HW, dark = (light_HW[::-1], after) if best is ends[0] else (light_HW, before)
    unseen = min(best.lines, dark)
    is_pair = other.share >= ALONG_BOTH and abs(best.lines - other.lines) <= REACH
    if is_pair or (other.share >= ALONG and other.is_clean):
        opposite = other.lines
    else:
        opposite = unseen if best.lines - unseen <= REACH and _is_clean(far_HW[:unseen]) else 0
    has_room = len(light_HW) - best.lines - opposite >= max(LEAST_INSIDE, LEAST_SHARE_INSIDE * len(light_HW))
    enough = least if best.is_clean and opposite else ALONG
    if best.share < enough or not (best.is_clean or is_pair) or not has_room:
        return 0, 0
    return (best.lines, opposite) if best is ends[0] else (opposite, best.lines)


def _edge(side_HW: Levels, dark: int, length: float) -> _Edge:
    """Find the edge of a bar. `dark`: lines that are black. Those of a picture may be, too. `length`: see `_both`."""
    most = min(dark + REACH, len(side_HW) - BEHIND - 2)
    if dark < LEAST or most <= LEAST:
        return _Edge(0, 0.0, False)
    above_HS = _in_segments(side_HW[: most + BEHIND + 2])
    above_HS -= above_HS[:LEAST].mean()
    pairs_HS = (above_HS[:-1] + above_HS[1:]) / 2
    inside_HS, behind_HS = pairs_HS[LEAST : most + 1], pairs_HS[LEAST + BEHIND : most + BEHIND + 1]
    bar_HS = np.maximum.accumulate(above_HS)[LEAST - 2 : most - 1]  # the line at the edge may be of both
    is_flat = (bar_HS <= np.maximum(RINGING * inside_HS, UNEVEN)) & (behind_HS <= STEEP * inside_HS)
    is_edge = (inside_HS >= STEP) & is_flat
    shares = length * is_edge.mean(axis=1)
    share = float(shares.max())
    first, *_, last = np.flatnonzero(shares >= min(share, ALONG)).repeat(2)
    at = max(first, last - 1)  # coding may have made an edge of its own before it
    is_near = inside_HS[at : at + REACH // 2].max(axis=0) > BLACK
    is_straight = (is_edge[at] & is_near).sum() >= STRAIGHT * is_near.sum()
    lines = LEAST + int(at)
    is_clean = _is_clean(side_HW[:lines])
    return _Edge(lines, share if share >= ALONG or (is_straight and is_clean) else 0.0, is_clean)


def _is_clean(bar_HW: Levels) -> bool:
    return bool(bar_HW.size and (bar_HW <= CLEAN).mean() >= MOSTLY)


def _in_segments(lines_HW: Levels) -> Means:
    """Average SEGMENT pixels of each line, or fewer in short lines."""
    count = max(lines_HW.shape[1] // SEGMENT, min(SEGMENTS, lines_HW.shape[1]))
    used = lines_HW.shape[1] // count * count
    means: Means = lines_HW[:, :used].reshape(len(lines_HW), count, -1).mean(axis=2)
    return means
