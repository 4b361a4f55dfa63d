"""Boxes of ISO base media files (ISO/IEC 14496-12), such as MP4 and AVIF, found without reading what is in them."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.errors import Damaged

Box = tuple[bytes, int, int]
"""Type of a box, and where its content begins and ends."""

CREDENTIALS = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # C2PA 2.1 section A.5: the uuid of its box
CREDENTIALS_DROPPED = "content credentials dropped: they certify the image before enhancement"
FIRST = frozenset(b"ftyp styp moov moof mdat free skip wide pnot uuid".split())  # boxes that a file may begin with
PARENTS = frozenset(b"moov trak mdia minf stbl moof traf udta".split())
ENTRIES_AT = 8  # where the sample entries begin in an stsd
SIZE_AT, CHILDREN_AT = 24, 78  # where the size is, and the boxes begin, in a sample entry of video
PRINTABLE, COPYRIGHT = range(0x20, 0x7F), 0xA9  # bytes of the type of a box
INSTA360 = b"8db42d694ccc418790edff439fe026bf"  # the end of what Insta360's cameras append
INSTA360_BYTES = 40  # of its last part, which tells its size


def is_iso(file: BinaryIO) -> bool:
    """Return whether the file begins with a box, and go back to its beginning."""
    file.seek(0)
    found = file.read(8)[4:] in FIRST
    file.seek(0)
    return found


def boxes(file: BinaryIO, start: int, end: int, *, whole: bool = False) -> Iterator[Box]:
    """Yield each box between two offsets: its type, and where its content begins and ends.

    One that is longer than what is there ends at `end`, or raises Damaged if all must be `whole`.
    """
    while start + 8 <= end:
        size, kind = fields(file, start, ">I4s")
        at = start + 8
        if size == 1:
            (size,), at = fields(file, at, ">Q"), at + 8
        behind = end if size == 0 else start + size  # 0: the last one
        if whole and not at <= behind <= end:
            raise Damaged(f"its box {kind.decode('latin-1')!a} is cut short; copy the file again")
        behind = min(behind, end)
        if behind < at:
            return
        yield kind, at, behind
        start = behind


def end_of_boxes(file: BinaryIO, end: int) -> int:
    """Return where the boxes of a file end; cameras may put something of their own behind the last one."""
    at, is_whole = 0, True
    for kind, content_at, behind in boxes(file, 0, end):
        (stated,) = fields(file, content_at - 8, ">I")
        is_whole = content_at - 8 + stated == behind
        is_cut = content_at - 8 + stated > end
        if not all(byte in PRINTABLE or byte == COPYRIGHT for byte in kind) or (is_cut and kind not in FIRST):
            break
        at = behind
    size_bytes, _, magic = fields(file, max(0, end - INSTA360_BYTES), "<II32s")
    is_boxed = at == end and is_whole
    return min(at, end - size_bytes) if magic == INSTA360 and size_bytes < end and not is_boxed else at


def tree(
    file: BinaryIO, start: int, end: int, above: tuple[bytes, ...] = ()
) -> Iterator[tuple[tuple[bytes, ...], Box]]:
    """Yield each box below, with the types of those around it: down to sample entries and, for video, into them."""
    for box in boxes(file, start, end):
        kind, at, behind = box
        yield above, box
        if kind in PARENTS and kind not in above:
            yield from tree(file, at, behind, (*above, kind))
        elif kind == b"stsd" and kind not in above:
            yield from tree(file, at + ENTRIES_AT, behind, (*above, kind))
        elif above[-1:] == (b"stsd",):
            yield from tree(file, at + CHILDREN_AT, behind, (*above, kind))


def fields(file: BinaryIO, at: int, form: str) -> tuple[Any, ...]:
    """Unpack a `struct` format at an offset; bytes beyond the end of the file are 0."""
    file.seek(at)
    size = struct.calcsize(form)
    return struct.unpack(form, file.read(size).ljust(size, b"\x00"))
