"""Planes of Y, Cb and Cr (ITU-T H.273, section 8.3) to RGB and back, with all bits of 8 to 16.

FFmpeg's own conversion is off by up to four of 1023 levels in full range, and its white is not quite white.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace

from pipeline.images.photo import Samples, full_range
from pipeline.video.signal.color import MATRICES, SHARES
from pipeline.video.signal.transfer import BT709, BT2020, DISPLAY_P3

Floats = npt.NDArray[np.float32]

# matrices of H.273, table 4
IDENTITY = 0  # the planes are green, blue and red
BY_PRIMARIES = 12
YCGCO = 8
REVERSIBLE = {16: 2, 17: 1}  # YCgCo-Re and -Ro: whole numbers, in so many bits more than those of RGB
SHARES_BY_PRIMARIES = {BT2020: SHARES[Colorspace.BT2020], DISPLAY_P3: (0.22897, 0.07929)}  # others: BT.709
BAND_ROWS = 256  # converted at once, to save memory


class Levels(NamedTuple):
    """Depth and range of coded samples."""

    bits: int
    full: bool

    @property
    def black(self) -> int:
        return 0 if self.full else 16 << self.bits - 8

    @property
    def luma_span(self) -> int:
        return (1 << self.bits) - 1 if self.full else 219 << self.bits - 8

    @property
    def chroma_span(self) -> int:
        return (1 << self.bits) - 1 if self.full else 224 << self.bits - 8

    def luma(self, samples: Samples) -> Floats:
        """Return 0 to 1 for black to white."""
        found: Floats = (samples.astype(np.float32) - self.black) / np.float32(self.luma_span)
        return found

    def chroma(self, samples: Samples) -> Floats:
        """Return -0.5 to 0.5."""
        found: Floats = (samples.astype(np.float32) - (1 << self.bits - 1)) / np.float32(self.chroma_span)
        return found


def rgb(planes: list[Samples], levels: Levels, matrix: int, primaries: int = BT709) -> Samples:
    """Convert planes, of which chroma may be subsampled, to HxWx3; or one plane to HxWx1. uint16 over the full range.

    A matrix that is not stated is taken for BT.601, as by other readers of AVIF. RGB of 8 bits that was coded
    reversibly becomes uint8.
    """
    height, width = planes[0].shape
    if len(planes) == 1:
        return _sixteen_bits(levels.luma(planes[0]))[..., None]
    if matrix == IDENTITY:
        green, blue, red = (_sixteen_bits(levels.luma(plane)) for plane in planes)
        return np.dstack((red, green, blue))
    if matrix in REVERSIBLE:
        return _reversed(planes, levels, levels.bits - REVERSIBLE[matrix])
    share_r, share_b = SHARES[MATRICES.get(matrix, Colorspace.ITU601)]
    if matrix == BY_PRIMARIES:
        share_r, share_b = SHARES_BY_PRIMARIES.get(primaries, SHARES[Colorspace.ITU709])
    wide = [_widened(levels.chroma(plane), height, width) for plane in planes[1:]]
    found = np.empty((height, width, 3), np.uint16)
    for top in range(0, height, BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        y, (cb, cr) = levels.luma(planes[0][rows]), (plane[rows] for plane in wide)
        if matrix == YCGCO:
            red, green, blue = y - cb + cr, y + cb, y - cb - cr
        else:
            red, blue = y + 2 * (1 - share_r) * cr, y + 2 * (1 - share_b) * cb
            green = (y - share_r * red - share_b * blue) / (1 - share_r - share_b)
        found[rows] = _sixteen_bits(np.dstack((red, green, blue)))
    return found


def _reversed(planes: list[Samples], levels: Levels, bits: int) -> Samples:
    """Convert planes of YCgCo-R to RGB of `bits` bits (H.273, equations 59 to 62), spread over uint8 or uint16."""
    middle = 1 << levels.bits - 1
    y = planes[0].astype(np.int32)
    cg, co = (np.rint(_widened(plane.astype(np.float32), *y.shape)).astype(np.int32) - middle for plane in planes[1:])
    rest = y - (cg >> 1)
    green, blue = rest + cg, rest - (co >> 1)
    red = blue + co
    white = (1 << bits) - 1
    found = np.dstack((red, green, blue)).clip(0, white)
    return found.astype(np.uint8) if bits == 8 else full_range(found, white)


def planes(pixels: Samples, levels: Levels, matrix: int) -> list[Samples]:
    """Convert HxWx3 to planes of Y, Cb and Cr at 4:2:0, as uint16."""
    share_r, share_b = SHARES[MATRICES.get(matrix, Colorspace.ITU601)]
    height, width, _ = pixels.shape
    luma = np.empty((height, width), np.uint16)
    chroma = [np.empty((-(-height // 2), -(-width // 2)), np.uint16) for _ in range(2)]
    white = np.float32(np.iinfo(pixels.dtype).max)
    for top in range(0, height, BAND_ROWS):
        band = pixels[top : top + BAND_ROWS].astype(np.float32) / white
        red, green, blue = band[..., 0], band[..., 1], band[..., 2]
        y = share_r * red + (1 - share_r - share_b) * green + share_b * blue
        luma[top : top + BAND_ROWS] = np.round(y * levels.luma_span) + levels.black
        for plane, each, share in zip(chroma, (blue, red), (share_b, share_r), strict=True):
            signal = _halved((each - y) / (2 * (1 - share))) * levels.chroma_span + (1 << levels.bits - 1)
            plane[top // 2 : top // 2 + BAND_ROWS // 2] = np.clip(np.round(signal), 0, (1 << levels.bits) - 1)
    return [luma, *chroma]


def _sixteen_bits(signal: Floats) -> Samples:
    return np.round(np.clip(signal, 0, 1) * 65535).astype(np.uint16)


def _halved(plane: npt.NDArray[Any]) -> Floats:
    """Average boxes of 2x2 pixels; the last row or column counts twice where it has no partner."""
    even = np.pad(plane, ((0, plane.shape[0] % 2), (0, plane.shape[1] % 2)), mode="edge")
    found: Floats = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).mean(axis=(1, 3))
    return found


def _widened(plane: Floats, height: int, width: int) -> Floats:
    """Interpolate a plane to full size, if it is smaller: samples lie in the middle of those that they stand for."""
    for axis, size in enumerate((height, width)):
        if plane.shape[axis] < size:
            plane = np.take(_doubled(plane, axis), range(size), axis)
    return plane


def _doubled(plane: Floats, axis: int) -> Floats:
    last = plane.shape[axis] - 1
    steps = np.arange(last + 1)
    before, after = (np.take(plane, np.clip(steps + step, 0, last), axis) for step in (-1, 1))
    pairs: Any = np.stack((0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after), axis + 1)
    shape = list(plane.shape)
    shape[axis] *= 2
    found: Floats = pairs.reshape(shape).astype(np.float32, copy=False)
    return found
