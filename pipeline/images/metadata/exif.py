"""EXIF, changed in place: all other bytes stay where they are, so that offsets inside MakerNotes stay valid.

An EXIF block is a TIFF file (TIFF 6.0 section 2) without pixels (EXIF 2.32 section 4.5).
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from pipeline.images.metadata import ifd, jpeg_markers, photoshop, regions

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD, SUB_IFDS = 0x8769, 0x8825, 0xA005, 0x014A
SUBJECT_AREA, SUBJECT_LOCATION = 0x9214, 0xA214
IPTC, PHOTOSHOP = 0x83BB, 0x8649
PREFIX = b"Exif\x00\x00"
HEADERS = (b"II*\x00", b"MM\x00*")
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
    order = byte_order(block)
    at = dict(entries(block, struct.unpack_from(order + "I", block, 4)[0], order)).get(ORIENTATION)
    if at is None:
        return None
    stated = _number(block, at, order)
    return stated if 1 <= stated <= 8 else 1


def stated_orientation(block: bytes | None) -> int:
    """Return what `orientation` does, for pixels that a decoder has turned already; 1 if nothing readable is stated."""
    if block is not None:
        with suppress(ValueError, struct.error):
            return orientation(block) or 1
    return 1


def upright(block: bytes, size: tuple[int, int]) -> bytes:
    """Update the block for pixels that were turned upright; `size` is their new width and height.

    The orientation is set to 1, width and height are corrected, and the resolutions are swapped after a quarter turn.
    The thumbnail, which shows the image before enhancement, is unlinked. Raises ValueError as `orientation` does.
    """
    order = byte_order(block)
    first = struct.unpack_from(order + "I", block, 4)[0]
    fields = dict(entries(block, first, order))
    if EXIF_IFD in fields:
        fields |= dict(entries(block, _number(block, fields[EXIF_IFD], order), order))
    before = orientation(block) or 1
    patched = bytearray(block)
    for tag in (SUBJECT_AREA, SUBJECT_LOCATION):
        if tag in fields and before > 1:
            _turn_area(patched, fields[tag], order, before, size)
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
    """Remove the orientation from the first directory, for containers that state it themselves.

    Empty if it was alone there. Raises ValueError as `upright` does.
    """
    return _without(block, ORIENTATION)


def without_previews(block: bytes) -> bytes:
    """Remove images of the image before enhancement; all else stays in its place. Empty if nothing else was there.

    They are the thumbnail in Photoshop's resources; the preview in IPTC; further directories of images; and JPEG
    streams, in the thumbnail directory and in maker notes, whose bytes become 0. Raises ValueError as `orientation`
    does.
    """
    patched = bytearray(_without(block, SUB_IFDS))
    for tag, clean in ((PHOTOSHOP, photoshop.without_previews), (IPTC, photoshop.without_iptc_preview)):
        if patched:
            patched = _with_cleaned(patched, tag, clean)
    for start, end in jpeg_markers.streams(bytes(patched)):
        patched[start:end] = bytes(end - start)
    return bytes(patched)


def _with_cleaned(block: bytearray, tag: int, clean: Callable[[bytes], bytes]) -> bytearray:
    """Return the block with a shorter value of a field of the first directory; without the field if that is empty."""
    order = byte_order(block)
    at = dict(entries(block, struct.unpack_from(order + "I", block, 4)[0], order)).get(tag)
    place = _value(block, at, order) if at is not None else None
    if at is None or place is None:
        return block
    before = bytes(block[place])
    after = clean(before)
    if not after:
        block[place] = bytes(len(before))  # a TIFF gets the block as it is
        return bytearray(_without(block, tag))
    if len(after) < len(before):
        each = ifd.TYPE_BYTES[struct.unpack_from(order + "H", block, at + 2)[0]]
        block[place] = after.ljust(len(before), b"\x00")
        struct.pack_into(order + "I", block, at + 4, -(-len(after) // each))
    return block


def without_unused_end(block: bytes) -> bytes:
    """Remove zeros behind the last value that a directory refers to, such as padding or a thumbnail removed before.

    Raises ValueError as `orientation` does.
    """
    order = byte_order(block)
    directories, seen, used = [struct.unpack_from(order + "I", block, 4)[0]], set[int](), 8
    while directories:
        directory = directories.pop()
        if directory in seen or not 8 <= directory <= len(block) - 2:
            continue
        seen.add(directory)
        for tag, at in entries(block, directory, order):
            place = _value(block, at, order)
            used = max(used, at + ENTRY_BYTES + 4, place.stop if place else 0)
            if tag in (EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD, SUB_IFDS):
                directories.append(_number(block, at, order))
    return block[: max(used, len(block.rstrip(b"\x00")))]


def _without(block: bytes | bytearray, tag: int) -> bytes:
    """Remove a field of the first directory; nothing behind the directory moves. Empty if it was alone there."""
    order = byte_order(block)
    first = struct.unpack_from(order + "I", block, 4)[0]
    at = dict(entries(block, first, order)).get(tag)
    if at is None:
        return bytes(block)
    count = struct.unpack_from(order + "H", block, first)[0]
    if count == 1:
        return b""
    end = first + 2 + count * ENTRY_BYTES + 4
    patched = bytearray(block)
    struct.pack_into(order + "H", patched, first, count - 1)
    patched[at : end - ENTRY_BYTES] = block[at + ENTRY_BYTES : end]
    return bytes(patched)


def byte_order(block: bytes | bytearray) -> str:
    """Return the byte order as `<` or `>`, as in struct. Raises ValueError if there is no readable first directory."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None or len(block) < 14 or struct.unpack_from(order + "H", block, 2)[0] != 42:
        raise ValueError("no TIFF header")
    first = struct.unpack_from(order + "I", block, 4)[0]
    if not 8 <= first <= len(block) - 2:
        raise ValueError("the first directory lies outside the block")
    if first + 2 + ENTRY_BYTES * struct.unpack_from(order + "H", block, first)[0] > len(block):
        raise ValueError("the first directory is cut short")
    return order


def entries(block: bytes | bytearray, directory: int, order: str) -> Iterator[tuple[int, int]]:
    """Yield tag and offset of each directory entry that lies inside the block."""
    if directory + 2 > len(block):
        return
    count = struct.unpack_from(order + "H", block, directory)[0]
    for at in range(directory + 2, min(directory + 2 + count * ENTRY_BYTES, len(block) - ENTRY_BYTES + 1), ENTRY_BYTES):
        yield struct.unpack_from(order + "H", block, at)[0], at


def _value(block: bytes | bytearray, at: int, order: str) -> slice | None:
    """Return where the value of an entry lies, if it is not in the entry itself and inside the block."""
    kind, count, place = struct.unpack_from(order + "HII", block, at + 2)
    size = ifd.TYPE_BYTES.get(kind, 0) * count
    return slice(place, place + size) if size > 4 and place + size <= len(block) else None


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


def _turn_area(patched: bytearray, at: int, order: str, orientation: int, size: tuple[int, int]) -> None:
    """Turn a point, a circle or a rectangle around a point (EXIF 2.32, SubjectArea), given in stored pixels."""
    kind, count = struct.unpack_from(order + "HI", patched, at + 2)
    place = at + 8 if count == 2 else struct.unpack_from(order + "I", patched, at + 8)[0]
    if kind != SHORT or not 2 <= count <= 4 or place + 2 * count > len(patched):
        return
    x, y, *extent = struct.unpack_from(f"{order}{count}H", patched, place)
    width, height = size if orientation < 5 else size[::-1]
    x, y = regions.turned_point(x / width, y / height, orientation)
    turned = [min(max(round(value), 0), 65535) for value in (x * size[0], y * size[1])]
    struct.pack_into(f"{order}{count}H", patched, place, *turned, *(extent if orientation < 5 else extent[::-1]))


def _swap(patched: bytearray, one: int, other: int) -> None:
    """Swap type, count and value of two entries; their tags stay."""
    first, second = slice(one + 2, one + ENTRY_BYTES), slice(other + 2, other + ENTRY_BYTES)
    patched[first], patched[second] = patched[second], patched[first]


def _unlink_next(patched: bytearray, directory: int, order: str) -> None:
    count = struct.unpack_from(order + "H", patched, directory)[0]
    at = directory + 2 + count * ENTRY_BYTES
    if at + 4 <= len(patched):
        struct.pack_into(order + "I", patched, at, 0)
