"""EXIF, changed in place: all other bytes stay where they are, so that offsets inside MakerNotes stay valid.

An EXIF block is a TIFF file (TIFF 6.0 section 2) without pixels (EXIF 2.32 section 4.5).
"""

import struct
from collections.abc import Iterator

ORIENTATION = 0x0112
EXIF_IFD = 0x8769
PREFIX = b"Exif\x00\x00"
ENTRY_BYTES = 12

SHORT, LONG = 3, 4

WIDTHS, HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
RESOLUTIONS = (0x011A, 0x011B)  # swapped when the image is turned by a quarter


def without_prefix(data: bytes) -> bytes:
    """Remove the prefix, `Exif` and two zero bytes, which only some containers put before the TIFF block."""
    return data.removeprefix(PREFIX)


def orientation(block: bytes) -> int | None:
    """Return the EXIF orientation of the stored pixels: 1 to 8 (1 for invalid values), None if it is not stated.

    Raises ValueError if the block has no readable first directory.
    """
    order = _byte_order(block)
    at = dict(_entries(block, struct.unpack_from(order + "I", block, 4)[0], order)).get(ORIENTATION)
    if at is None:
        return None
    stated = _number(block, at, order)
    return stated if 1 <= stated <= 8 else 1


def upright(block: bytes, size: tuple[int, int]) -> bytes:
    """Update the block for pixels that were turned upright; `size` is their new width and height.

    The orientation is set to 1, width and height are corrected, and the resolutions are swapped after a quarter turn.
    The thumbnail, which shows the image before enhancement, is unlinked. Raises ValueError as `orientation` does.
    """
    order = _byte_order(block)
    first = struct.unpack_from(order + "I", block, 4)[0]
    fields = dict(_entries(block, first, order))
    if EXIF_IFD in fields:
        fields |= dict(_entries(block, _number(block, fields[EXIF_IFD], order), order))
    before = orientation(block) or 1
    patched = bytearray(block)
    if ORIENTATION in fields:
        _set(patched, fields[ORIENTATION], 1, order)
    for tags, side in zip((WIDTHS, HEIGHTS), size, strict=True):
        for tag in tags:
            if tag in fields:
                _set(patched, fields[tag], side, order)
    if before >= 5 and all(tag in fields for tag in RESOLUTIONS):
        _swap(patched, fields[RESOLUTIONS[0]], fields[RESOLUTIONS[1]])
    _unlink_next(patched, first, order)
    return bytes(patched)


def as_shown(block: bytes, size: tuple[int, int], notes: list[str]) -> bytes | None:
    """Mark the EXIF as upright, for pixels that a decoder has already turned by the container's own properties.

    None, with a note, if it is damaged.
    """
    try:
        return upright(block, size)
    except (ValueError, struct.error) as error:
        notes.append(f"EXIF dropped: it is damaged ({error})")
        return None


def without_orientation(block: bytes) -> bytes:
    """Remove the orientation from the first directory; nothing behind the directory moves. Empty if it was alone there.

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
        raise ValueError("the first directory lies outside the block")
    if first + 2 + ENTRY_BYTES * struct.unpack_from(order + "H", block, first)[0] > len(block):
        raise ValueError("the first directory is cut short")
    return order


def _entries(block: bytes, directory: int, order: str) -> Iterator[tuple[int, int]]:
    """Yield tag and offset of each directory entry that lies inside the block."""
    if directory + 2 > len(block):
        return
    count = struct.unpack_from(order + "H", block, directory)[0]
    for at in range(directory + 2, min(directory + 2 + count * ENTRY_BYTES, len(block) - ENTRY_BYTES + 1), ENTRY_BYTES):
        yield struct.unpack_from(order + "H", block, at)[0], at


def _number(block: bytes, at: int, order: str) -> int:
    """Return the first value of an entry. The standard demands SHORT or LONG, but some writers use BYTE."""
    layout = {1: "B", LONG: "I"}.get(struct.unpack_from(order + "H", block, at + 2)[0], "H")
    return int(struct.unpack_from(order + layout, block, at + 8)[0])


def _set(patched: bytearray, at: int, value: int, order: str) -> None:
    """Set an entry to one number, as LONG if the entry is LONG or the number needs it, else as SHORT."""
    if struct.unpack_from(order + "H", patched, at + 2)[0] == LONG or value > 65535:
        struct.pack_into(order + "HII", patched, at + 2, LONG, 1, value)
    else:  # left-justified in its four bytes
        struct.pack_into(order + "HIHH", patched, at + 2, SHORT, 1, value, 0)


def _swap(patched: bytearray, one: int, other: int) -> None:
    """Swap type, count and value of two entries; their tags stay."""
    first, second = slice(one + 2, one + ENTRY_BYTES), slice(other + 2, other + ENTRY_BYTES)
    patched[first], patched[second] = patched[second], patched[first]


def _unlink_next(patched: bytearray, directory: int, order: str) -> None:
    count = struct.unpack_from(order + "H", patched, directory)[0]
    at = directory + 2 + count * ENTRY_BYTES
    if at + 4 <= len(patched):
        struct.pack_into(order + "I", patched, at, 0)
