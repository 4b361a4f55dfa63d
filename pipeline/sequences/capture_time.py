"""Capture time of a photo, from EXIF (EXIF 2.32 section 4.6.5): with its fraction of a second, and its time zone.

DateTimeOriginal counts, else DateTimeDigitized, else DateTime, which is all that some cameras write.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

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

SEPARATED = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)(?:\.(\d+))?")  # some programs write ISO 8601
OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
TIMES = (  # with fraction of a second, and time zone
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.SubsecTimeOriginal, ExifTags.Base.OffsetTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.SubsecTimeDigitized, ExifTags.Base.OffsetTimeDigitized),
    (ExifTags.Base.DateTime, ExifTags.Base.SubsecTime, ExifTags.Base.OffsetTime),
)
CAMERA = ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.BodySerialNumber
EXIF = b"Exif"  # kind of the box, or item, that holds it


class Capture(NamedTuple):
    """When and by what a photo was taken, as far as it tells."""

    local_s: float | None = None
    """Seconds of the camera's clock, whose differences alone have a meaning."""
    offset_s: float | None = None
    """Time zone of that clock, in seconds east of UTC."""
    camera: str = ""

    def seconds(self, *, zoned: bool) -> float:
        """Return the time to sort by, of a photo that tells one. `zoned`: whether the time zone counts."""
        return (self.local_s or 0.0) - ((self.offset_s or 0.0) if zoned else 0.0)


def capture_time(metadata: Metadata) -> float | None:
    """Return the capture time that the EXIF of a decoded photo states, in seconds; None if it states none.

    It is in UTC if there is a time zone, else that of the camera's clock: only differences have a meaning.
    """
    capture = _capture_in_block(metadata.exif)
    return None if capture.local_s is None else capture.seconds(zoned=True)


def captured_at(storage: Storage, url: str) -> Capture:
    """Return what a photo tells that is not decoded: nothing if it cannot be read, which it tells in its turn.

    Nothing is decoded here, where a codec that crashes would end the whole job.
    """
    with suppress(StorageError, MediaError, MemoryError), storage.open(url) as file:
        known = format_by_content(file.read(HEAD_BYTES))
        file.seek(0)
        with suppress(Exception):  # parsers raise many kinds on damaged files
            match known and known.name:
                case "jpeg" | "webp" | "tiff":
                    with Image.open(file) as image:
                        return _capture_in(image.getexif())
                case "png":  # of which Pillow would decode the pixels, too
                    return _capture_in_block(png.metadata_of(split(file.read()), [])[0].exif)
                case "heif" | "avif":
                    items = items_of(file.read())
                    found = (items.contents[number] for number, kind in items.kinds.items() if kind == EXIF)
                    return _capture_in_block(_behind_offset(next(found)))
                case "jxl":
                    return _capture_in_block(_behind_offset(content_of(list(sound_boxes(file.read())), EXIF) or b""))
                case "raw":
                    return _capture_in_block(metadata_of(file.read(), None, []).exif)
    return Capture()


def _behind_offset(content: bytes) -> bytes:
    """Return the TIFF block of EXIF in an item or box, which begins with how far away it is."""
    return content[4 + int.from_bytes(content[:4], "big") :]


def _capture_in_block(block: bytes | None) -> Capture:
    exif = Image.Exif()
    with suppress(Exception):  # as above
        exif.load(without_prefix(block or b""))
        return _capture_in(exif)
    return Capture()


def _capture_in(exif: Image.Exif) -> Capture:
    tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    camera = " ".join(str(tags.get(tag, "")).strip("\0 ") for tag in CAMERA).strip()
    for whole, fraction, zone in TIMES:
        with suppress(ValueError):
            if found := SEPARATED.match(str(tags.get(whole, "")).strip("\0 ")):
                *numbers, digits = found.groups()
                year, month, day, hour, minute, second = map(int, numbers)
                seconds = datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
                digits = str(tags.get(fraction, "")).strip("\0 ") or digits or ""
                part = float(f"0.{digits}") if digits.isdecimal() else 0.0
                return Capture(seconds + part, _offset_s(str(tags.get(zone, ""))), camera)
    return Capture(camera=camera)


def _offset_s(text: str) -> float | None:
    found = OFFSET.match(text.strip("\0 "))
    if found is None:
        return 0.0 if text.strip("\0 ") == "Z" else None
    sign, hours, minutes = found.groups()
    return (1 if sign == "+" else -1) * (int(hours) * 3600.0 + int(minutes) * 60.0)
