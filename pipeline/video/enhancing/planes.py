"""Curves applied to the planes of a frame as they lie in memory, where no RGB is needed on the way."""

from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from model import Coding, CurveMaps, Enhancer
from pipeline.luma import RGB, SAMPLES
from pipeline.video.signal.color import Colours, lines, shares


def coding(colours: Colours, pixel_format: str, height_px: int) -> Coding | None:
    """How planes of this format code colour; None where they are not Y, Cb and Cr in the machine's own order of bytes.

    `height_px`: of the frame, which says what matrix is meant where none is named.
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
    """Mean BT.601 luma in [0, 1], as `luma.mean_luma` tells it of RGB: from a regular sample of each plane.

    Luma and RGB are sums of Y, Cb and Cr, but for clipping: so are their means.
    """
    kind = np.uint8 if coding.depth == 8 else np.uint16
    red, green, blue, black, span, grey, chroma_span, _ = map(float, coding.numbers)
    means = []
    for plane in frame.planes[:3]:
        step = max(1, int((plane.width * plane.height / SAMPLES) ** 0.5))
        means.append(float(lines(plane, kind)[::step, : plane.width : step].mean()))
    y, cb, cr = (means[0] - black) / span, (means[1] - grey) / chroma_span, (means[2] - grey) / chroma_span
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    return float(np.array([r, (y - red * r - blue * b) / green, b]) @ RGB)


def samples(frame: VideoFrame, coding: Coding) -> list[npt.NDArray[Any]]:
    """Y, Cb, Cr and, if there is one, alpha, with what pads their lines; shared with the frame."""
    kind = np.uint8 if coding.depth == 8 else np.uint16
    return [lines(plane, kind) for plane in frame.planes]


def lifted(frame: VideoFrame, pixel_format: str, coding: Coding, enhancer: Enhancer, maps: CurveMaps) -> VideoFrame:
    """A frame with the curves applied, its alpha copied. `pixel_format`: the frame's, or its name without a range."""
    new = VideoFrame(frame.width, frame.height, pixel_format)
    before, after = (samples(each, coding) for each in (frame, new))
    enhancer.apply_to_planes(before[:3], after[:3], frame.width, coding, maps)
    for alpha, new_alpha in zip(before[3:], after[3:], strict=True):
        new_alpha[:, : frame.width] = alpha[:, : frame.width]
    return new
