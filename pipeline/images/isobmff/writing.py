"""Writing of a still AVIF: an AV1 image, its alpha and metadata as items (AVIF 1.1, ISO/IEC 23008-12, MIAF)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.images.isobmff.boxes import Box, packed

ESSENTIAL = frozenset((b"av1C", b"clap", b"irot", b"imir"))
FULL = bytes(4)  # version and flags
XMP_TYPE = "application/rdf+xml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """An item to write; its number is its place in the list, from 1."""

    kind: bytes
    content: bytes
    properties: Sequence[Box] = ()
    references: Sequence[tuple[bytes, tuple[int, ...]]] = field(default=())
    """Type of reference and numbers of the items that it leads to."""
    hidden: bool = False
    """Whether it is not shown by itself."""


def exif_item(block: bytes) -> Item:
    """Build the item of an EXIF block, which begins with the offset of its header (ISO/IEC 23008-12 annex A.2.1)."""
    return Item(kind=b"Exif", content=bytes(4) + block, references=[(b"cdsc", (1,))])


def xmp_item(packet: bytes) -> Item:
    return Item(kind=b"mime", content=packet, references=[(b"cdsc", (1,))])


def still(items: Sequence[Item], brand: bytes = b"", alternatives: Sequence[int] = ()) -> bytes:
    """Build a file whose primary item is the first.

    `brand`: of a feature that readers may know. `alternatives`: numbers of items of which one is shown, the best first.
    """
    profile = next(content[1] >> 5 for kind, content in items[0].properties if kind == b"av1C")
    brands = {0: b"MA1B", 1: b"MA1A"}.get(profile, b"")
    ftyp = packed(b"ftyp", b"avif", bytes(4), b"avifmif1miaf", brands, brand)
    groups = _alternatives(alternatives, len(items) + 1) if alternatives else b""
    start = (
        len(ftyp) + len(_meta(items, 0, groups)) + 8
    )  # offsets have a fixed size, so that of `meta` does not depend on them
    return ftyp + _meta(items, start, groups) + packed(b"mdat", *(item.content for item in items))


def _meta(items: Sequence[Item], start: int, groups: bytes) -> bytes:
    return packed(
        b"meta",
        FULL,
        packed(b"hdlr", FULL, bytes(4), b"pict", bytes(13)),
        packed(b"pitm", FULL, struct.pack(">H", 1)),
        _locations(items, start),
        packed(b"iinf", FULL, struct.pack(">H", len(items)), *map(_entry, range(1, len(items) + 1), items)),
        *_references(items),
        _properties(items),
        groups,
    )


def _alternatives(items: Sequence[int], number: int) -> bytes:
    """Build a list of entity groups with one group (ISO/IEC 14496-12 section 8.18); `number`: one that no item has."""
    return packed(b"grpl", packed(b"altr", FULL, struct.pack(f">II{len(items)}I", number, len(items), *items)))


def _entry(number: int, item: Item) -> bytes:
    name = b"\x00" + (XMP_TYPE.encode() + b"\x00" if item.kind == b"mime" else b"")
    return packed(b"infe", struct.pack(">IHH4s", 2 << 24 | item.hidden, number, 0, item.kind), name)


def _locations(items: Sequence[Item], start: int) -> bytes:
    found = [struct.pack(">BBH", 0x44, 0, len(items))]  # offsets and lengths have 4 bytes, and there is no base
    for number, item in enumerate(items, 1):
        found.append(struct.pack(">HHHII", number, 0, 1, start, len(item.content)))
        start += len(item.content)
    return packed(b"iloc", FULL, *found)


def _references(items: Sequence[Item]) -> list[bytes]:
    found = [
        packed(kind, struct.pack(f">HH{len(targets)}H", number, len(targets), *targets))
        for number, item in enumerate(items, 1)
        for kind, targets in item.references
    ]
    return [packed(b"iref", FULL, *found)] if found else []


def _properties(items: Sequence[Item]) -> bytes:
    """Write each property once, and for each item the places of its own, counted from 1."""
    stored = list(dict.fromkeys(each for item in items for each in item.properties))
    owners = [(number, item.properties) for number, item in enumerate(items, 1) if item.properties]
    found = b"".join(
        struct.pack(">HB", number, len(properties))
        + bytes(stored.index(each) + 1 | (0x80 if each.type in ESSENTIAL else 0) for each in properties)
        for number, properties in owners
    )
    ipco = packed(b"ipco", *(packed(*each) for each in stored))
    return packed(b"iprp", ipco, packed(b"ipma", FULL, struct.pack(">I", len(owners)), found))
