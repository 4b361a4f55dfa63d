"""Directories of TIFF fields (TIFF 6.0 section 2; EXIF 2.32 section 4.6): their entries, read whole, written anew.

They are written anew only in TIFF files, where pixels and metadata share a directory. In other formats EXIF is changed
in place (exif.py).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pipeline.images.metadata.tags import EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD, MAKER_NOTE

# Bytes per value, by field type: 1 to 12 as in TIFF 6.0, 13 is IFD, 16 to 18 are those of BigTIFF
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SIGNED_RATIONAL, IFD, LONG8, IFD8 = 1, 2, 3, 4, 5, 7, 10, 13, 16, 18
NUMBERS = {BYTE: "B", SHORT: "H", LONG: "I", IFD: "I", LONG8: "Q", IFD8: "Q"}

HEADERS = {"<": b"II*\x00", ">": b"MM\x00*"}  # beginnings of files, by byte order
NESTED = frozenset((EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD))
MAX_DEPTH = 3
# Beginnings of the maker notes whose offsets count from somewhere in the note
MOVABLE_NOTES = (b"Nikon\x00\x02", b"OLYMPUS\x00", b"OM SYSTEM\x00", b"FUJIFILM", b"Apple iOS\x00", b"PENTAX \x00")
MOST_BYTES = 60_000  # of a block that is to fit one segment of a JPEG, with some room for what is added


class Entry(NamedTuple):
    """A field as it lies in a file."""

    tag: int
    kind: int
    """A key of TYPE_BYTES, in sound files."""
    length: int
    """Number of values."""
    at: int
    """Offset of the entry."""
    place: int
    """Offset of the values, which are in the entry itself if they fit there."""

    @property
    def size(self) -> int:
        """Return how many bytes the values have; 0 for unknown types."""
        return TYPE_BYTES.get(self.kind, 0) * self.length


class Field(NamedTuple):
    kind: int
    """A key of TYPE_BYTES."""
    length: int
    value: bytes
    """All values, in the byte order of the file. Empty: they are not written, as they are at `place` already."""
    place: int = 0
    """Offset of the values in the file they were read from."""


@dataclass(kw_only=True, slots=True)
class Directory:
    fields: dict[int, Field] = field(default_factory=dict)
    nested: dict[int, "Directory"] = field(default_factory=dict)
    lost: int = 0
    """Number of fields left out: empty, of unknown type, or with values outside the file."""
    at: int = 0
    """Offset in the file it was read from."""


class _Form(NamedTuple):
    """The numbers of classic TIFF, or of BigTIFF, as struct names them."""

    number: str
    offset: str

    @property
    def entry(self) -> str:
        return "HH" + self.offset  # tag, type, number of values; the values follow, or their offset

    @property
    def entry_bytes(self) -> int:
        return 4 + 2 * self.offset_bytes

    @property
    def offset_bytes(self) -> int:
        return struct.calcsize(self.offset)

    @property
    def number_bytes(self) -> int:
        return struct.calcsize("<" + self.number)


CLASSIC, BIG = _Form("H", "I"), _Form("Q", "Q")


def byte_order(data: bytes | bytearray) -> str:
    """Return the byte order as `<` or `>`, as in struct. Raises ValueError if `data` is neither TIFF nor BigTIFF."""
    order = {b"II*\x00": "<", b"MM\x00*": ">", b"II+\x00": "<", b"MM\x00+": ">"}.get(bytes(data[:4]))
    if order is None or len(data) < (16 if is_big(data) else 8):
        raise ValueError("no TIFF header")
    return order


def is_big(data: bytes | bytearray) -> bool:
    """Return whether the header is that of a BigTIFF, whose offsets have 8 bytes."""
    return data[2:4] in (b"+\x00", b"\x00+")


def read(data: bytes, at: int | None = None, *, depth: int = 1) -> Directory:
    """Read the directory at `at` (default: the file's first) and those nested in it. Broken fields are left out.

    Raises ValueError if there is no directory.
    """
    order, form = byte_order(data), _form(data)
    if at is None:
        at = first_offset(data, order)
    if not 8 <= at <= len(data) - form.number_bytes:
        raise ValueError("the directory lies outside the data")
    found = Directory(at=at)
    left = len(data)  # values of a sound file do not overlap, so that together they are no longer than the file
    for entry in entries(data, at, order):
        if not entry.size or entry.place + entry.size > len(data) or entry.size > left:
            found.lost += 1
            continue
        value = Field(entry.kind, entry.length, data[entry.place : entry.place + entry.size], entry.place)
        if entry.tag in NESTED:
            inner = (numbers_in(value, order) or (0,))[0]
            if depth < MAX_DEPTH and 8 <= inner <= len(data) - form.number_bytes:
                found.nested[entry.tag] = read(data, inner, depth=depth + 1)
        else:
            found.fields[entry.tag] = value
            left -= entry.size
    return found


def entries(data: bytes | bytearray, at: int, order: str) -> Iterator[Entry]:
    """Yield the entries of the directory at `at` that lie inside the data. Their values may not."""
    form = _form(data)
    last = min(end_of_entries(data, at, order), len(data)) - form.entry_bytes
    for place in range(at + form.number_bytes, last + 1, form.entry_bytes):
        tag, kind, length = struct.unpack_from(order + form.entry, data, place)
        found = Entry(tag, kind, length, place, place + 4 + form.offset_bytes)
        yield found if found.size <= form.offset_bytes else found._replace(place=_offset(data, found.place, order))


def end_of_entries(data: bytes | bytearray, at: int, order: str) -> int:
    """Return the offset behind the last entry of the directory at `at`, where the link to the next one is."""
    form = _form(data)
    return at + form.number_bytes + form.entry_bytes * int(struct.unpack_from(order + form.number, data, at)[0])


def first_offset(data: bytes | bytearray, order: str) -> int:
    """Return the offset of the first directory, as the header states it."""
    return _offset(data, _form(data).offset_bytes, order)


def _offset(data: bytes | bytearray, at: int, order: str) -> int:
    return int(struct.unpack_from(order + _form(data).offset, data, at)[0])


def _form(data: bytes | bytearray) -> _Form:
    return BIG if is_big(data) else CLASSIC


def pages(data: bytes) -> Iterator[Directory]:
    """Yield the directories of all pages in order. Ends at a link that leads outside or back.

    Raises ValueError if there is no directory.
    """
    order, form, seen = byte_order(data), _form(data), set[int]()
    at = first_offset(data, order)
    while at not in seen and (8 <= at <= len(data) - form.number_bytes or not seen):
        seen.add(at)
        yield read(data, at)
        link = end_of_entries(data, at, order)
        at = _offset(data, link, order) if link <= len(data) - form.offset_bytes else 0


def numbers(found: Directory, tag: int, order: str) -> tuple[int, ...]:
    """Return the values of a field of whole numbers; empty if it is missing or of another type."""
    entry = found.fields.get(tag)
    return numbers_in(entry, order) if entry else ()


def numbers_in(entry: Field, order: str) -> tuple[int, ...]:
    """Return the values of a field of whole numbers; empty if it is of another type."""
    layout = NUMBERS.get(entry.kind)
    return struct.unpack(f"{order}{entry.length}{layout}", entry.value) if layout else ()


def rationals(found: Directory, tag: int, order: str) -> tuple[float, ...]:
    """Return the values of a RATIONAL field, 0 for those divided by 0; empty if it is missing or of another type."""
    entry = found.fields.get(tag)
    if entry is None or entry.kind != RATIONAL:
        return ()
    numbers = struct.unpack(f"{order}{entry.length * 2}I", entry.value)
    return tuple(above / below if below else 0.0 for above, below in zip(numbers[::2], numbers[1::2], strict=True))


def field_of(order: str, kind: int, *values: int) -> Field:
    """Build a field of whole numbers; `kind` is a key of NUMBERS."""
    return Field(kind, len(values), struct.pack(f"{order}{len(values)}{NUMBERS[kind]}", *values))


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
            kind, count, value, place = directory.fields[tag]
            if not value:
                entries += struct.pack(order + "HHII", tag, kind, count, place)
            elif len(value) <= 4:
                entries += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\x00")
            else:
                entries += struct.pack(order + "HHII", tag, kind, count, start + len(behind))
                behind += value
        behind += b"\x00" * (len(behind) & 1)  # offsets must be even
    return struct.pack(order + "H", len(tags)) + bytes(entries) + bytes(4) + bytes(behind)


def block(directory: Directory, order: str) -> bytes:
    """Encode a directory as a TIFF block of its own, the form of EXIF in other formats.

    A maker note stays at its old offset, as offsets inside it count from the beginning of the file; only those known to
    count otherwise may move. Raises ValueError if a note's old offset is too far away.
    """
    mark = HEADERS[order]
    camera = directory.nested.get(EXIF_IFD, Directory())
    note = camera.fields.get(MAKER_NOTE)
    if note is None or len(note.value) <= 4 or note.value.startswith(MOVABLE_NOTES):
        return mark + struct.pack(order + "I", 8) + written(directory, order, 8)
    end = note.place + len(note.value)
    if end > MOST_BYTES:
        raise ValueError(
            f"it is {note.place} bytes behind the beginning of the file, where offsets inside it count from"
        )
    camera = replace(camera, fields=camera.fields | {MAKER_NOTE: note._replace(value=b"")})
    directory = replace(directory, nested=directory.nested | {EXIF_IFD: camera})
    at = 8
    others = written(directory, order, at)
    if at + len(others) > note.place:  # they do not fit in front of the note
        at = end + end % 2
        others = written(directory, order, at)
    whole = bytearray(max(end, at + len(others)))
    whole[:8] = mark + struct.pack(order + "I", at)
    whole[note.place : end] = note.value
    whole[at : at + len(others)] = others
    return bytes(whole)
