"""Changes of the coding of a video within its file, as where recordings of several cameras are joined byte by byte.

A demuxer sees the coding once, when it opens a file. So a file is cut where the coding changes, and each stretch is
opened as a file of its own.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO, cast

from pipeline.video.structure import iso_boxes
from pipeline.video.structure.transport_stream import BLOCK_BYTES, coding_changes

WITHOUT_CONTAINER = frozenset({"", "h264", "hevc", "m4v", "mpegvideo", "vc1"})  # FFmpeg's names of such streams
ISO = "mov,mp4"  # how FFmpeg's name of MP4, MOV and their kin begins
LONGEST = 1024  # bytes of a signature or of a header that are looked for

_REST = rb"(?:(?!\0\0\x01).){%s}\0\0\x01"  # of a unit with so many bytes, and the start code behind it
SIGNATURES = re.compile(  # of the headers by which a coding begins, which none of the others holds
    rb"\0\0\x01(?:"
    # ITU-T H.262, 6.2.2: a sequence header, then an extension, user data, a group or a picture
    rb"(?P<mpeg2video>\xb3" + _REST % b"8,160" + rb"[\xb5\xb2\xb8\0])"
    # ISO/IEC 14496-2, 6.2: a visual object sequence, or a video object with its layer
    rb"|(?P<mpeg4>\xb0.\0\0\x01\xb5|[\0-\x05]\0\0\x01[\x20-\x2f])"
    # ITU-T H.264, 7.3.1: a delimiter, an SPS, more of the kind, a PPS, then what follows no slice of MPEG-2
    rb"|(?P<h264>(?:\x09[\x10-\xf0]\0{1,2}\0\x01|)[\x27\x47\x67]"
    + _REST % b"4,500"
    + rb"(?:[\x06\x27\x47\x67\x4d\x6d\x4f\x6f]"
    + _REST % b"1,500"
    + rb"){0,4}[\x28\x48\x68]"
    + _REST % b"1,200"
    + rb"[\x06\x0c\x25\x28\x41\x45\x48\x61\x65\x68])"
    # ITU-T H.265, 7.3.1: a delimiter, a VPS, an SPS
    rb"|(?P<hevc>(?:\x46\x01.\0{1,2}\0\x01|)\x40\x01" + _REST % b"4,500" + rb"\x42\x01)"
    # SMPTE ST 421, annex E: a sequence header, an entry point
    rb"|(?P<vc1>\x0f[\xc0-\xff]" + _REST % b"4,100" + rb"\x0e))",
    re.DOTALL,
)
# ISO/IEC 13818-1, 2.4.3.6, or 11172-1: packets of a video with a time, up to their content
TIMED_PES = re.compile(
    rb"\0\0\x01([\xe0-\xef])..(?:[\x80-\xbf][\x80-\xff](.)|\xff{0,16}(?:[\x40-\x7f].)?(?:[\x20-\x2f].{4}|[\x30-\x3f].{9}))",
    re.DOTALL,
)
PACK = re.compile(rb"\0\0\x01\xba(.{6})", re.DOTALL)
SURE = 4  # packets that confirm that a video goes on with another stream_id
NEAR_BYTES = 1 << 13  # before the last packet of a video, where the last pack begins


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Bytes of a file in which the video has one coding."""

    begins_at: int
    ends_at: int
    head: bytes = b""
    """What a demuxer has to read before them."""

    def of(self, file: BinaryIO) -> BinaryIO:
        """Return these bytes of a seekable file as a file."""
        return cast(BinaryIO, _View(file, self))


class _View(io.RawIOBase):
    """Stretch of a file, to be read as a file of its own."""

    def __init__(self, file: BinaryIO, stretch: Stretch) -> None:
        self._file, self._stretch, self._at = file, stretch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        length = len(self._stretch.head) + self._stretch.ends_at - self._stretch.begins_at
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: length}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        content = self._stretch.head[self._at : self._at + len(buffer)]
        at = self._stretch.begins_at + max(0, self._at - len(self._stretch.head))
        wanted = min(len(buffer) - len(content), self._stretch.ends_at - at)
        if wanted > 0:
            self._file.seek(at)
            content += self._file.read(wanted)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def stretches(file: BinaryIO, container: str = "", stream_id: int = 0) -> list[Stretch]:
    """Return the stretches of a file whose coding changes, else nothing. Goes back to where the file was.

    `container`: FFmpeg's name; "": not known, maybe none. Transport streams, program streams and streams without a
    container are read as a whole; an MP4 or MOV is cut where another one begins. `stream_id`: of the video, as a
    transport stream may hold others.
    """
    at, end = file.tell(), file.seek(0, io.SEEK_END)
    changes: Iterator[tuple[int, bytes]] = iter(())
    if container == "mpegts":
        changes = coding_changes(file, stream_id)
    elif container == "mpeg":
        changes = _of_program_stream(file)
    elif container.startswith(ISO):
        changes = _of_iso_files(file, end)
    elif container in WITHOUT_CONTAINER:
        changes = _of_bare_stream(file)
    bounds = [(0, b""), *changes, (end, b"")]
    file.seek(at)
    found = [Stretch(begins_at=first, ends_at=last, head=head) for (first, head), (last, _) in pairwise(bounds)]
    return found if len(found) > 1 else []


def coding_of(content: bytes) -> str | None:
    """Return FFmpeg's name of the coding whose headers are in the content, MPEG-1 as MPEG-2; None: no headers are."""
    found = SIGNATURES.search(content)
    return found.lastgroup if found else None


def _matches(file: BinaryIO, pattern: "re.Pattern[bytes]") -> Iterator[tuple[int, "re.Match[bytes]"]]:
    """Yield what a pattern finds in a file, each with its offset, and at least LONGEST bytes behind it to look at."""
    at, is_last = 0, False
    while not is_last:
        file.seek(at)
        block = file.read(BLOCK_BYTES)
        is_last = len(block) < BLOCK_BYTES
        searched = len(block) if is_last else len(block) - 2 * LONGEST
        place = 0
        while (found := pattern.search(block, place)) and found.start() < searched:
            yield at + found.start(), found
            place = found.end()
        at += max(searched, place)


def _of_iso_files(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield where another file begins, with a head and an index of its own. A demuxer reads the first index alone."""
    begins_at, has_index = 0, False
    for kind, _, behind in iso_boxes.boxes(file, 0, end):
        if kind == b"ftyp" and has_index:
            yield begins_at, b""
            has_index = False
        has_index = has_index or kind == b"moov"
        begins_at = behind


def _of_bare_stream(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    last = None
    for at, found in _matches(file, SIGNATURES):
        if last not in (None, found.lastgroup):
            yield at, b""
        last = found.lastgroup


def _of_program_stream(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield where the video has another coding from there on; it may also get another stream_id.

    A video with another stream_id that is there at the same time is none of it.
    """
    own: int | None = None
    coding, ends_at = None, 0
    begun: list[tuple[int, int, str | None]] = []  # packets of another stream_id: the same video, if no more of it come
    beside: set[int] = set()
    for at, packet in _matches(file, TIMED_PES):
        number = packet[1][0]
        content = packet.end() + (packet[2][0] if packet[2] else 0)
        signature = SIGNATURES.search(packet.string, content, content + LONGEST)
        found = signature.lastgroup if signature else None
        own = number if own is None and found else own
        if number == own:
            beside |= {other for _, other, _ in begun}
            begun.clear()
            if found and coding not in (None, found):
                yield _first_pack(file, ends_at, at), b""
            coding, ends_at = found or coding, at
        elif number not in beside and (begun or (found and coding not in (None, found))):
            begun.append((at, number, found or begun[0][2]))
            if len(begun) == SURE:
                yield _first_pack(file, ends_at, begun[0][0]), b""
                own, coding, ends_at = begun[0][1], begun[0][2], at
                begun.clear()
    if begun:
        yield _first_pack(file, ends_at, begun[0][0]), b""


def _first_pack(file: BinaryIO, ends_at: int, begins_at: int) -> int:
    """Return where the pack begins whose clock falls back, between two packets of the video, or else the last pack."""
    start = max(0, ends_at - NEAR_BYTES)
    file.seek(start)
    last, at = -1, begins_at
    for pack in PACK.finditer(file.read(begins_at - start)):
        at, clock = start + pack.start(), _clock(pack[1])
        if at > ends_at and clock < last:
            return at
        last = clock
    return at


def _clock(coded: bytes) -> int:
    """Return the system_clock_reference_base of a pack header, of MPEG-2 or of MPEG-1."""
    bits, is_mpeg2 = int.from_bytes(coded[:5]), coded[0] & 0xC0 == 0x40
    high, middle, low = (35, 19, 3) if is_mpeg2 else (33, 17, 1)
    return (bits >> high & 7) << 30 | (bits >> middle & 0x7FFF) << 15 | (bits >> low & 0x7FFF)
