"""Photo: a decoded image file, with the pixels to enhance and everything needed to write it back."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]  # uint8 or uint16
LOSSY = frozenset(("avif", "heif", "jxl", "webp"))  # formats that may be lossy, with steps that are not known here
# noise that quantisation may hide, in 8-bit levels: for each level of its steps; at most, and if they are not known
OF_STEP, MOST_HIDDEN = 1 / 8, 1.0
INCH_M = 0.0254

DEFLATE_LEVEL = 4  # by default; level 6 takes two to three times as long for files smaller by 3 %


class Compression(NamedTuple):
    """How hard a photo is compressed."""

    quality: int | None
    """1 to 100 in formats that lose something; None: as the source, or else a high default."""
    level: int
    """1 to 9 in PNG and TIFF, which lose nothing: larger takes longer, and makes smaller files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One image: a whole still, a frame of an animation, or a page of a TIFF."""

    pixels: Samples
    """HxWx3 RGB or HxWx1 grey, uint8 or uint16 in the full range of the dtype, upright, C-contiguous."""
    alpha: Samples | None = None
    """HxW, same dtype as `pixels`, which are not premultiplied; None if the file has no alpha."""
    duration_ms: float | None = None
    """Display time in an animation. None for a still, for a page, and for the default image of an animated PNG:
    a first frame that only viewers without animation show."""

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gains:
    """What the values of a gain map mean (ISO 21496-1 section 5.2): one number for each channel, or one for all."""

    least: tuple[float, ...]
    """Base-2 logarithm of the gain that the value 0 stands for."""
    most: tuple[float, ...]
    """Base-2 logarithm of the gain that the value 255 stands for."""
    gamma: tuple[float, ...] = (1.0,)
    offset_sdr: tuple[float, ...] = (1 / 64,)
    offset_hdr: tuple[float, ...] = (1 / 64,)
    headroom_min: float = 0.0
    """Base-2 logarithm of a screen's headroom from which the map has an effect."""
    headroom_max: float
    """Base-2 logarithm of a screen's headroom from which the map has its full effect."""
    in_base_primaries: bool = True
    """Whether gains apply to the primaries of the photo; else to those of the map's own ICC profile."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GainMap:
    """A small image that tells HDR screens how much brighter than others they show each part of a photo."""

    pixels: Samples
    """HxWx3 or HxWx1 uint8, upright."""
    gains: Gains
    base: Samples
    """The photo's pixels that the map was made for, reduced to its size: HxWx3 or HxWx1 uint8."""
    icc: bytes | None = None
    """The map's own ICC profile."""
    coding: "Coding"
    coded: bytes | None = None
    """The map as a JPEG, as long as its pixels are those of the source."""
    note: str = ""
    """A short sentence for the manifest about what was converted, if the map is written."""

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """Metadata of an image file, valid for its upright pixels."""

    exif: bytes | None = None
    """The TIFF block of EXIF (EXIF 2.32 section 4.5), without the prefix `Exif`."""
    icc: bytes | None = None
    """The ICC profile, untouched."""
    xmp: bytes | None = None
    """The XMP packet."""
    dpi: tuple[float, float] | None = None
    """Horizontal and vertical resolution, if the container itself states it."""
    comment: bytes | None = None
    """The free-text comment of JPEG and GIF."""
    jpeg_segments: tuple[tuple[int, bytes], ...] = ()
    """Marker and payload of the other application segments (such as IPTC in APP13) and further comments."""
    jpeg_trailer: bytes = b""
    """Blocks of cameras and programs behind the end of a JPEG that stay valid."""
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    """Type and payload of other chunks that stay valid: text, time, pixel aspect ratio, colour other than ICC."""
    avif_boxes: tuple[tuple[bytes, bytes], ...] = ()
    """Type and content of other properties that stay valid: pixel aspect ratio, the display of HDR."""
    cicp: tuple[int, int] | None = None
    """Primaries and transfer by numbers of ITU-T H.273, if the container states them. Wide colour then also has an ICC
    profile, for formats that cannot hold the numbers; PQ and HLG have none."""
    gain_map: GainMap | None = None
    """The gain map, which still knows the pixels that it was made for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """Compression settings of the source, so that the result can be compressed alike."""

    quantisation: tuple[tuple[int, ...], ...] = ()
    """JPEG: the tables for luminance and chrominance, 64 values each in natural order."""
    sampling: str | None = None
    """Chroma sampling: 4:4:4, 4:2:2, 4:2:0, or 4:0:0 for grey."""
    bits: int | None = None
    """AVIF, HEIF: bits of a sample, 8, 10 or 12."""
    matrix: int | None = None
    """AVIF: matrix of ITU-T H.273 between RGB and what is coded."""
    full: bool = True
    """AVIF: samples span the full range."""
    progressive: bool = False
    """JPEG: several scans, each more detailed than the last."""
    lossless: bool = False
    """WebP: VP8L. AVIF: RGB that is coded as it is. JPEG XL: colours stored as they are."""
    peak_cd: float | None = None
    """JPEG XL: the brightest light of an HDR image, in cd/m2."""
    uncompressed: bool = False
    """TIFF: no compression."""
    lossy: bool = False
    """TIFF: JPEG or WebP inside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """A decoded image file. `dataclasses.replace(photo, frames=...)` gives the enhanced photo."""

    format: str
    """A key of FORMATS, found from the content and not from the file name."""
    frames: list[Frame]
    """At least one."""
    metadata: Metadata = Metadata()
    coding: Coding = Coding()
    loop: int | None = None
    """How often an animation plays, 0 for ever; None if the file does not say."""
    notes: list[str] = field(default_factory=list)
    """Short sentences for the manifest about what was converted or dropped."""

    @property
    def hidden_noise(self) -> float:
        """Return the deviation of noise that its compression may have reduced to specks, where white is 1.

        Quantisation by steps of several levels leaves nothing of the noise of dark areas but a few of its frequencies,
        in some blocks. It cannot be measured then. Noise of more than one level is expected to survive.
        """
        if self.coding.quantisation:
            luma_table = self.coding.quantisation[0]
            return min(sum(luma_table) / len(luma_table) * OF_STEP, MOST_HIDDEN) / 255
        may_be_lossy = self.coding.lossy or (self.format in LOSSY and not self.coding.lossless)
        return MOST_HIDDEN / 255 if may_be_lossy else 0.0

    @property
    def animated(self) -> bool:
        """Return whether the frames follow each other in time."""
        return len(self.frames) > 1 and self.frames[-1].duration_ms is not None


def full_range(samples: Samples, white: int) -> Samples:
    """Scale samples of 0 to `white` (white < 65536) to uint16 of 0 to 65535, rounded."""
    if white == 65535:
        return samples.astype(np.uint16, copy=False)
    return ((samples.astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)


def to_8_bits(samples: Samples) -> Samples:
    """Round uint16 samples to uint8 (65535 is 257 * 255); return uint8 samples unchanged."""
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
