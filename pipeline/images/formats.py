"""Formats that nightlift reads and writes, and their names."""

import posixpath
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """Names and abilities of one format."""

    name: str
    extensions: tuple[str, ...]
    written_as: str
    """The default format of the result."""
    written_if_asked: bool = False
    """Whether it can be written although that is not the default."""
    max_side_px: int
    """The longest side that the format allows."""
    sixteen_bits: bool = False
    """Whether it holds more than 8 bits."""
    hdr: bool = False
    """Whether it holds PQ and HLG in a still image, and says so."""
    alpha: bool = False
    animation: bool = False
    pages: bool = False
    grey: bool = True
    """Whether grey can be stored as a single channel."""
    holds: tuple[str, ...] = ()
    """Fields of Metadata that it has a place for."""

    @property
    def writable(self) -> bool:
        return self.written_as == self.name or self.written_if_asked


# Files of cameras that LibRaw reads. Neither `.raw`, which other devices write too, nor `.tif`.
RAW_EXTENSIONS = (
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".raf", ".rw2", ".rwl", ".pef"),
    *(".srw", ".3fr", ".fff", ".iiq", ".mef", ".mos", ".mrw", ".erf", ".kdc", ".dcr", ".x3f"),
)

# Further names of raw files. They do not tell what is inside, and their first bytes are often those of a TIFF.
OTHER_RAW = frozenset((".ari", ".bay", ".cap", ".dcs", ".drf", ".eip", ".gpr", ".k25", ".mdc", ".ptx", ".raw"))

FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        Format(
            name="jpeg",  # also by the names of stereo photos and of cameras for 360 degrees, which hold JPEG streams
            extensions=(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjpg", ".mpo", ".jps", ".insp"),
            written_as="jpeg",
            max_side_px=65500,
            holds=("exif", "icc", "xmp", "dpi", "comment", "jpeg_segments", "jpeg_trailer", "gain_map"),
        ),
        Format(
            name="png",
            extensions=(".png", ".apng"),
            written_as="png",
            max_side_px=2**31 - 1,
            sixteen_bits=True,
            hdr=True,
            alpha=True,
            animation=True,
            holds=("exif", "icc", "xmp", "dpi", "comment", "png_chunks"),
        ),
        Format(
            name="webp",
            extensions=(".webp",),
            written_as="webp",
            max_side_px=16383,
            alpha=True,
            animation=True,
            grey=False,
            holds=("exif", "icc", "xmp"),
        ),
        Format(
            name="tiff",
            extensions=(".tif", ".tiff"),
            written_as="tiff",
            max_side_px=2**31 - 1,
            sixteen_bits=True,
            alpha=True,
            pages=True,
            holds=("exif", "icc", "xmp", "dpi", "jpeg_segments"),
        ),
        Format(
            name="bmp",
            extensions=(".bmp", ".dib"),
            written_as="bmp",
            max_side_px=2**31 - 1,
            alpha=True,
            holds=("dpi", "icc"),
        ),
        Format(
            name="gif",
            extensions=(".gif",),
            written_as="gif",
            max_side_px=65535,
            alpha=True,
            animation=True,
            grey=False,
            holds=("icc", "xmp", "comment"),
        ),
        Format(
            name="avif",
            extensions=(".avif", ".avifs"),
            written_as="avif",
            max_side_px=16384,
            sixteen_bits=True,
            hdr=True,
            alpha=True,
            animation=True,
            holds=("exif", "icc", "xmp", "avif_boxes", "gain_map"),
        ),
        Format(
            name="heif",
            extensions=(".heic", ".heif", ".hif"),
            written_as="jpeg",
            written_if_asked=True,
            max_side_px=16384,
            sixteen_bits=True,
            alpha=True,
            holds=("exif", "icc", "xmp"),
        ),
        Format(
            name="pnm",
            extensions=(".ppm", ".pgm", ".pnm", ".pbm"),
            written_as="pnm",
            max_side_px=2**31 - 1,
            sixteen_bits=True,
        ),
        Format(
            name="jxl",
            extensions=(".jxl",),
            written_as="jxl",
            max_side_px=2**30 - 1,
            sixteen_bits=True,
            hdr=True,
            alpha=True,
            animation=True,
            holds=("exif", "icc", "xmp"),
        ),
        Format(name="raw", extensions=RAW_EXTENSIONS, written_as="tiff", max_side_px=2**31 - 1, sixteen_bits=True),
    )
}
BY_EXTENSION = {extension: known for known in FORMATS.values() for extension in known.extensions}


def format_of(path: str) -> Format | None:
    """Return the format that a file's extension (in any case) stands for; None if it is not a photo's."""
    return BY_EXTENSION.get(posixpath.splitext(path)[1].lower())
