"""EXIF, changed in place: what is not wrong stays byte for byte, so that offsets inside MakerNotes stay true.

EXIF 2.32 section 4.5; the block is a TIFF file (TIFF 6.0 section 2) without pixels.
"""

import struct
from collections.abc import Iterator

ORIENTATION = 0x0112
EXIF_IFD = 0x8769
PREFIX = b"Exif\x00\x00"
ENTRY_BYTES = 12

# Pairs that trade places when the picture is turned by a quarter: width and height, in pixels and in resolution.
ACROSS = ((0x0100, 0x0101), (0x011A, 0x011B), (0xA002, 0xA003))


def without_prefix(data: bytes) -> bytes:
    """The TIFF block alone: some containers put `Exif` and two zero bytes before it, others do not."""
    return data.removeprefix(PREFIX)


def upright(block: bytes) -> tuple[bytes, int | None]:
    """The block for pixels that have been turned upright, and the orientation (1 to 8) they had before.

    Orientation becomes 1; width and height trade places if it was a quarter turn; the thumbnail, which shows
    the picture as it was, is unlinked. The orientation is None where the block has none. Raises ValueError where
    the block has no readable first directory.
    """
    order = _byte_order(block)
    first = struct.unpack_from(order + "I", block, 4)[0]
    patched = bytearray(block)
    fields = dict(_entries(block, first, order))
    orientation = None
    if ORIENTATION in fields:
        at = fields[ORIENTATION]
        orientation = _short(block, at, order)
        # type SHORT, one value, left-justified in the four bytes: whatever was there before
        struct.pack_into(order + "HHIHH", patched, at, ORIENTATION, 3, 1, 1, 0)
        if not 1 <= orientation <= 8:
            orientation = 1
    if orientation is not None and orientation >= 5:
        if EXIF_IFD in fields:
            nested = struct.unpack_from(order + "I", block, fields[EXIF_IFD] + 8)[0]
            fields |= dict(_entries(block, nested, order))
        for one, other in ACROSS:
            if one in fields and other in fields:
                _swap(patched, fields[one], fields[other])
    _unlink_next(patched, first, order)
    return bytes(patched), orientation


def without_orientation(block: bytes) -> bytes:
    """The block with its orientation taken out of the first directory, nothing else moved; empty if that was all.

    For containers that state the orientation themselves. Raises ValueError as `upright` does.
    """
    order = _byte_order(block)
    first = struct.unpack_from(order + "I", block, 4)[0]
    at = dict(_entries(block, first, order)).get(ORIENTATION)
    if at is None:
        return block
    count = struct.unpack_from(order + "H", block, first)[0]
    if count == 1:
        return b""
    end = first + 2 + count * ENTRY_BYTES + 4
    patched = bytearray(block)
    struct.pack_into(order + "H", patched, first, count - 1)
    patched[at : end - ENTRY_BYTES] = block[at + ENTRY_BYTES : end]
    return bytes(patched)


def _byte_order(block: bytes) -> str:
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 14 or struct.unpack_from(order + "H", block, 2)[0] != 42:
        raise ValueError("no TIFF header")
    first = struct.unpack_from(order + "I", block, 4)[0]
    if not 8 <= first <= len(block) - 2:
        raise ValueError("the first directory lies outside")
    if first + 2 + ENTRY_BYTES * struct.unpack_from(order + "H", block, first)[0] > len(block):
        raise ValueError("the first directory is cut short")
    return order


def _entries(block: bytes, directory: int, order: str) -> Iterator[tuple[int, int]]:
    """Tag and place of each entry that lies inside the block."""
    if directory + 2 > len(block):
        return
    count = struct.unpack_from(order + "H", block, directory)[0]
    for at in range(directory + 2, min(directory + 2 + count * ENTRY_BYTES, len(block) - ENTRY_BYTES + 1), ENTRY_BYTES):
        yield struct.unpack_from(order + "H", block, at)[0], at


def _short(block: bytes, at: int, order: str) -> int:
    """The number of an entry: SHORT by the standard, LONG and BYTE by some writers."""
    layout = {1: "B", 3: "H", 4: "I"}.get(struct.unpack_from(order + "H", block, at + 2)[0], "H")
    return int(struct.unpack_from(order + layout, block, at + 8)[0])


def _swap(patched: bytearray, one: int, other: int) -> None:
    """Trade type, count and value of two entries; their tags stay."""
    first, second = slice(one + 2, one + ENTRY_BYTES), slice(other + 2, other + ENTRY_BYTES)
    patched[first], patched[second] = patched[second], patched[first]


def _unlink_next(patched: bytearray, directory: int, order: str) -> None:
    count = struct.unpack_from(order + "H", patched, directory)[0]
    at = directory + 2 + count * ENTRY_BYTES
    if at + 4 <= len(patched):
        struct.pack_into(order + "I", patched, at, 0)
