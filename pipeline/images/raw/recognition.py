"""Camera raw files by their content, whatever their names are: whether it is one, and whether it is whole.

Most raw files are TIFFs (TIFF 6.0), whose first image is only a small preview: read as a TIFF, that would be all.
"""

import itertools
import struct
from collections.abc import Iterator

from pipeline.images.metadata import ifd, tags

SIGNATURES = (
    b"II*\x00\x10\x00\x00\x00CR",  # Canon CR2
    b"II\x1a\x00\x00\x00HEAPCCDR",  # Canon CRW
    b"IIU\x00",  # Panasonic, Leica
    b"IIRO",  # Olympus
    b"IIRS",
    b"MMOR",
    b"FUJIFILMCCD-RAW",
    b"\x00MRM",  # Minolta
    b"FOVb",  # Sigma
)
# Marks of raw files that are TIFFs, and what TIFF 6.0 has there
TIFF_MARKS = {
    b"II*\x00": b"II*\x00",
    b"MM\x00*": b"MM\x00*",
    b"IIRO": b"II*\x00",
    b"IIRS": b"II*\x00",
    b"MMOR": b"MM\x00*",
    b"IIU\x00": b"II*\x00",
}
PHASE_ONE = (b"IIII", b"MMMM")  # in a TIFF, after its header
CANON_CR3 = b"ftypcrx "

PARTS = ((tags.STRIP_OFFSETS, tags.STRIP_BYTES), (tags.TILE_OFFSETS, tags.TILE_BYTES))
PANASONIC, PARTS_OF_PANASONIC = b"IIU\x00", ((280, tags.STRIP_BYTES),)  # its own offset; STRIP_OFFSETS is all ones
MOST_SUB_IMAGES = 32
SLACK_BYTES = 1 << 12  # that a size may be rounded up by
# Pixels behind a colour filter, and linear ones (TIFF/EP, ISO 12234-2; DNG 1.7 chapter 4)
OF_A_SENSOR = frozenset((32803, 34892))
# Compression by Sony, Samsung, Nikon, Kodak and Pentax
OF_CAMERAS = frozenset((32767, 32770, 34713, 65000, 65535))


def is_raw(data: bytes) -> bool:
    """Return whether the content is a camera raw file."""
    if data.startswith(SIGNATURES) or data[4:12] == CANON_CR3:
        return True
    try:
        order = ifd.byte_order(data)
        if data[8:12] in PHASE_ONE:
            return True
        first = ifd.read(data)
        return tags.DNG_VERSION in first.fields or any(
            OF_A_SENSOR.intersection(ifd.numbers(each, tags.PHOTOMETRIC, order))
            or OF_CAMERAS.intersection(ifd.numbers(each, tags.COMPRESSION, order))
            for each in itertools.chain([first], _sub_images(data, first, order))
        )
    except (ValueError, struct.error):
        return False


def as_tiff(data: bytes) -> bytes | None:
    """Return a raw file that is a TIFF but for its mark as a TIFF; None for others."""
    mark = TIFF_MARKS.get(data[:4])
    return None if mark is None else data if data.startswith(mark) else mark + data[4:]


def missing_bytes(data: bytes) -> int:
    """Return how many bytes are missing at the end of a file, as far as its TIFF directories show.

    LibRaw develops some files that were cut short without a word, with black where pixels are missing.
    """
    tiff, end = as_tiff(data), 0
    if tiff is None:
        return 0
    try:
        order = ifd.byte_order(tiff)
        for image in itertools.chain(ifd.pages(tiff), _sub_images(tiff, ifd.read(tiff), order)):
            for offsets, sizes in PARTS_OF_PANASONIC if data.startswith(PANASONIC) else PARTS:
                places = zip(ifd.numbers(image, offsets, order), ifd.numbers(image, sizes, order), strict=False)
                end = max(end, *(at + size for at, size in places), 0)
    except (ValueError, struct.error):
        return 0
    return end - len(data) if end > len(data) + SLACK_BYTES else 0


def _sub_images(data: bytes, first: ifd.Directory, order: str) -> Iterator[ifd.Directory]:
    """Yield the directories of further images that the first one names, one at a time: each may be large."""
    places = first.fields.get(tags.SUB_IFDS)
    if places is None or places.kind not in (ifd.LONG, ifd.IFD):
        return
    count = min(places.length, MOST_SUB_IMAGES)
    for at in dict.fromkeys(struct.unpack_from(f"{order}{count}I", places.value)):
        if 8 <= at <= len(data) - 2:
            yield ifd.read(data, at)
