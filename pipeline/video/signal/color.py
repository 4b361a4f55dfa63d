"""Conversion of frames to RGB and back, with the matrix, range and depth that the stream states.

An 8-bit SDR frame becomes uint8 RGB, any other uint16 RGB that spans all 16 bits. Curves are made for SDR signals, so
an HDR signal (HLG, PQ) first passes through a table: diffuse white becomes 1, and darker values become light to the
power of 1 / 2.2, as in SDR. Values brighter than diffuse white stay as they are. The two parts meet, because a curve
maps 1 to 1. See `transfer.py`.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from pipeline.video.signal.picture import Cutter, Picture, all_of, lines
from pipeline.video.signal.transfer import HDR, for_curves, from_curves, to_hdr, to_sdr

Pixels = npt.NDArray[Any]  # HxWx3 RGB, uint8 or uint16
Hdr = Literal["keep", "sdr"]

HD_PX = 720  # from this height on, a video that names no matrix is taken to use BT.709, as players assume
UNSPECIFIED = 2  # code for "unspecified" in tables 2 to 4 of ITU-T H.273
MATRICES = {  # matrix coefficients of ITU-T H.273, table 4 -> swscale's numbers
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
UNKNOWN_MATRICES = {  # matrices that swscale does not know -> name
    0: "GBR",
    8: "YCgCo",
    11: "Y'D'zD'x",
    12: "derived from the primaries",
    13: "derived from the primaries, of constant luminance",
    14: "ICtCp",
    15: "IPT-C2 of Dolby Vision",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
INTERPOLATION = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
AREA = Interpolation.AREA | Interpolation.FULL_CHR_H_INT  # without the latter, results are two 8-bit levels too dark
SMALL_PX = 96, 64  # width and height of small copies


@dataclass(frozen=True, kw_only=True, slots=True)
class Colours:
    """Colour coding of a stream, as numbers of ITU-T H.273."""

    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    range: int = 0
    """1: limited; 2: full; 0: not stated, taken as limited."""

    @property
    def hdr(self) -> str | None:
        """Return `HLG`, `PQ`, or None for SDR."""
        return HDR.get(self.transfer)


SDR = Colours(matrix=1, primaries=1, transfer=1, range=1)


def matrix(number: int, height_px: int) -> Colorspace:
    """Return swscale's matrix for a number of H.273; if it names none, the one that players assume at this height."""
    return MATRICES.get(int(number), Colorspace.ITU709 if height_px >= HD_PX else Colorspace.ITU601)


SHARES = {  # shares of red and of blue in luma: ITU-T H.273, table 4
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.FCC: (0.30, 0.11),
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.SMPTE240M: (0.212, 0.087),
    Colorspace.BT2020: (0.2627, 0.0593),
}


def shares(colours: Colours, height_px: int) -> tuple[float, float, float]:
    """Return the shares of red, green and blue in luma."""
    red, blue = SHARES[matrix(colours.matrix, height_px)]
    return red, 1 - red - blue, blue


def _numbers(colours: Colours, height_px: int) -> tuple[Colorspace, ColorRange]:
    """Return swscale's matrix and range."""
    return matrix(colours.matrix, height_px), ColorRange.JPEG if colours.range == 2 else ColorRange.MPEG


def is_full(frame: VideoFrame) -> bool:
    """Return whether the pixel format itself implies full range."""
    return frame.format.name.startswith("yuvj") or frame.format.is_rgb


def colours_of(frame: VideoFrame, container: VideoCodecContext) -> Colours:
    """Return the colour coding that the frame states, or else the container."""

    def said(name: str) -> int:
        number = int(getattr(frame, name))
        return int(getattr(container, name)) if number == UNSPECIFIED else number

    return Colours(
        matrix=said("colorspace"),
        primaries=said("color_primaries"),
        transfer=said("color_trc"),
        range=2 if is_full(frame) else int(frame.color_range or container.color_range),
    )


class Conversion:
    """Converter of decoded frames to RGB for the curves, and back to frames to encode. Reuses its reformatters.

    `source`: the stream's colour coding; a matrix, range or transfer that a frame states itself overrides it, as they
    may change midway. `written`: colour coding of the whole output. `pixel_format`: of the output. `size`: width and
    height of every output frame, whatever the size of the decoded one. `hdr`: whether HDR is kept or becomes SDR.
    `deep`: whether RGB has 16 bits. `picture`: the part of each frame that RGB and copies show, if there are bars.
    """

    def __init__(
        self,
        source: Colours,
        written: Colours,
        *,
        pixel_format: str,
        size: tuple[int, int],
        hdr: Hdr,
        deep: bool,
        picture: Picture | None = None,
    ) -> None:
        self.source, self.written, self.pixel_format, self.hdr, self.deep = source, written, pixel_format, hdr, deep
        self._size, self._picture, self._cut = size, picture, Cutter(picture) if picture else None
        self.width, self.height = picture.size if picture else size
        self._decoder, self._copier, self._encoder, self._alpha, self._sizer = (VideoReformatter() for _ in range(5))
        self._with_bars = (
            Conversion(source, written, pixel_format=pixel_format, size=size, hdr=hdr, deep=deep) if picture else self
        )

    @property
    def shares(self) -> tuple[float, float, float]:
        """Return the shares of red, green and blue in the luma of the output."""
        return shares(self.written, self._size[1])

    def part(self, frame: VideoFrame) -> VideoFrame:
        """Return the picture of a frame: a copy without bars, or the frame itself if there are none."""
        if self._cut is None:
            return frame
        width, height = self._size
        return self._cut(self._sizer.reformat(frame, width=width, height=height, threads=1))

    def whole(self, part: VideoFrame, decoded: VideoFrame) -> VideoFrame:
        """Return the picture, coded like the output, with the bars of the frame that it was made from."""
        if self._picture is None:
            return part
        if self._is_coded_alike(decoded):
            frame = all_of(decoded).of(decoded, self.pixel_format)
        else:
            frame = self._with_bars.frame(self._with_bars.rgb(decoded), decoded)
        self._picture.put(part, frame)
        return self.tagged(frame)

    def rgb(self, frame: VideoFrame) -> Pixels:
        """Convert the picture to coded RGB, which is SDR already if HDR is to become SDR."""
        return self._converted(self._decoder, frame, self.width, self.height, INTERPOLATION)

    def _converted(
        self, reformatter: VideoReformatter, frame: VideoFrame, width: int, height: int, interpolation: Interpolation
    ) -> Pixels:
        coded = self._coded(frame)
        src_matrix, src_range = _numbers(coded, self._size[1])
        converted = reformatter.reformat(
            self.part(frame),
            width=width,
            height=height,
            format="rgb48le" if self.deep or coded.hdr else "rgb24",
            src_colorspace=src_matrix,
            src_color_range=src_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=interpolation,
            threads=1,
        )
        pixels: Pixels = converted.to_ndarray()
        if coded.hdr == self.written.hdr:
            return pixels
        if coded.hdr:
            pixels = to_sdr(pixels, coded.transfer)
        if self.written.hdr:
            pixels = to_hdr(pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max), self.written.transfer)
        return pixels

    def _coded(self, frame: VideoFrame) -> Colours:
        """Return the frame's colour coding: matrix, range and transfer as it states itself, or else as the stream."""
        number, limits = int(frame.colorspace), 2 if is_full(frame) else int(frame.color_range)
        known = number if number in MATRICES else self.source.matrix
        transfer = int(frame.color_trc)
        transfer = self.source.transfer if transfer == UNSPECIFIED else transfer
        return replace(self.source, matrix=known, range=limits or self.source.range, transfer=transfer)

    def copy(self, frame: VideoFrame, width: int, height: int) -> Pixels:
        """Return a reduced copy of the picture, averaged over boxes of pixels, as the signal that curves act on."""
        return self.for_curves(self._converted(self._copier, frame, width, height, AREA))

    def small(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Return an 8-bit copy of the picture of the size SMALL_PX."""
        copy = self.copy(frame, *SMALL_PX)
        return copy if copy.dtype == np.uint8 else (copy >> 8).astype(np.uint8)

    def for_curves(self, rgb: Pixels) -> Pixels:
        """Convert coded RGB to the signal that curves act on."""
        return for_curves(rgb, self.written.transfer) if self.written.hdr else rgb

    def from_curves(self, enhanced: Pixels, rgb: Pixels) -> Pixels:
        """Convert the output of the curves to coded RGB. `rgb`: the frame before the curves; highlights are kept."""
        return from_curves(enhanced, rgb, self.written.transfer) if self.written.hdr else enhanced

    def frame(self, rgb: Pixels, decoded: VideoFrame) -> VideoFrame:
        """Build the picture of a frame to encode. `decoded`: the frame it was made from.

        Its alpha is kept if the output has alpha.
        """
        frame = VideoFrame.from_ndarray(rgb, "rgb24" if rgb.dtype == np.uint8 else "rgb48le")
        dst_matrix, dst_range = _numbers(self.written, self._size[1])
        frame = self._encoder.reformat(
            frame,
            format=self.pixel_format,
            dst_colorspace=dst_matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=dst_range,
            interpolation=INTERPOLATION,
            threads=1,
        )
        if self.pixel_format.startswith("yuva") and any(part.is_alpha for part in decoded.format.components):
            size = {"width": self.width, "height": self.height}
            decoded = self._alpha.reformat(self.part(decoded), **size, format=self.pixel_format, threads=1)
            into, out_of = (lines(each.planes[3], np.uint8) for each in (frame, decoded))
            row_bytes = self.width * (1 if frame.format.components[3].bits == 8 else 2)
            into[:, :row_bytes] = out_of[:, :row_bytes]
        return self.tagged(frame)

    def keeps(self, frame: VideoFrame) -> bool:
        """Return whether the frame is SDR and coded like the output, so that its planes need no conversion."""
        return self._is_coded_alike(frame) and not self.source.hdr

    def _is_coded_alike(self, frame: VideoFrame) -> bool:
        same_format = frame.format.name.replace("yuvj", "yuv") == self.pixel_format
        same_size = (frame.width, frame.height) == self._size
        coded, as_told = self._coded(frame), _numbers(self.source, self._size[1])
        same_colours = self.source == self.written and as_told == _numbers(coded, self._size[1])
        same_colours = same_colours and coded.hdr == self.written.hdr
        downwards = all(plane.line_size > 0 for plane in frame.planes)
        return same_format and same_size and same_colours and downwards

    def tagged(self, frame: VideoFrame) -> VideoFrame:
        """Tag the frame with the output's colour coding, and return it."""
        frame.color_range, frame.colorspace = self.written.range, self.written.matrix
        frame.color_trc, frame.color_primaries = self.written.transfer, self.written.primaries
        return frame
