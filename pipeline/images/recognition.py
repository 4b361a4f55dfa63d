"""Recognition of formats by content."""

from pipeline.errors import Damaged, NotMedia, Unsupported
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
