"""Directories of TIFF fields (TIFF 6.0 section 2; EXIF 2.32 section 4.6), read whole and written anew.

Used only for TIFF files, where pixels and metadata share a directory. In other formats EXIF is changed in place
(exif.py).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

# Bytes per value, by field type: 1 to 12 as in TIFF 6.0, 13 is IFD
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7

EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005
NESTED = frozenset((EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD))
MAX_DEPTH = 3


class Field(NamedTuple):
    kind: int
    """A key of TYPE_BYTES."""
    length: int
    value: bytes
    """All values, in the byte order of the file."""


@dataclass(kw_only=True, slots=True)
class Directory:
    fields: dict[int, Field] = field(default_factory=dict)
    nested: dict[int, "Directory"] = field(default_factory=dict)
    lost: int = 0
    """Number of fields left out: empty, of unknown type, or with values outside the file."""


def byte_order(data: bytes) -> str:
    """Return the byte order as `<` or `>`, as in struct. Raises ValueError if `data` is not a classic TIFF."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        raise ValueError("no TIFF header")
    return order


def read(data: bytes, at: int | None = None, *, depth: int = 1) -> Directory:
    """Read the directory at `at` (default: the file's first) and those nested in it. Broken fields are left out.

    Raises ValueError if there is no directory.
    """
    order = byte_order(data)
    if at is None:
        at = struct.unpack_from(order + "I", data, 4)[0]
    if not 8 <= at <= len(data) - 2:
        raise ValueError("the directory lies outside the data")
    found = Directory()
    count = struct.unpack_from(order + "H", data, at)[0]
    for entry in range(at + 2, min(at + 2 + 12 * count, len(data) - 11), 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, entry)
        size = TYPE_BYTES.get(kind, 0) * values
        place = entry + 8 if size <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
        if not size or place + size > len(data):
            found.lost += 1
            continue
        if tag in NESTED:
            if depth < MAX_DEPTH:
                inner = struct.unpack_from(order + "I", data, entry + 8)[0]
                if 8 <= inner <= len(data) - 2:
                    found.nested[tag] = read(data, inner, depth=depth + 1)
        else:
            found.fields[tag] = Field(kind, values, data[place : place + size])
    return found


def pages(data: bytes) -> Iterator[Directory]:
    """Yield the directories of all pages in order. Ends at a link that leads outside or back.

    Raises ValueError if there is no directory.
    """
    order, seen = byte_order(data), set[int]()
    at = struct.unpack_from(order + "I", data, 4)[0]
    while at not in seen and (8 <= at <= len(data) - 2 or not seen):
        seen.add(at)
        yield read(data, at)
        link = at + 2 + 12 * struct.unpack_from(order + "H", data, at)[0]
        at = struct.unpack_from(order + "I", data, link)[0] if link <= len(data) - 4 else 0


def numbers(found: Directory, tag: int, order: str) -> tuple[int, ...]:
    """Return the values of a BYTE, SHORT or LONG field; empty if it is missing or of another type."""
    entry = found.fields.get(tag)
    layout = {BYTE: "B", SHORT: "H", LONG: "I"}.get(entry.kind) if entry else None
    if entry is None or layout is None:
        return ()
    return struct.unpack(f"{order}{entry.length}{layout}", entry.value)


def written(directory: Directory, order: str, at: int) -> bytes:
    """Encode a directory for offset `at` (even), followed by its values and nested directories.

    The link to the next directory, the four bytes after the entries, is 0.
    """
    tags = sorted([*directory.fields, *directory.nested])
    behind = bytearray()
    start = at + 2 + 12 * len(tags) + 4
    entries = bytearray()
    for tag in tags:
        if tag in directory.nested:
            place = start + len(behind)
            behind += written(directory.nested[tag], order, place)
            entries += struct.pack(order + "HHII", tag, LONG, 1, place)
        else:
            kind, count, value = directory.fields[tag]
            if len(value) <= 4:
                entries += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\x00")
            else:
                entries += struct.pack(order + "HHII", tag, kind, count, start + len(behind))
                behind += value
        behind += b"\x00" * (len(behind) & 1)  # offsets must be even
    return struct.pack(order + "H", len(tags)) + bytes(entries) + bytes(4) + bytes(behind)


def block(directory: Directory, order: str) -> bytes:
    """Encode a directory as a TIFF block of its own, the form of EXIF in other formats."""
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    return mark + struct.pack(order + "I", 8) + written(directory, order, 8)
