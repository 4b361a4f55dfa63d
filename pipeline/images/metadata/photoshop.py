"""Image resources of Photoshop, which hold IPTC and a thumbnail (Adobe Photoshop File Formats, "Image Resources").

A resource is `8BIM`, a number, a name, and data, the last two padded to even lengths. IPTC-IIM (version 4.2) is a row
of data sets: 0x1C, record, number, length, content.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

PREFIX = b"Photoshop 3.0\x00"
IPTC, IPTC_DIGEST = 0x0404, 0x0425
THUMBNAILS = frozenset((0x0409, 0x040C))  # 1033, 1036
PREVIEWS = frozenset(((2, 200), (2, 201), (2, 202)))  # IPTC data sets ObjectPreview...: format, version, data
SHORTEST = 12  # bytes of a resource without name and data
EXTENDED = 0x8000  # IIM section 1.6.2: the other bits tell how many bytes the length has


class Resource(NamedTuple):
    head: bytes
    """Signature, number and padded name."""
    number: int
    data: bytes


def without_previews(block: bytes) -> bytes:
    """Remove Photoshop's thumbnail and the preview in IPTC; a block without these, or a broken one, stays as it is."""
    try:
        found = list(resources(block))
    except (ValueError, struct.error):
        return block
    kept = [each for each in found if each.number not in THUMBNAILS]
    iptc = {each.data: without_iptc_preview(each.data) for each in kept if each.number == IPTC}
    if len(kept) == len(found) and all(before == after for before, after in iptc.items()):
        return block
    digests = {hashlib.md5(before).digest(): hashlib.md5(after).digest() for before, after in iptc.items()}
    changes = {IPTC: iptc, IPTC_DIGEST: digests}
    return written(each._replace(data=changes.get(each.number, {}).get(each.data, each.data)) for each in kept)


def without_iptc_preview(stream: bytes) -> bytes:
    """Remove the preview from IPTC data sets; what cannot be read stays as it is."""
    kept, at = bytearray(), 0
    while at + 5 <= len(stream) and stream[at] == 0x1C:
        record, number, length = struct.unpack_from(">BBH", stream, at + 1)
        start = at + 5
        if length & EXTENDED:
            start += length & ~EXTENDED
            length = int.from_bytes(stream[at + 5 : start], "big")
        if (record, number) not in PREVIEWS:
            kept += stream[at : start + length]
        at = start + length
    return bytes(kept) + stream[at:]


def has_iptc(block: bytes) -> bool:
    try:
        return any(each.number == IPTC for each in resources(block))
    except (ValueError, struct.error):
        return True


def with_iptc(stream: bytes) -> bytes:
    """Return a block that holds nothing but these IPTC data sets."""
    return written([Resource(b"8BIM" + struct.pack(">HH", IPTC, 0), IPTC, stream)])


def written(found: Iterable[Resource]) -> bytes:
    return b"".join(
        each.head + struct.pack(">I", len(each.data)) + each.data + b"\x00" * (len(each.data) & 1) for each in found
    )


def resources(block: bytes) -> Iterator[Resource]:
    """Yield all resources. Raises ValueError or struct.error if the block is broken."""
    at = 0
    while len(block) - at >= SHORTEST and any(block[at : at + 4]):
        number = struct.unpack_from(">H", block, at + 4)[0]
        behind_name = at + 6 + (block[at + 6] + 2 & ~1)
        length = struct.unpack_from(">I", block, behind_name)[0]
        start = behind_name + 4
        if not block[at : at + 4].isalnum() or start + length > len(block):
            raise ValueError("no image resource")
        yield Resource(block[at:behind_name], number, block[start : start + length])
        at = start + length + (length & 1)
