"""Photo: one image file taken apart: pixels to enhance, and all that writing it back needs."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]  # uint8 or uint16


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One picture: the only one of a photo, a frame of an animation, or a page of a TIFF."""

    pixels: Samples
    """HxWx3 RGB or HxWx1 grey, uint8 or uint16 over the full range of the type, upright, C-contiguous."""
    alpha: Samples | None = None
    """HxW, of the type of `pixels`, not multiplied into them; None where the file has none."""
    duration_ms: float | None = None
    """How long an animation shows it. None in a still, in a page, and in the still that an animated PNG keeps
    for viewers that do not animate (its first frame, before those that have a duration)."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What a file says about its picture. True of the pixels as they are here: upright."""

    exif: bytes | None = None
    """The TIFF block of EXIF 2.32, section 4.5, without the prefix `Exif`."""
    icc: bytes | None = None
    """The ICC profile, untouched."""
    xmp: bytes | None = None
    """The XMP packet."""
    dpi: tuple[float, float] | None = None
    """Horizontal and vertical resolution where the container itself states one."""
    comment: bytes | None = None
    """The free comment of JPEG and GIF."""
    jpeg_segments: tuple[tuple[int, bytes], ...] = ()
    """Marker and payload of the other application segments: IPTC in APP13, extended XMP and the like."""
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    """Type and payload of the other chunks that stay true: text, time, the shape of pixels, colour other than ICC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """How the source was compressed, so that the result can be compressed alike."""

    quantisation: tuple[tuple[int, ...], ...] = ()
    """JPEG: the tables for luminance and chrominance, 64 values each in natural order."""
    sampling: str | None = None
    """Chroma sampling: 4:4:4, 4:2:2 or 4:2:0."""
    progressive: bool = False
    """JPEG: several scans, each finer than the one before."""
    lossless: bool = False
    """WebP: VP8L."""
    uncompressed: bool = False
    """TIFF: no compression."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """A decoded image file. `dataclasses.replace(photo, frames=...)` makes the enhanced one."""

    format: str
    """A key of FORMATS: what the content is, whatever the name said."""
    frames: list[Frame]
    """At least one."""
    metadata: Metadata = Metadata()
    coding: Coding = Coding()
    loop: int | None = None
    """How often an animation plays, 0 for ever; None where the file does not say."""
    notes: list[str] = field(default_factory=list)
    """What could not be kept, a short sentence each, for the manifest."""

    @property
    def animated(self) -> bool:
        """Whether the frames follow each other in time."""
        return len(self.frames) > 1 and self.frames[-1].duration_ms is not None


def full_range(samples: Samples, white: int) -> Samples:
    """Samples of 0 to `white` (white < 65536) spread over 0 to 65535, uint16, rounded."""
    if white == 65535:
        return samples.astype(np.uint16, copy=False)
    return ((samples.astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)


def to_8_bits(samples: Samples) -> Samples:
    """uint16 samples rounded to uint8: 65535 is 257 * 255."""
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
