"""Reading of the items of a still image (ISO/IEC 14496-12 section 8.11, ISO/IEC 23008-12 section 9)."""

import struct
from collections import defaultdict
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

from pipeline.errors import Damaged
from pipeline.images.isobmff.boxes import Box, boxes, content_of
from pipeline.video.structure import iso_boxes

ALPHA_TYPES = ("urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", "urn:mpeg:hevc:2015:auxid:1")
HIDDEN = 1  # a flag of an item


class Grid(NamedTuple):
    """Layout of an image of equal tiles (ISO/IEC 23008-12 section 6.6.2.3)."""

    rows: int
    columns: int
    width: int
    height: int


@dataclass(slots=True)
class Items:
    """Items of a file by their numbers: kind, properties in order, references by type, and data."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    properties: dict[int, list[Box]] = field(default_factory=lambda: defaultdict(list))
    references: dict[tuple[bytes, int], list[int]] = field(default_factory=dict)
    """Type and number of the item that refers -> numbers of those that it refers to."""
    contents: dict[int, bytes] = field(default_factory=dict)

    def auxiliary_type(self, number: int) -> str:
        """Return what an auxiliary image is for (ISO/IEC 23008-12 section 6.5.8); "" for other items."""
        stated = content_of(self.properties.get(number, ()), b"auxC") or b""
        return stated[4:].split(b"\x00")[0].decode("latin-1")

    @property
    def alpha(self) -> int | None:
        """Return the number of the item that holds the primary item's alpha; None if it has none."""
        for (kind, number), targets in self.references.items():
            if kind == b"auxl" and self.primary in targets and self.auxiliary_type(number) in ALPHA_TYPES:
                return number
        return None

    @property
    def premultiplied(self) -> bool:
        return (b"prem", self.primary) in self.references

    def tiles(self, number: int) -> tuple[Grid | None, list[int]]:
        """Return the items that hold the pixels of an image: its tiles and their layout, or the item itself."""
        if self.kinds.get(number) != b"grid":
            return None, [number]
        content = self.contents[number]
        wide = struct.unpack_from(">II" if content[1] & 1 else ">HH", content, 4)
        grid = Grid(content[2] + 1, content[3] + 1, *wide)
        tiles = self.references.get((b"dimg", number), [])
        if len(tiles) != grid.rows * grid.columns:
            raise Damaged("tiles of its image are missing; copy the file again")
        return grid, tiles


def items_of(data: bytes) -> Items:
    """Read all items of a file. Raises Damaged, struct.error or IndexError if a box is broken."""
    meta = content_of(list(boxes(data)), b"meta")
    if meta is None:
        return Items()
    items = described(meta)
    found = dict(boxes(meta, 4))
    _read_contents(found.get(b"iloc", b""), data, found.get(b"idat", b""), items)
    return items


def described(meta: bytes) -> Items:
    """Read what a `meta` box says of its items, not their data. Raises struct.error or IndexError if it is broken."""
    items, found = Items(), dict(boxes(meta, 4, whole=False))
    if primary := found.get(b"pitm"):
        (items.primary,) = struct.unpack_from(">H" if primary[0] == 0 else ">I", primary, 4)
    for _, entry in boxes(found.get(b"iinf", b""), 6 if found.get(b"iinf", b"\x00")[0] == 0 else 8, whole=False):
        wide = entry[0] > 2
        (number,) = struct.unpack_from(">I" if wide else ">H", entry, 4)
        items.kinds[number] = entry[10:14] if wide else entry[8:12]
        if entry[3] & HIDDEN:
            items.hidden.add(number)
    _read_properties(found.get(b"iprp", b""), items)
    _read_references(found.get(b"iref", b""), items)
    return items


def sequence_properties(data: bytes) -> list[Box]:
    """Return the boxes in the sample entry of the first AV1 track that is not an auxiliary one: an animation's."""
    for above, (kind, start, end) in iso_boxes.tree(BytesIO(data), 0, len(data)):
        if kind == b"av01" and above[-1:] == (b"stsd",):
            found = list(boxes(data[:end], start + iso_boxes.CHILDREN_AT))
            if content_of(found, b"auxi") is None:
                return found
    return []


def _read_properties(iprp: bytes, items: Items) -> None:
    """Read `ipco`, the properties, and `ipma`, which says what items they belong to (section 8.11.14)."""
    parts = list(boxes(iprp, whole=False))
    stored = list(boxes(content_of(parts, b"ipco") or b"", whole=False))
    for ipma in (content for kind, content in parts if kind == b"ipma"):
        wide_number, wide_index = ipma[0] >= 1, ipma[3] & 1
        (count,) = struct.unpack_from(">I", ipma, 4)
        at = 8
        for _ in range(count):
            (number,) = struct.unpack_from(">I" if wide_number else ">H", ipma, at)
            at += 4 if wide_number else 2
            associations = ipma[at]
            at += 1
            for _ in range(associations):
                index = struct.unpack_from(">H", ipma, at)[0] & 0x7FFF if wide_index else ipma[at] & 0x7F
                at += 2 if wide_index else 1
                if 0 < index <= len(stored):
                    items.properties[number].append(stored[index - 1])


def _read_references(iref: bytes, items: Items) -> None:
    if not iref:
        return
    kind = ">I" if iref[0] else ">H"
    size = struct.calcsize(kind)
    for reference, content in boxes(iref, 4, whole=False):
        (source,) = struct.unpack_from(kind, content)
        (count,) = struct.unpack_from(">H", content, size)
        targets = [struct.unpack_from(kind, content, size + 2 + size * at)[0] for at in range(count)]
        items.references[reference, source] = targets


def _read_contents(iloc: bytes, data: bytes, idat: bytes, items: Items) -> None:
    """Read where the items are (section 8.11.3), and what is there. All together are no longer than the file."""
    if not iloc:
        return
    version, sizes = iloc[0], iloc[4:6]
    offset_size, length_size, base_size, index_size = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15
    at, left = 6, len(data)

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(iloc):
            raise Damaged("its list of items is cut short; copy the file again")
        return int.from_bytes(iloc[at - size : at], "big")

    for _ in range(number(4 if version == 2 else 2)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)  # data reference: this file
        base = number(base_size)
        parts = []
        for _ in range(number(2)):
            if version:
                number(index_size)
            start, length = base + number(offset_size), number(length_size)
            source = idat if method == 1 else data
            part = source[start : start + length] if length else source[start:]
            if len(part) < max(length, 1) or len(part) > left:
                raise Damaged("it ends inside its image; copy the file again")
            left -= len(part)
            parts.append(part)
        items.contents[item] = b"".join(parts)
