"""Recognition of formats by content."""

import re

from pipeline.errors import Damaged, NotMedia, Unsupported
from pipeline.images.formats import FORMATS, Format
from pipeline.images.raw.recognition import is_raw

# Brands of still images and image sequences (ISO/IEC 23008-12 and the AVIF specification).
AVIF_BRANDS = frozenset((b"avif", b"avis"))
HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())

# Formats often found in photo folders that nightlift does not read; named for the error message.
FOREIGN = (
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"Pf\n", "floating-point PFM"),
    (b"PF\n", "floating-point PFM"),
    (b"P7\n", "PAM"),
    (b"v/1\x01", "OpenEXR"),
)

# TIFF 6.0 section 2; BigTIFF; PNG section 5.2; ISO/IEC 18181-2.
SIGNATURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"\xff\x0a", "jxl"),
    (b"\x00\x00\x00\x0cJXL ", "jxl"),
)

HEAD_BYTES = 32  # of a file, which tell its format
BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))  # sizes in bytes
PNM_HEAD = re.compile(rb"P[1-6]\s+(#|\d+\s+\d+\s)")


def format_of_content(data: bytes) -> str:
    """Return the name of the format, recognised by the first bytes.

    Raises NotMedia for an unknown format, Unsupported for a known one that nightlift does not read, and Damaged for
    a PNG whose signature was broken by a transfer in text mode.
    """
    for signature, name in FOREIGN:
        if data.startswith(signature):
            raise Unsupported(f"this is a {name} file, which nightlift does not read; convert it to TIFF or PNG first")
    if is_raw(data):
        return "raw"
    for signature, name in SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":  # RFC 9649
        return "webp"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "pnm"
    if data[4:8] == b"ftyp":
        return _format_of_brands(data)
    if data.startswith(b"\x89PNG"):
        raise Damaged("its PNG signature is broken, probably by a transfer in text mode; copy the file again")
    raise NotMedia(
        f"it is not an image of a known format (it starts with {data[:12].decode('latin-1')!a}); leave it out"
    )


def format_by_content(head: bytes) -> Format | None:
    """Return the format of a file whose name tells nothing, by its first `HEAD_BYTES`; None if it is not a photo's.

    A text may begin with the signature of BMP or PNM, which are so short that more of the header must fit.
    """
    try:
        found = format_of_content(head)
    except (Damaged, NotMedia, Unsupported):
        return None
    is_text = (found == "bmp" and int.from_bytes(head[14:18], "little") not in BMP_HEADERS) or (
        found == "pnm" and PNM_HEAD.match(head) is None
    )
    return None if is_text else FORMATS[found]


def _format_of_brands(data: bytes) -> str:
    """Return the format by the major and the compatible brands of the first box (ISO/IEC 14496-12 section 4.3)."""
    length = int.from_bytes(data[:4], "big")
    box = data[8 : min(length, 512)]
    brands = {box[at : at + 4] for at in range(0, len(box) - 3, 4) if at != 4}
    if brands & AVIF_BRANDS:
        return "avif"
    if brands & HEIF_BRANDS or data[8:12] in HEIF_BRANDS:
        return "heif"
    raise NotMedia(
        f"it is not a photo but a video or another file of brand {data[8:12].decode('latin-1')!a}; leave it out"
    )
