"""Parts of frames: what a container tells players to show of them, and what of that is inside black bars."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from pipeline.video.signal.filters import Shape, chain_of, shape_of


class Picture(NamedTuple):
    """A part of every frame, in pixels. Its sides lie between samples of chroma."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height."""
        return self.right - self.left, self.bottom - self.top

    def fits(self, frame: VideoFrame) -> bool:
        """Return whether this is inside of a frame."""
        return self.right <= frame.width and self.bottom <= frame.height

    def of(self, frame: VideoFrame, pixel_format: str = "") -> VideoFrame:
        """Return a copy of this part of a frame, with its colour coding. `pixel_format`: another name of the same."""
        part = VideoFrame(*self.size, pixel_format or frame.format.name)
        for into, out_of in self._shared(part, frame):
            into[:] = out_of
        part.color_range, part.colorspace = frame.color_range, frame.colorspace
        part.color_trc, part.color_primaries = frame.color_trc, frame.color_primaries
        return part

    def put(self, part: VideoFrame, frame: VideoFrame) -> None:
        """Write this part to a frame of the same format, which must be writable."""
        for out_of, into in self._shared(part, frame):
            into[:] = out_of

    def _shared(self, part: VideoFrame, frame: VideoFrame) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Return for each plane the bytes of the part, and those of the frame that are in the same place."""
        pairs = []
        for number, (own, whole) in enumerate(zip(part.planes, frame.planes, strict=True)):
            across, down = -(-frame.width // whole.width), -(-frame.height // whole.height)
            top, left, width = self.top // down, self.left // across, _bytes(frame.format, number)
            own_HS, whole_HS = lines(own, np.uint8), lines(whole, np.uint8)
            rows, columns = slice(top, top + own.height), slice(left * width, (left + own.width) * width)
            pairs.append((own_HS[:, : own.width * width], whole_HS[rows, columns]))
        return pairs


class Crop(NamedTuple):
    """What a container tells players to hide at the sides of every frame, in pixels: `clap`, `PixelCrop`."""

    top: int
    bottom: int
    left: int
    right: int

    def inside(self, frame: VideoFrame) -> Picture | None:
        """Return what shows of a frame, without the last line or column if only half of its chroma would be there.

        None: all of the frame, as nothing of it would be left.
        """
        across, down = step(frame.format) or (1, 1)
        width, height = frame.width - self.left - self.right, frame.height - self.top - self.bottom
        width, height = width - width % across, height - height % down
        if min(width, height) <= 0:
            return None
        return Picture(self.top, self.top + height, self.left, self.left + width)


class Cutter:
    """Cutter of a part out of frames, which keep all their properties. Without a `part`, they stay whole."""

    def __init__(self, part: Picture | Crop | None) -> None:
        self._part = part
        self._shape: Shape | None = None
        self._chain: Graph | None = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """Return a copy of the part, or the frame itself if that is all of it."""
        if self._part is not None and shape_of(frame) != self._shape:
            self._shape = shape_of(frame)
            picture = self._part.inside(frame) if isinstance(self._part, Crop) else self._part
            filters = picture and _cutting(picture, frame.format)
            self._chain = chain_of(self._shape, frame.time_base or Fraction(1), *filters) if filters else None
        if self._chain is None:
            return frame
        self._chain.push(frame)
        return self._chain.vpull()


def _cutting(picture: Picture, described: VideoFormat) -> tuple[tuple[str, str], ...]:
    """Return the filters that cut this out of frames. If it begins between samples of chroma, these are made anew."""
    (width, height), left, top = picture.size, picture.left, picture.top
    cut = "crop", f"{width}:{height}:{left}:{top}:exact=1"
    across, down = step(described) or (1, 1)
    if not (left % across or top % down):
        return cut, ("copy", "")
    depth, alpha = max(part.bits for part in described.components), any(part.is_alpha for part in described.components)
    full = "yuvj444p" if "yuvj" in described.name else f"yuv{'a' * alpha}444p{f'{depth}le' if depth > 8 else ''}"
    scaled = "scale", "flags=bicubic+accurate_rnd"
    return scaled, ("format", full), cut, scaled, ("format", described.name)


def all_of(frame: VideoFrame) -> Picture:
    return Picture(0, frame.height, 0, frame.width)


def around(pictures: Sequence[Picture | None]) -> Picture | None:
    """Return the picture that these are all inside of; None, which is all of a frame, if any of them is None."""
    known = [picture for picture in pictures if picture is not None]
    if not known or len(known) < len(pictures):
        return None
    tops, bottoms, lefts, rights = zip(*known, strict=True)
    return Picture(min(tops), max(bottoms), min(lefts), max(rights))


def step(described: VideoFormat) -> tuple[int, int] | None:
    """Return the pixels across and down that a sample of chroma covers; None if pixels are not of whole bytes."""
    if described.has_palette or described.is_bit_stream:
        return None
    sized = VideoFormat(described.name, 16, 16).components
    return 16 // min(part.width for part in sized), 16 // min(part.height for part in sized)


def lines(plane: VideoPlane, kind: Any) -> npt.NDArray[Any]:
    """Return the lines of samples, top line first, with padding; memory is shared with the frame. `kind`: dtype."""
    stored = np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)
    return stored if plane.line_size > 0 else stored[::-1]


def _bytes(described: VideoFormat, plane: int) -> int:
    """Return the bytes of a plane's sample, or of all samples of a pixel that it interleaves."""
    parts = [part for part in described.components if part.plane == plane]
    if len(parts) == len(described.components):
        return described.padded_bits_per_pixel // 8
    return sum(-(-part.bits // 8) for part in parts)
