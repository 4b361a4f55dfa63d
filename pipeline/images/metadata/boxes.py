"""Boxes, of which files of the ISO base media format and of its relatives consist (ISO/IEC 14496-12 section 4.2)."""

import struct
from collections.abc import Iterator


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of boxes, up to the first broken one."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        elif size == 0:  # to the end
            size = len(data) - at
        if not head <= size <= len(data) - at:
            return
        yield kind, data[at + head : at + size]
        at += size
