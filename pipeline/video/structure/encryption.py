"""Encryption, as the bytes of each container tell it: what is encrypted decodes to noise, or not at all."""

import io
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.errors import Unsupported
from pipeline.video.structure import ebml, iso_boxes

ENCRYPTED = frozenset({b"encv", b"enca", b"drmi", b"drms"})  # types of sample entries
LOOKED_AT_BYTES = 1 << 22  # at the beginning of a file
MOSTLY = 0.5  # share of scrambled packets from which a stream counts as encrypted

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
OF_ASF = (  # objects of its header (ASF specification, 3.14 to 3.16): content encryption, extended, advanced
    bytes.fromhex("fbb31122 23bdd211 b4b700a0c955fc6e"),
    bytes.fromhex("14e68a29 2226174c b935dae07ee9289c"),
    bytes.fromhex("33850543 8169e649 9b74ad12cb86d58c"),
)
MXF, TRIPLET = b"\x06\x0e\x2b\x34", bytes.fromhex("0d010301027e0100")  # SMPTE ST 429-6, of digital cinema
SYNC, STUFFING = 0x47, 0x1FFF  # ISO/IEC 13818-1, 2.4.3
TS_BYTES = (188, 192, 204)  # of a packet, also with a time before it, or parity behind it
FIRST_PID = 0x20  # below are tables, which are never scrambled
PACK, SECTOR_BYTES = b"\0\0\1\xba", 2048  # of DVDs
UNIT_BYTES = 6144  # of Blu-ray, that AACS encrypts as one
VIDEO = [bytes([number]) for number in range(0xE0, 0xF0)]  # stream_id, ISO/IEC 13818-1, 2.4.3.7


def check_encryption(file: BinaryIO) -> None:
    """Raise Unsupported if the video of a file is encrypted, and go back to its beginning."""
    if iso_boxes.is_iso(file):
        entries = {box[0] for above, box in iso_boxes.tree(file, 0, file.seek(0, io.SEEK_END)) if b"stsd" in above}
        encrypted = bool(entries & ENCRYPTED)
    elif ebml.is_matroska(file):
        encrypted = any(element[0] == ebml.ENCRYPTION for _, element in ebml.tree(file))
    else:
        file.seek(0)
        encrypted = _is_encrypted(file.read(LOOKED_AT_BYTES))
    file.seek(0)
    if encrypted:
        raise Unsupported("it is encrypted (DRM), which nightlift cannot read; give it a copy without encryption")


def _is_encrypted(head: bytes) -> bool:
    """Return whether a file of another container is encrypted, as far as its first bytes show."""
    if head.startswith(ASF):
        header = head[: int.from_bytes(head[16:24], "little")]
        return any(kind in header for kind in OF_ASF)
    if head.startswith(MXF):
        return TRIPLET in head
    if head.startswith(PACK):
        return _is_mostly(_sectors(head))
    layouts = ((size, start) for size in TS_BYTES for start in range(size))
    layout = next((each for each in layouts if head[each[1] : 5 * each[0] : each[0]] == bytes([SYNC] * 5)), None)
    return _is_of_blu_ray(head) if layout is None else _is_mostly(_packets(head, *layout))


def _is_mostly(packets: Iterator[tuple[int, bool]]) -> bool:
    """Return whether most packets of the largest stream are scrambled. `packets`: stream, and whether it is."""
    count, scrambled = Counter[int](), Counter[int]()
    for stream, is_scrambled in packets:
        count[stream] += 1
        scrambled[stream] += is_scrambled
    return any(scrambled[stream] > MOSTLY * packets for stream, packets in count.most_common(1))


def _packets(head: bytes, size: int, start: int) -> Iterator[tuple[int, bool]]:
    """Return the PID of each packet of a transport stream with content, and whether it is scrambled.

    Where any stream is seen to be video, as it is in clear at least in part, packets of others are left out.
    """
    packets, videos = list[tuple[int, bool]](), set[int]()
    for at in range(start, len(head) - size + 1, size):
        pid, control = int.from_bytes(head[at + 1 : at + 3]) & STUFFING, head[at + 3]
        if head[at] == SYNC and FIRST_PID <= pid < STUFFING and control & 0x10:
            packets.append((pid, bool(control & 0xC0)))  # transport_scrambling_control
            content = at + 4 + (1 + head[at + 4] if control & 0x20 else 0)
            begins_video = head[content : content + 3] == b"\0\0\1" and head[content + 3 : content + 4] in VIDEO
            if begins_video and not control & 0xC0:
                videos.add(pid)
    return ((pid, is_scrambled) for pid, is_scrambled in packets if not videos or pid in videos)


def _sectors(head: bytes) -> Iterator[tuple[int, bool]]:
    """Yield the stream_id of each packet of video on a DVD, and whether it is scrambled (PES_scrambling_control)."""
    for sector in range(0, len(head) - SECTOR_BYTES + 1, SECTOR_BYTES):
        at = sector + 14 + (head[sector + 13] & 7)  # behind the pack header and its stuffing
        while at + 6 < sector + SECTOR_BYTES and head.startswith(b"\0\0\1", at):
            if head[at + 3 : at + 4] in VIDEO:
                yield head[at + 3], bool(head[at + 6] & 0x30)
            at += 6 + int.from_bytes(head[at + 4 : at + 6])


def _is_of_blu_ray(head: bytes) -> bool:
    """Return whether this is an encrypted stream of a Blu-ray (AACS): of a unit, only the first 16 bytes are clear."""
    units = range(0, len(head) - UNIT_BYTES + 1, UNIT_BYTES)
    is_aligned = all(head[unit] & 0xC0 and head[unit + 4] == SYNC for unit in units)
    return len(units) > 1 and is_aligned and head[192 + 4] != SYNC
