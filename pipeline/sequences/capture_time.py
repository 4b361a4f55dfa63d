"""Capture time of a photo, from EXIF (EXIF 2.32 section 4.6.5): DateTimeOriginal and its fraction of a second."""

from contextlib import suppress
from datetime import UTC, datetime

from PIL import ExifTags, Image

from pipeline.errors import MediaError, StorageError
from pipeline.images import format_by_content
from pipeline.images.isobmff.boxes import content_of, sound_boxes
from pipeline.images.isobmff.reading import items_of
from pipeline.images.metadata.exif import without_prefix
from pipeline.images.photo import Metadata
from pipeline.images.png import png
from pipeline.images.png.chunks import split
from pipeline.images.raw.raw_metadata import metadata_of
from pipeline.images.recognition import HEAD_BYTES
from pipeline.storage.storage import Storage

TIMES = (
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.SubsecTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.SubsecTimeDigitized),
)
EXIF = b"Exif"  # kind of the box, or item, that holds it


def capture_time(metadata: Metadata) -> float | None:
    """Return the capture time that the EXIF of a decoded photo states, in seconds; None if it states none.

    It is that of the camera's clock, without a time zone: only differences have a meaning.
    """
    return _time_in_block(metadata.exif)


def captured_at(storage: Storage, url: str) -> float | None:
    """Return the same of a photo that is not decoded. None also if it cannot be read, which it tells in its turn.

    Nothing is decoded here, where a codec that crashes would end the whole job.
    """
    with suppress(StorageError, MediaError, MemoryError), storage.open(url) as file:
        known = format_by_content(file.read(HEAD_BYTES))
        file.seek(0)
        with suppress(Exception):  # parsers raise many kinds on damaged files
            match known and known.name:
                case "jpeg" | "webp" | "tiff":
                    with Image.open(file) as image:
                        return _time_in(image.getexif())
                case "png":  # of which Pillow would decode the pixels, too
                    return _time_in_block(png.metadata_of(split(file.read()), [])[0].exif)
                case "heif" | "avif":
                    items = items_of(file.read())
                    found = (items.contents[number] for number, kind in items.kinds.items() if kind == EXIF)
                    return _time_in_block(_behind_offset(next(found)))
                case "jxl":
                    return _time_in_block(_behind_offset(content_of(list(sound_boxes(file.read())), EXIF) or b""))
                case "raw":
                    return _time_in_block(metadata_of(file.read(), None, []).exif)
    return None


def _behind_offset(content: bytes) -> bytes:
    """Return the TIFF block of EXIF in an item or box, which begins with how far away it is."""
    return content[4 + int.from_bytes(content[:4], "big") :]


def _time_in_block(block: bytes | None) -> float | None:
    exif = Image.Exif()
    with suppress(Exception):  # as above
        exif.load(without_prefix(block or b""))
        return _time_in(exif)
    return None


def _time_in(exif: Image.Exif) -> float | None:
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    for whole, fraction in TIMES:
        with suppress(KeyError, TypeError, ValueError):
            seconds = datetime.strptime(tags[whole].strip("\0 "), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
            digits = str(tags.get(fraction, "")).strip("\0 ")
            return seconds + (float(f"0.{digits}") if digits.isdecimal() else 0.0)
    return None
