"""Photos for HDR screens in JPEG: a second JPEG behind the image is its gain map (Ultra HDR image format 1.1).

The map is found by its own metadata, as programs that edit a photo often leave wrong offsets in the index of its images
(MPF, CIPA DC-007). It is written with all that readers look for: that index, a directory in XMP, and ISO 21496-1.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.errors import Damaged
from pipeline.images.gain_map import apple, metadata
from pipeline.images.gain_map.gains import StoredMap, enhanced
from pipeline.images.jpeg import jpeg
from pipeline.images.jpeg.app_segments import GAIN_MAP, XMP
from pipeline.images.jpeg.trailers import MPF
from pipeline.images.metadata import ifd, jpeg_markers, tags
from pipeline.images.metadata.jpeg_markers import APP0, APP1, APP2, SOI, Segment, packed
from pipeline.images.photo import DEFLATE_LEVEL, Compression, Frame, GainMap, Metadata, Photo

BEGINNING = b"\xff\xd8\xff"
MOST_CANDIDATES = 100  # places that begin like a JPEG
INDEX_BYTES = 82  # content of the index, behind its name
PRIMARY = 0x030000  # attribute of the first image (CIPA DC-007 section 5.2.3.3.1)


def read(data: bytes, exif: bytes | None, max_pixels: int) -> StoredMap | None:
    """Read the gain map of a JPEG; None if it has none that can be used. `exif`: that of the photo.

    Raises MediaError, or what Pillow raises on damage.
    """
    for image, segments in _behind(data):
        packet, iso = _payload(segments, APP1, XMP), _payload(segments, APP2, GAIN_MAP)
        gains = metadata.of_iso(iso) or metadata.of_xmp(packet)
        if gains is None and not apple.VERSION.search(packet):
            continue
        photo = jpeg.read(image, max_pixels)
        pixels = photo.frames[0].pixels
        if gains is None:
            return apple.stored_map(pixels, packet, exif)
        return StoredMap(pixels, gains, photo.metadata.icc, photo.coding, image)
    return None


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write one uint8 frame without alpha as JPEG, with its gain map behind it if it has one."""
    found = photo.metadata.gain_map
    if found is None:
        return jpeg.write(photo, compression, notes)
    if found.note:
        notes.append(found.note)
    gain_map = _coded(enhanced(found, photo.frames[0]))
    packet = metadata.with_directory(photo.metadata.xmp, len(gain_map))
    alone = replace(photo.metadata, xmp=packet, jpeg_trailer=b"")
    coded = jpeg.write(replace(photo, metadata=alone), compression, notes)
    at = _behind_exif(coded)
    version = packed(APP2, GAIN_MAP + metadata.VERSION)
    index_at = at + len(version) + 4 + len(MPF)  # offsets in the index count from here
    primary_bytes = len(coded) + len(version) + 4 + len(MPF) + INDEX_BYTES
    index = _index(primary_bytes, len(gain_map), primary_bytes - index_at)
    return coded[:at] + version + packed(APP2, MPF + index) + coded[at:] + gain_map + photo.metadata.jpeg_trailer


def _behind(data: bytes) -> Iterator[tuple[bytes, list[Segment]]]:
    """Yield each JPEG behind the first one, with its segments. No scan holds the bytes that a JPEG begins with."""
    behind = jpeg_markers.segments(data)[-1].start
    candidates = [at for at in jpeg_markers.places(data, SOI[1], behind) if data.startswith(BEGINNING, at)]
    for at in candidates[:MOST_CANDIDATES]:
        if at < behind:  # a preview in the metadata of the last one
            continue
        try:
            segments = jpeg_markers.segments(data, at)
        except Damaged:  # these bytes are part of something else, such as a film
            continue
        yield data[at : jpeg_markers.end(data, segments[-1])], segments
        behind = segments[-1].start


def _payload(segments: Sequence[Segment], marker: int, name: bytes) -> bytes:
    """Return what is behind the name in the first segment of that kind; empty if there is none."""
    found = (each.payload[len(name) :] for each in segments if each.marker == marker and each.payload.startswith(name))
    return next(found, b"")


def _coded(gain_map: GainMap) -> bytes:
    """Return a map as a JPEG with the metadata that it needs; its pixels are coded anew only if they have changed."""
    coded = gain_map.coded
    if coded is None:
        alone = Photo(
            format="jpeg",
            frames=[Frame(pixels=gain_map.pixels)],
            metadata=Metadata(icc=gain_map.icc),
            coding=gain_map.coding,
        )
        coded = jpeg.write(alone, Compression(None, DEFLATE_LEVEL), [])
    segments = jpeg_markers.segments(coded)
    kept = [
        coded[each.start : each.start + 4 + len(each.payload)]
        for each in segments[:-1]
        if each.marker != APP1 and not each.payload.startswith((GAIN_MAP, MPF))
    ]
    at = 1 if segments[0].marker == APP0 else 0  # JFIF requires APP0 to come first
    told = (
        packed(APP1, XMP + metadata.xmp(gain_map.gains)),
        packed(APP2, GAIN_MAP + metadata.iso(gain_map.gains)),
    )
    return b"".join((SOI, *kept[:at], *told, *kept[at:], coded[segments[-1].start :]))


def _behind_exif(coded: bytes) -> int:
    """Return the offset behind the first segments of JFIF, EXIF and XMP, where the index belongs."""
    at = len(SOI)
    for segment in jpeg_markers.segments(coded):
        if segment.marker not in (APP0, APP1):
            break
        at = segment.start + 4 + len(segment.payload)
    return at


def _index(primary_bytes: int, map_bytes: int, map_offset: int) -> bytes:
    """Build the index of two images (CIPA DC-007 section 5.2.3)."""
    entries = struct.pack(">IIIHH", PRIMARY, primary_bytes, 0, 0, 0) + struct.pack(
        ">IIIHH", 0, map_bytes, map_offset, 0, 0
    )
    fields = {
        tags.MP_VERSION: ifd.Field(ifd.UNDEFINED, 4, b"0100"),
        tags.MP_IMAGES: ifd.field_of(">", ifd.LONG, 2),
        tags.MP_ENTRIES: ifd.Field(ifd.UNDEFINED, len(entries), entries),
    }
    return ifd.block(ifd.Directory(fields=fields), ">")
