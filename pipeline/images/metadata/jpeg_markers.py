"""Markers and segments of JPEG streams (ITU-T T.81 annex B), of whole files and of previews inside other metadata."""

import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.errors import Damaged

# T.81 table B.1
SOI, SOS, COM = b"\xff\xd8", 0xDA, 0xFE
APP0, APP1, APP2, APP11, APP13, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xEF
STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
MAX_PAYLOAD_BYTES = 65533
EOI = b"\xff\xd9"
MOST_SEGMENTS = 500  # before the pixels of an embedded image

# A marker that ends the data of a scan, where 0xFF is followed by 0 or is part of a restart marker (T.81 B.1.1.5)
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
# Some cameras break the first byte of a preview, so that nobody takes it for the file's own image
_BEGINNING = re.compile(rb".\xd8(?=\xff[\xc0\xc2\xc4\xdb\xe0-\xef\xfe])", re.DOTALL)


class Segment(NamedTuple):
    marker: int
    start: int  # offset of the 0xFF
    payload: bytes


def packed(marker: int, payload: bytes) -> bytes:
    """Return a segment, of at most `MAX_PAYLOAD_BYTES`, as it stands in a file."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def cut(marker: int, prefix: bytes, content: bytes) -> list[tuple[int, bytes]]:
    """Cut content into as many segments as it needs, each with the prefix; return their markers and payloads."""
    size = MAX_PAYLOAD_BYTES - len(prefix)
    return [(marker, prefix + content[at : at + size]) for at in range(0, len(content), size)]


def segments(data: bytes, start: int = 0) -> list[Segment]:
    """Return all segments of the stream at `start`, up to and including the header of the first scan.

    Raises Damaged if there is none.
    """
    found: list[Segment] = []
    at = start + len(SOI)
    while True:
        at = data.find(b"\xff", at)  # other bytes between segments are skipped, as decoders do
        if at < 0 or at + 4 > len(data):
            break
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or marker in STANDALONE:  # stuffing; a fill byte, T.81 B.1.1.2
            at += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        if length < 2 or at + 2 + length > len(data):
            break
        found.append(Segment(marker, at, data[at + 4 : at + 2 + length]))
        if marker == SOS:
            return found
        at += 2 + length
    raise Damaged(f"it ends after {len(data)} bytes, before its pixels begin; copy the file again")


def end(data: bytes, scan: Segment) -> int:
    """Return the offset behind the stream whose first scan header is `scan`; the length of `data` if it has no end."""
    at = scan.start
    while at + 4 <= len(data):  # a scan, or a segment between two of them
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        found = _MARKER.search(data, at)
        if found is None:
            break
        at = found.start()
        if found[0] == EOI:
            return at + 2
    return len(data)


def places(data: bytes, marker: int, start: int) -> list[int]:
    """Return where a marker stands at `start` or behind it, in rising order. Scans hold 0xFF only before 0 (B.1.1.5).

    Pairs of bytes are compared, at even and at odd offsets: in a seventh of the time of `bytes.find`.
    """
    pair = 0xFF | marker << 8
    halves = ((first, np.frombuffer(data, "<u2", (len(data) - first) // 2, first)) for first in (start, start + 1))
    return sorted(first + 2 * place for first, pairs in halves for place in np.flatnonzero(pairs == pair).tolist())


def size(found: Sequence[Segment]) -> tuple[int, int] | None:
    """Return width and height by the frame header; None if it is missing or broken."""
    header = next((segment.payload for segment in found if segment.marker in FRAME_HEADERS), b"")
    if len(header) < 6 or len(header) < 6 + 3 * header[5]:
        return None
    height, width = struct.unpack_from(">HH", header, 1)
    return width, height


def streams(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield beginning and end of each whole JPEG stream inside `data`, one behind the other."""
    at = 0
    while (found := _BEGINNING.search(data, at)) is not None:
        at = found.start()
        scan = _first_scan(data, at)
        if scan is None:
            at += 2
            continue
        behind = end(data, scan)
        if data[behind - 2 : behind] != EOI:
            return  # no stream further on can have an end either
        yield at, behind
        at = behind


def _first_scan(data: bytes, start: int) -> Segment | None:
    """Return the header of the first scan, without its payload; None unless segments with a frame lead there."""
    at, has_frame = start + len(SOI), False
    for _ in range(MOST_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] < 0xC0:
            return None
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        has_frame |= marker in FRAME_HEADERS
        if marker == SOS:
            return Segment(marker, at, b"") if has_frame else None
        at += 2 + length
    return None
