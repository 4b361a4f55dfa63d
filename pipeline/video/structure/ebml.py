"""Elements of Matroska and WebM files (RFC 8794, RFC 9559), found without reading what is in them."""

import io
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

Element = tuple[int, int, int, int]
"""ID of an element, where it begins, and where its content begins and ends."""

EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
SEEK_HEAD, SEEK_POSITION = 0x114D9B74, 0x53AC
TRACKS, TRACK, VIDEO, NAME, VOID, CRC_32 = 0x1654AE6B, 0xAE, 0xE0, 0x536E, 0xEC, 0xBF
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT, PIXEL_CROPS = 0x54B0, 0x54BA, 0x54B2, (0x54BB, 0x54AA, 0x54CC, 0x54DD)
PIXEL_WIDTH, PIXEL_HEIGHT, ENCRYPTION = 0xB0, 0xBA, 0x5035
TRACK_TYPE, OF_VIDEO = 0x83, 1
CHAPTERS, EDITION, ATOM, HIDDEN, DISPLAY = 0x1043A770, 0x45B9, 0xB6, 0x98, 0x80
TAGS, TAG, TARGETS, LEVEL, USUAL_LEVEL = 0x1254C367, 0x7373, 0x63C0, 0x68CA, 50
LANGUAGE = 0x22B59D  # by BCP 47
DEEPEST = 16  # levels of elements within others
PARENTS = frozenset({TRACKS, TRACK, VIDEO, 0x6D80, 0x6240, CHAPTERS, EDITION, ATOM, TAGS, TAG, TARGETS})


def is_matroska(file: BinaryIO) -> bool:
    """Return whether the file begins with an EBML header, and go back to its beginning."""
    file.seek(0)
    found = int.from_bytes(file.read(4)) == EBML
    file.seek(0)
    return found


def elements(file: BinaryIO, start: int, end: int) -> Iterator[Element]:
    """Yield each element between two offsets. Stops at an element that is broken, or of unknown size and no segment."""
    while start < end:
        file.seek(start)
        head = file.read(12)
        id_bytes = _length(head[:1])
        size_bytes = _length(head[id_bytes : id_bytes + 1])
        if not 1 <= id_bytes <= 4 or not size_bytes or len(head) < id_bytes + size_bytes:
            return
        number = int.from_bytes(head[:id_bytes])
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes]) & ((1 << 7 * size_bytes) - 1)
        at = start + id_bytes + size_bytes
        behind = end if size == (1 << 7 * size_bytes) - 1 else min(at + size, end)
        yield number, start, at, behind
        start = behind


def tree(file: BinaryIO) -> Iterator[tuple[tuple[int, ...], Element]]:
    """Yield each element beside the clusters, with the IDs of those around it below the segment.

    Behind the first cluster, only what the file's own index points to is read.
    """
    segments = (each for each in elements(file, 0, file.seek(0, io.SEEK_END)) if each[0] == SEGMENT)
    _, _, start, end = next(segments, (SEGMENT, 0, 0, 0))
    places: list[int] = []
    cluster = end
    for element in elements(file, start, end):
        number, begins, at, behind = element
        if number == CLUSTER:
            cluster = begins
            break
        yield from _from(file, element, ())
        if number == SEEK_HEAD:
            seeks = [each for _, _, within, last in elements(file, at, behind) for each in elements(file, within, last)]
            places += [start + number_in(file, each) for each in seeks if each[0] == SEEK_POSITION]
    for place in dict.fromkeys(places):
        for element in islice(elements(file, place, end), 1 if place > cluster else 0):
            yield from _from(file, element, ())


def _from(file: BinaryIO, element: Element, above: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Element]]:
    number, _, at, behind = element
    yield above, element
    if number in PARENTS and len(above) < DEEPEST:
        for each in elements(file, at, behind):
            yield from _from(file, each, (*above, number))


def number_in(file: BinaryIO, element: Element) -> int:
    """Return the content of an element that holds an unsigned integer."""
    _, _, at, behind = element
    file.seek(at)
    return int.from_bytes(file.read(min(8, behind - at)))


def text_in(file: BinaryIO, element: Element) -> str:
    _, _, at, behind = element
    file.seek(at)
    return file.read(behind - at).decode(errors="backslashreplace")


def coded(number: int, content: bytes, size_bytes: int = 0) -> bytes:
    """Return an element with this content. `size_bytes`: bytes of its size; 0: as few as needed."""
    size_bytes = size_bytes or next(count for count in range(1, 9) if len(content) < (1 << 7 * count) - 1)
    marker = 1 << 7 * size_bytes
    return number.to_bytes((number.bit_length() + 7) // 8) + (marker | len(content)).to_bytes(size_bytes) + content


def _length(first: bytes) -> int:
    """Return how many bytes an ID or size has, by its first byte; 0 if that is none."""
    return 9 - first[0].bit_length() if first and first[0] else 0
