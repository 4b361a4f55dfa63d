"""Boxes of ISO base media files (ISO/IEC 14496-12 section 4.2) and the properties of images (ISO/IEC 23008-12)."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from typing import NamedTuple

from pipeline.errors import Damaged
from pipeline.video.structure import iso_boxes


class Box(NamedTuple):
    """A box, or a property of an image, which is a box too."""

    type: bytes
    content: bytes


Properties = Sequence[Box]


class Colours(NamedTuple):
    """Colour coding by numbers of ITU-T H.273: `nclx` in a colour box (ISO/IEC 14496-12 section 12.1.5)."""

    primaries: int
    transfer: int
    matrix: int
    full: bool


class Coding(NamedTuple):
    """Bits and chroma of an AV1 image, by its configuration box (AV1-ISOBMFF section 2.3.3)."""

    bits: int
    sampling: str


def boxes(data: bytes, at: int = 0, *, whole: bool = True) -> Iterator[Box]:
    """Yield the boxes from `at` to the end of `data`.

    One that is longer than what is there raises Damaged, or ends there if they need not be `whole`.
    """
    for kind, start, end in iso_boxes.boxes(BytesIO(data), at, len(data), whole=whole):
        yield Box(kind, data[start:end])


def sound_boxes(data: bytes) -> Iterator[Box]:
    """Yield the boxes up to the first broken one."""
    with suppress(Damaged):
        yield from boxes(data)


def packed(kind: bytes, *contents: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, contents)), kind) + b"".join(contents)


def content_of(properties: Properties, kind: bytes) -> bytes | None:
    return next((content for found, content in properties if found == kind), None)


def coding_of(properties: Properties) -> Coding:
    """Return depth and chroma sampling; 8 bits and 4:2:0 if there is no configuration box."""
    configuration = content_of(properties, b"av1C")
    if configuration is None or len(configuration) < 4:
        return Coding(8, "4:2:0")
    flags = configuration[2]
    bits = (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    sampling = "4:0:0" if flags & 0x10 else {0: "4:4:4", 8: "4:2:2"}.get(flags & 0x0C, "4:2:0")
    return Coding(bits, sampling)


def colours_of(properties: Properties) -> Colours | None:
    """Return the numbers of the first `nclx` colour box; None if there is none."""
    for kind, content in properties:
        if kind == b"colr" and content[:4] == b"nclx" and len(content) >= 11:
            primaries, transfer, matrix = struct.unpack_from(">HHH", content, 4)
            return Colours(primaries, transfer, matrix, bool(content[10] & 0x80))
    return None


def clean_aperture(properties: Properties, width: int, height: int) -> tuple[slice, slice] | None:
    """Return the rows and columns to show (`clap`, ISO/IEC 14496-12 section 12.1.4); None: all, or it is invalid."""
    clap = content_of(properties, b"clap")
    if clap is None or len(clap) < 32:
        return None
    numbers = struct.unpack_from(">IIIIiIiI", clap)
    if not all(numbers[1::2]):
        return None
    wide, high, x, y = (Fraction(numbers[at], numbers[at + 1]) for at in range(0, 8, 2))
    left, top = x + Fraction(width - 1, 2) - (wide - 1) / 2, y + Fraction(height - 1, 2) - (high - 1) / 2
    columns, rows = slice(round(left), round(left + wide)), slice(round(top), round(top + high))
    if not (0 <= columns.start < columns.stop <= width and 0 <= rows.start < rows.stop <= height):
        return None
    return rows, columns


def turned(properties: Sequence[tuple[bytes, bytes]]) -> tuple[Box, ...]:
    """Swap the width and height of pixels (`pasp`) for an image that was turned by a quarter."""
    return tuple(
        Box(kind, content[4:8] + content[:4]) if kind == b"pasp" else Box(kind, content) for kind, content in properties
    )
