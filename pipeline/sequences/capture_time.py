"""Capture time of a photo, from EXIF (EXIF 2.32 section 4.6.5): DateTimeOriginal and its fraction of a second."""

from contextlib import suppress
from datetime import UTC, datetime

from PIL import ExifTags, Image

from pipeline.errors import MediaError, StorageError
from pipeline.images import decode, format_by_content
from pipeline.images.photo import Metadata
from pipeline.images.recognition import HEAD_BYTES
from pipeline.storage.storage import Storage

TIMES = (
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.SubsecTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.SubsecTimeDigitized),
)
BY_PILLOW = frozenset(("jpeg", "png", "webp", "tiff", "avif"))  # whose EXIF it reads without their pixels


def capture_time(metadata: Metadata) -> float | None:
    """Return the capture time that the EXIF of a decoded photo states, in seconds; None if it states none.

    It is that of the camera's clock, without a time zone: only differences have a meaning.
    """
    exif = Image.Exif()
    with suppress(Exception):  # Pillow raises many kinds on damaged blocks
        exif.load(metadata.exif or b"")
        return _time_in(exif)
    return None


def captured_at(storage: Storage, url: str) -> float | None:
    """Return the same of a photo that is not decoded yet; None also if it cannot be read, which it tells later."""
    with suppress(StorageError, MediaError, MemoryError):
        with storage.open(url) as file:
            found = format_by_content(file.read(HEAD_BYTES))
            if found is not None and found.name in BY_PILLOW:
                file.seek(0)
                with suppress(Exception), Image.open(file) as image:
                    return _time_in(image.getexif())
                return None
        return capture_time(decode(storage.read(url), max_pixels=1 << 40, raw_preview=True).metadata)
    return None


def _time_in(exif: Image.Exif) -> float | None:
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    for whole, fraction in TIMES:
        with suppress(KeyError, TypeError, ValueError):
            seconds = datetime.strptime(tags[whole].strip("\0 "), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
            digits = str(tags.get(fraction, "")).strip("\0 ")
            return seconds + (float(f"0.{digits}") if digits.isdecimal() else 0.0)
    return None
