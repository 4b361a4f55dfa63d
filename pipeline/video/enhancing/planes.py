"""Application of curves to a frame's planes directly in memory, without conversion to RGB."""

from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from model import Coding, CurveMaps, Enhancer
from pipeline.luma import RGB, SAMPLES
from pipeline.video.signal.color import Colours, shares
from pipeline.video.signal.picture import lines


def coding(colours: Colours, pixel_format: str, height_px: int) -> Coding | None:
    """Return how planes of this format code colour; None if they are not Y, Cb and Cr in native byte order.

    Also None if chroma is subsampled by more than 2. `height_px`: of the frame; decides the matrix if none is named.
    """
    described = VideoFormat(pixel_format, 16, 16)
    if not (described.is_planar and pixel_format.startswith("yuv")) or described.is_big_endian:
        return None
    luma, chroma = described.components[:2]
    across, down = luma.width // chroma.width, luma.height // chroma.height
    if max(across, down) > 2:
        return None
    red, _, blue = shares(colours, height_px)
    return Coding(red=red, blue=blue, depth=luma.bits, full=colours.range == 2, across=across, down=down)


def mean_luma_of_planes(frame: VideoFrame, coding: Coding) -> float:
    """Compute the mean BT.601 luma in [0, 1], as `luma.mean_luma` does for RGB, from a regular sample of each plane.

    Except for clipping, luma and RGB are weighted sums of Y, Cb and Cr, so their means are too.
    """
    kind = np.uint8 if coding.depth == 8 else np.uint16
    red, green, blue, black, span, grey, chroma_span, _ = map(float, coding.numbers)
    means = []
    for plane in frame.planes[:3]:
        step = max(1, int((plane.width * plane.height / SAMPLES) ** 0.5))
        means.append(float(lines(plane, kind)[::step, : plane.width : step].mean()))
    y, cb, cr = (means[0] - black) / span, (means[1] - grey) / chroma_span, (means[2] - grey) / chroma_span
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    luma = float(np.array([r, (y - red * r - blue * b) / green, b]) @ RGB)
    return min(max(luma, 0.0), 1.0)  # planes may go below black and above white


def samples(frame: VideoFrame, coding: Coding) -> list[npt.NDArray[Any]]:
    """Return Y, Cb, Cr and alpha, if there is one, with padded lines; memory is shared with the frame."""
    kind = np.uint8 if coding.depth == 8 else np.uint16
    return [lines(plane, kind) for plane in frame.planes]


def copied(frame: VideoFrame, pixel_format: str) -> VideoFrame:
    """Copy the planes of a frame, and nothing that the decoder knows of it. `pixel_format`: as for `lifted`."""
    new = VideoFrame(frame.width, frame.height, pixel_format)
    for plane, into in zip(frame.planes, new.planes, strict=True):
        before, after = lines(plane, np.uint8), lines(into, np.uint8)
        row_bytes = min(before.shape[1], after.shape[1])  # the rest is padding
        after[:, :row_bytes] = before[:, :row_bytes]
    return new


def lifted(frame: VideoFrame, pixel_format: str, coding: Coding, enhancer: Enhancer, maps: CurveMaps) -> VideoFrame:
    """Apply the curves to a frame and copy its alpha. `pixel_format`: the frame's, or its name without a range."""
    new = VideoFrame(frame.width, frame.height, pixel_format)
    before, after = (samples(each, coding) for each in (frame, new))
    enhancer.apply_to_planes(before[:3], after[:3], frame.width, coding, maps)
    for alpha, new_alpha in zip(before[3:], after[3:], strict=True):
        new_alpha[:, : frame.width] = alpha[:, : frame.width]
    return new
