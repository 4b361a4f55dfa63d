"""Luma beyond black and white of limited range (16 and 235 in 8 bits): detection, and handing it on.

Some cameras write full-range data without its flag, so that their shadows lie below 16. Others keep highlights above
235. A few such samples are in every video: they come from compression.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from pipeline.video.signal.color import is_full
from pipeline.video.signal.picture import lines

BLACK, WHITE = 16, 235  # codes in 8 bits
FAR_BELOW = 6  # darker than what noise and compression make of black
FULL_SHARE = 0.01  # of a frame's samples far below black, from which its data are taken as full-range
BEYOND_SHARE = 0.02  # of a frame's samples below black or above white, from which they are taken as meant

Shares = tuple[float, float]
"""Shares of a frame's luma samples far below black, and below black or above white."""


def shares_beyond(frame: VideoFrame) -> Shares | None:
    """Measure how much of the luma is beyond limited range. None: not measured, as it is full-range or not YUV."""
    luma = frame.format.components[0]
    if (
        not frame.format.name.startswith("yuv")
        or is_full(frame)
        or frame.color_range == 2
        or frame.format.is_big_endian
    ):
        return None
    codes = luma_codes(frame) >> (luma.bits - 8)
    return float((codes <= FAR_BELOW).mean()), float(((codes < BLACK) | (codes > WHITE)).mean())


def is_unflagged_full(frames: Sequence[Shares]) -> bool:
    """Return whether data that are not flagged as full-range are so in truth, in at least half of the frames."""
    return bool(frames) and median(far for far, _ in frames) >= FULL_SHARE


def goes_beyond(frames: Sequence[Shares]) -> bool:
    """Return whether luma below black or above white is meant to be there, in any of the frames."""
    return any(beyond >= BEYOND_SHARE for _, beyond in frames)


def luma_codes(frame: VideoFrame) -> npt.NDArray[Any]:
    """Return the luma samples without padding; memory is shared with the frame."""
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return lines(frame.planes[0], kind)[:, : frame.width]


def hand_on_beyond(decoded: VideoFrame, enhanced: VideoFrame, *, below: bool) -> None:
    """Write what the curves clip in `decoded` to the planes of `enhanced`, a YUV frame of limited range like it.

    Curves leave white as it is, so luma stays as far above it as it was. `below`: also write pixels below black as they
    were, with their chroma, which alone would become neon. Without it, they are taken for noise of black.
    """
    scale, top = 1 << (decoded.format.components[0].bits - 8), (1 << decoded.format.components[0].bits) - 1
    before, after = luma_codes(decoded), luma_codes(enhanced)
    above = np.maximum(before, WHITE * scale)
    above -= WHITE * scale
    after += np.minimum(above, top - after, out=above)
    if not below:
        return
    is_below = before < BLACK * scale
    np.copyto(after, before, where=is_below)
    for plane, into in zip(decoded.planes[1:3], enhanced.planes[1:3], strict=True):
        across, down = -(-decoded.width // plane.width), -(-decoded.height // plane.height)
        kept, new = (lines(each, before.dtype)[:, : plane.width] for each in (plane, into))
        np.copyto(new, kept, where=is_below[::down, ::across])  # by the first of the pixels that share it
