"""Boxes of HEIF and AVIF files (ISO/IEC 14496-12, 23008-12): what they hold beside the image that is read."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.images.metadata import samsung, xmp
from pipeline.images.pixels import add_note
from pipeline.video.structure.iso_boxes import CREDENTIALS, CREDENTIALS_DROPPED

GAIN_MAPS, DEPTHS, ALPHAS = ("hdrgainmap", "21496"), ("depth", "auxid:2"), ("alpha", "auxid:1")
CODED = frozenset((b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"avc1", b"jpeg", b"unci", b"j2k1", b"tmap"))
KNOWN = {kind.decode() for kind in CODED} | {"Exif", "mime", "uri "}  # mime: XMP


class Items(NamedTuple):
    """The items of a `meta` box (ISO/IEC 14496-12 section 8.11)."""

    primary: int
    kinds: dict[int, bytes]
    hidden: frozenset[int]
    references: list[tuple[bytes, int, tuple[int, ...]]]
    """Kind, from, to."""
    auxiliary: dict[int, str]
    """Types of the auxiliary images."""


def lost(data: bytes) -> Iterator[str]:
    """Yield a note for each thing in the file that is neither its image nor its metadata, except thumbnails."""
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"mpvd":
            yield xmp.FILM_DROPPED
        elif kind == b"uuid" and data[start : start + 16] == CREDENTIALS:
            yield CREDENTIALS_DROPPED
        elif kind == b"sefd":
            notes: list[str] = []
            found = samsung.pieces(data[start:end])
            samsung.kept(found[1] if found else [], notes)
            yield from notes
        elif kind == b"meta":
            try:
                yield from _lost_items(_items(data, start + 4, end))
            except (struct.error, IndexError):
                continue


def sequence(data: bytes) -> bool:
    """Return whether the file holds an image sequence beside or instead of a still image."""
    return any(kind == b"moov" for kind, _, _ in _boxes(data, 0, len(data)))


def samsung_data(data: bytes) -> bytes:
    """Return the data of a Samsung phone that hold for new pixels, in the form in which they follow a JPEG."""
    for kind, start, end in _boxes(data, 0, len(data)):
        found = samsung.pieces(data[start:end]) if kind == b"sefd" else None
        if found:
            return samsung.kept(found[1], [])
    return b""


def _lost_items(items: Items) -> Iterator[str]:
    notes: list[str] = []
    not_shown, mattes = set(items.hidden), 0
    for kind, from_item, to_items in items.references:
        if kind == b"dimg":
            not_shown.update(to_items)  # parts of a grid, or what a gain map is applied to
        if kind in (b"thmb", b"auxl"):
            not_shown.add(from_item)
    for item, stated in items.auxiliary.items():
        if items.kinds.get(item) is None or any(name in stated for name in ALPHAS):
            continue
        if any(name in stated for name in GAIN_MAPS):
            add_note(notes, xmp.GAIN_MAP_DROPPED)
        elif any(name in stated for name in DEPTHS):
            add_note(notes, xmp.DEPTH_DROPPED)
        else:
            mattes += 1
    if b"tmap" in items.kinds.values():  # ISO 21496-1: an image derived by a gain map
        add_note(notes, xmp.GAIN_MAP_DROPPED)
    if mattes:
        notes.append(f"{mattes} auxiliary images dropped, such as masks of persons or sky")
    shown = {item for item, kind in items.kinds.items() if kind in CODED - {b"tmap"}} - not_shown
    if len(shown | {items.primary}) > 1:
        notes.append(f"only the primary image of {len(shown | {items.primary})} kept")
    unknown = sorted({kind.decode("latin-1") for kind in items.kinds.values()} - KNOWN)
    if unknown:
        notes.append(f"items of other kinds dropped: {', '.join(unknown)}")
    yield from notes


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, beginning and end of the content of each box."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        behind = end if size == 0 else min(start + size, end)
        if behind < start + head:
            return
        yield kind, start + head, behind
        start = behind


def _items(data: bytes, start: int, end: int) -> Items:
    primary, kinds, hidden, references, auxiliary = 0, dict[int, bytes](), set[int](), [], dict[int, str]()
    for kind, at, behind in _boxes(data, start, end):
        version = data[at] if at < behind else 0
        wide = ">I" if version else ">H"
        if kind == b"pitm":
            primary = struct.unpack_from(wide, data, at + 4)[0]
        elif kind == b"iinf":
            for _, entry, _ in _boxes(data, at + (8 if version else 6), behind):
                item, place = _number(data, entry + 4, data[entry] >= 3)
                kinds[item] = data[place + 2 : place + 6]
                if data[entry + 3] & 1:
                    hidden.add(item)
        elif kind == b"iref":
            for name, place, _ in _boxes(data, at + 4, behind):
                from_item, place = _number(data, place, bool(version))
                count = struct.unpack_from(">H", data, place)[0]
                layout = f">{count}{'I' if version else 'H'}"
                references.append((name, from_item, struct.unpack_from(layout, data, place + 2)))
        elif kind == b"iprp":
            auxiliary = _auxiliary(data, at, behind)
    return Items(primary, kinds, frozenset(hidden), references, auxiliary)


def _number(data: bytes, at: int, wide: bool) -> tuple[int, int]:
    """Return an item's number, and the offset behind it."""
    return struct.unpack_from(">I" if wide else ">H", data, at)[0], at + (4 if wide else 2)


def _auxiliary(data: bytes, start: int, end: int) -> dict[int, str]:
    """Return the type of each auxiliary image: `auxC` boxes, by the table of which item has which property."""
    types, found = list[str](), dict[int, str]()
    for kind, at, behind in _boxes(data, start, end):
        if kind == b"ipco":
            types = [
                data[first + 4 : last].split(b"\x00")[0].decode("latin-1") if name == b"auxC" else ""
                for name, first, last in _boxes(data, at, behind)
            ]
        elif kind == b"ipma":
            version, long_index = data[at], data[at + 3] & 1
            count, at = struct.unpack_from(">I", data, at + 4)[0], at + 8
            for _ in range(count):
                item, at = _number(data, at, version >= 1)
                for _ in range(data[at]):
                    index = struct.unpack_from(">H", data, at + 1)[0] & 0x7FFF if long_index else data[at + 1] & 0x7F
                    if 0 < index <= len(types) and types[index - 1]:
                        found[item] = types[index - 1]
                    at += 2 if long_index else 1
                at += 1
    return found
