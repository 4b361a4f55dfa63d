"""EXIF, changed in place: all other bytes stay where they are, so that offsets inside MakerNotes stay valid.

An EXIF block is a TIFF file (TIFF 6.0 section 2) without pixels (EXIF 2.32 section 4.5).
"""

import struct
from collections.abc import Callable
from contextlib import suppress

from pipeline.images.metadata import ifd, jpeg_markers, photoshop, regions, tags
from pipeline.images.metadata.ifd import LONG, SHORT, Entry, entries

PREFIX = b"Exif\x00\x00"
HEADERS = tuple(ifd.HEADERS.values())
ENTRY_BYTES = 12

WIDTHS, HEIGHTS = (tags.WIDTH, tags.PIXEL_WIDTH), (tags.LENGTH, tags.PIXEL_HEIGHT)
RESOLUTIONS = (tags.X_RESOLUTION, tags.Y_RESOLUTION)  # swapped when the image is turned by a quarter


def without_prefix(data: bytes) -> bytes:
    """Remove the prefix, `Exif` and two zero bytes, which only some containers put before the TIFF block."""
    return data.removeprefix(PREFIX)


def orientation(block: bytes) -> int | None:
    """Return the EXIF orientation of the stored pixels: 1 to 8 (1 for invalid values), None if it is not stated.

    Raises ValueError if the block has no readable first directory.
    """
    order, _, fields = first_directory(block)
    if tags.ORIENTATION not in fields:
        return None
    stated = _number(block, fields[tags.ORIENTATION], order)
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
    order, first, fields = first_directory(block)
    if tags.EXIF_IFD in fields:
        fields |= _fields(block, _number(block, fields[tags.EXIF_IFD], order), order)
    before = orientation(block) or 1
    patched = bytearray(block)
    for tag in (tags.SUBJECT_AREA, tags.SUBJECT_LOCATION):
        if tag in fields and before > 1:
            _turn_area(patched, fields[tag], order, before, size)
    if tags.ORIENTATION in fields:
        _set(patched, fields[tags.ORIENTATION], 1, order)
    for sides, length in zip((WIDTHS, HEIGHTS), size, strict=True):
        for tag in sides:
            if tag in fields:
                _set(patched, fields[tag], length, order)
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
    return _without(block, tags.ORIENTATION)


def without_previews(block: bytes) -> bytes:
    """Remove images of the image before enhancement; all else stays in its place. Empty if nothing else was there.

    They are the thumbnail in Photoshop's resources; the preview in IPTC; further directories of images; and JPEG
    streams, in the thumbnail directory and in maker notes, whose bytes become 0. Raises ValueError as `orientation`
    does.
    """
    patched = bytearray(_without(block, tags.SUB_IFDS))
    for tag, clean in ((tags.PHOTOSHOP, photoshop.without_previews), (tags.IPTC, photoshop.without_iptc_preview)):
        if patched:
            patched = _with_cleaned(patched, tag, clean)
    for start, end in jpeg_markers.streams(bytes(patched)):
        patched[start:end] = bytes(end - start)
    return bytes(patched)


def _with_cleaned(block: bytearray, tag: int, clean: Callable[[bytes], bytes]) -> bytearray:
    """Return the block with a shorter value of a field of the first directory; without the field if that is empty."""
    order, _, fields = first_directory(block)
    place = _value(block, fields[tag]) if tag in fields else None
    if place is None:
        return block
    before = bytes(block[place])
    after = clean(before)
    if not after:
        block[place] = bytes(len(before))  # a TIFF gets the block as it is
        return bytearray(_without(block, tag))
    if len(after) < len(before):
        block[place] = after.ljust(len(before), b"\x00")
        struct.pack_into(order + "I", block, fields[tag].at + 4, -(-len(after) // ifd.TYPE_BYTES[fields[tag].kind]))
    return block


def without_unused_end(block: bytes) -> bytes:
    """Remove zeros behind the last value that a directory refers to, such as padding or a thumbnail removed before.

    Raises ValueError as `orientation` does.
    """
    order, first, _ = first_directory(block)
    directories, seen, used = [first], set[int](), 8
    while directories:
        directory = directories.pop()
        if directory in seen or not 8 <= directory <= len(block) - 2:
            continue
        seen.add(directory)
        for entry in entries(block, directory, order):
            place = _value(block, entry)
            used = max(used, entry.at + ENTRY_BYTES + 4, place.stop if place else 0)
            if entry.tag in ifd.NESTED | {tags.SUB_IFDS}:
                directories.append(_number(block, entry, order))
    return block[: max(used, len(block.rstrip(b"\x00")))]


def _without(block: bytes | bytearray, tag: int) -> bytes:
    """Remove a field of the first directory; nothing behind the directory moves. Empty if it was alone there."""
    order, first, fields = first_directory(block)
    if tag not in fields:
        return bytes(block)
    count = struct.unpack_from(order + "H", block, first)[0]
    if count == 1:
        return b""
    at, behind = fields[tag].at, ifd.end_of_entries(block, first, order) + 4
    patched = bytearray(block)
    struct.pack_into(order + "H", patched, first, count - 1)
    patched[at : behind - ENTRY_BYTES] = block[at + ENTRY_BYTES : behind]
    return bytes(patched)


def first_directory(block: bytes | bytearray) -> tuple[str, int, dict[int, Entry]]:
    """Return byte order, offset and entries of the first directory. Raises ValueError if it is not readable."""
    if len(block) < 14 or not block.startswith(HEADERS):
        raise ValueError("no TIFF header")
    order = ifd.byte_order(block)
    first = ifd.first_offset(block, order)
    if not 8 <= first <= len(block) - 2:
        raise ValueError("the first directory lies outside the block")
    if ifd.end_of_entries(block, first, order) > len(block):
        raise ValueError("the first directory is cut short")
    return order, first, _fields(block, first, order)


def _fields(block: bytes | bytearray, directory: int, order: str) -> dict[int, Entry]:
    return {entry.tag: entry for entry in entries(block, directory, order)} if directory + 2 <= len(block) else {}


def _value(block: bytes | bytearray, entry: Entry) -> slice | None:
    """Return where the value of an entry lies, if it is not in the entry itself and inside the block."""
    behind = entry.place + entry.size
    return slice(entry.place, behind) if entry.size > 4 and behind <= len(block) else None


def _number(block: bytes | bytearray, entry: Entry, order: str) -> int:
    """Return the first value of an entry. The standard demands SHORT or LONG, but some writers use BYTE."""
    layout = {ifd.BYTE: "B", LONG: "I"}.get(entry.kind, "H")
    return int(struct.unpack_from(order + layout, block, entry.at + 8)[0])


def _set(patched: bytearray, entry: Entry, value: int, order: str) -> None:
    """Set an entry to one number, as LONG if the entry is LONG or the number needs it, else as SHORT."""
    if entry.kind == LONG or value > 65535:
        struct.pack_into(order + "HII", patched, entry.at + 2, LONG, 1, value)
    else:  # left-justified in its four bytes
        struct.pack_into(order + "HIHH", patched, entry.at + 2, SHORT, 1, value, 0)


def _turn_area(patched: bytearray, entry: Entry, order: str, orientation: int, size: tuple[int, int]) -> None:
    """Turn a point, a circle or a rectangle around a point (EXIF 2.32, SubjectArea), given in stored pixels."""
    count, place = entry.length, entry.place
    if entry.kind != SHORT or not 2 <= count <= 4 or place + 2 * count > len(patched):
        return
    x, y, *extent = struct.unpack_from(f"{order}{count}H", patched, place)
    width, height = size if orientation < 5 else size[::-1]
    x, y = regions.turned_point(x / width, y / height, orientation)
    turned = [min(max(round(value), 0), 65535) for value in (x * size[0], y * size[1])]
    struct.pack_into(f"{order}{count}H", patched, place, *turned, *(extent if orientation < 5 else extent[::-1]))


def _swap(patched: bytearray, one: Entry, other: Entry) -> None:
    """Swap type, count and value of two entries; their tags stay."""
    first, second = (slice(entry.at + 2, entry.at + ENTRY_BYTES) for entry in (one, other))
    patched[first], patched[second] = patched[second], patched[first]


def _unlink_next(patched: bytearray, directory: int, order: str) -> None:
    at = ifd.end_of_entries(patched, directory, order)
    if at + 4 <= len(patched):
        struct.pack_into(order + "I", patched, at, 0)
