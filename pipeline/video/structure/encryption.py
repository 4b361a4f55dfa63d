"""Encryption, as the bytes of each container tell it: what is encrypted decodes to noise, or not at all."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pipeline.errors import Unsupported
from pipeline.video.structure import ebml, iso_boxes
from pipeline.video.structure.transport_stream import FROM_STUFFING, SIZES, SYNC, first_packets

VIDEO_ENTRIES = frozenset({b"encv", b"drmi"})  # types of sample entries
OTHER_ENTRIES = frozenset({b"enca", b"drms", b"encs", b"enct", b"encm"})
LOOKED_AT_BYTES = 1 << 22  # at the beginning of a file
MOSTLY = 0.5  # share of scrambled packets from which a stream counts as encrypted

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
OF_ASF = (  # objects of its header (ASF specification, 3.14 to 3.16): content encryption, extended, advanced
    bytes.fromhex("fbb31122 23bdd211 b4b700a0c955fc6e"),
    bytes.fromhex("14e68a29 2226174c b935dae07ee9289c"),
    bytes.fromhex("33850543 8169e649 9b74ad12cb86d58c"),
)
MXF, TRIPLET = b"\x06\x0e\x2b\x34", bytes.fromhex("0d010301027e0100")  # SMPTE ST 429-6, of digital cinema
FIRST_PID = 0x20  # below are tables, which are never scrambled (ISO/IEC 13818-1, 2.4.3)
PACK, SECTOR_BYTES = b"\0\0\1\xba", 2048  # of DVDs
UNIT_BYTES = 6144  # of Blu-ray, that AACS encrypts as one
VIDEO, SOUND, PRIVATE = range(0xE0, 0xF0), range(0xC0, 0xE0), 0xBD  # stream_id, ISO/IEC 13818-1, 2.4.3.7
OF_SYSTEM = 0x100  # with a stream_id, this is FFmpeg's ID of a stream; of a private one, it is its first byte

Encrypted = tuple[bool, frozenset[int]]
"""Whether the video is encrypted, and which other streams are."""


def check_encryption(file: BinaryIO) -> frozenset[int]:
    """Raise Unsupported if the video of a file is encrypted, and go back to its beginning.

    Returns the streams beside it that are encrypted, as sound alone may be: their IDs in FFmpeg or, in Matroska, their
    places.
    """
    if iso_boxes.is_iso(file):
        is_video, others = _of_iso(file)
    elif ebml.is_matroska(file):
        is_video, others = _of_matroska(file)
    else:
        file.seek(0)
        is_video, others = _of_others(file.read(LOOKED_AT_BYTES))
    file.seek(0)
    if is_video:
        raise Unsupported("it is encrypted (DRM), which nightlift cannot read; give it a copy without encryption")
    return others


def _of_iso(file: BinaryIO) -> Encrypted:
    track, entries = 0, list[tuple[int, bytes]]()
    for above, (kind, at, _) in iso_boxes.tree(file, 0, file.seek(0, io.SEEK_END)):
        if kind == b"tkhd":
            (version,) = iso_boxes.fields(file, at, ">B")
            (track,) = iso_boxes.fields(file, at + (20 if version else 12), ">I")
        elif above[-1:] == (b"stsd",):
            entries.append((track, kind))
    return any(kind in VIDEO_ENTRIES for _, kind in entries), frozenset(
        track for track, kind in entries if kind in OTHER_ENTRIES
    )


def _of_matroska(file: BinaryIO) -> Encrypted:
    kinds: list[int] = []  # of all tracks
    encrypted: set[int] = set()
    for above, element in ebml.tree(file):
        if element[0] == ebml.TRACK_TYPE and above[-1:] == (ebml.TRACK,):
            kinds[-1] = ebml.number_in(file, element)
        elif element[0] == ebml.TRACK:
            kinds.append(ebml.OF_VIDEO)
        elif element[0] == ebml.ENCRYPTION:
            encrypted.add(len(kinds) - 1)
    videos = {track for track in encrypted if kinds[track] == ebml.OF_VIDEO}
    return bool(videos), frozenset(encrypted - videos)


def _of_others(head: bytes) -> Encrypted:
    """Return what is encrypted in a file of another container, as far as its first bytes show."""
    if head.startswith(ASF):
        header = head[: int.from_bytes(head[16:24], "little")]
        return any(kind in header for kind in OF_ASF), frozenset()
    if head.startswith(MXF):
        return TRIPLET in head, frozenset()
    if head.startswith(PACK):
        scrambled, videos = _scrambled(_sectors(head)), {OF_SYSTEM + each for each in VIDEO}
        return bool(scrambled & videos), scrambled - videos
    layout = first_packets(head[: 6 * max(SIZES)])
    return (_is_of_blu_ray(head), frozenset()) if layout is None else _of_transport_stream(head, *layout)


def _scrambled(packets: Iterable[tuple[int, bool]]) -> frozenset[int]:
    """Return the streams most of whose packets are scrambled. `packets`: ID of the stream, and whether it is."""
    count, scrambled = Counter[int](), Counter[int]()
    for stream, is_scrambled in packets:
        count[stream] += 1
        scrambled[stream] += is_scrambled
    return frozenset(stream for stream in count if scrambled[stream] > MOSTLY * count[stream])


def _of_transport_stream(head: bytes, start: int, size: int) -> Encrypted:
    """Return what is scrambled of a stream with packets of `size` bytes from `start` on.

    The largest stream is its video or, where any is seen to be video, as they are in clear at least in part, of these.
    """
    packets, videos = list[tuple[int, bool]](), set[int]()
    for at in range(start, len(head) - size + 1, size):
        pid, control = int.from_bytes(head[at + 1 : at + 3]) & FROM_STUFFING, head[at + 3]
        if head[at] == SYNC and FIRST_PID <= pid < FROM_STUFFING and control & 0x10:
            packets.append((pid, bool(control & 0xC0)))  # transport_scrambling_control
            content = at + 4 + (1 + head[at + 4] if control & 0x20 else 0)
            begins_video = head[content : content + 3] == b"\0\0\1" and head[content + 3] in VIDEO
            if begins_video and not control & 0xC0:
                videos.add(pid)
    largest = Counter(pid for pid, _ in packets if not videos or pid in videos).most_common(1)
    scrambled = _scrambled(packets)
    return any(pid in scrambled for pid, _ in largest), scrambled - videos


def _sectors(head: bytes) -> Iterator[tuple[int, bool]]:
    """Yield the ID of the stream of each packet on a DVD, and whether it is scrambled (PES_scrambling_control)."""
    for sector in range(0, len(head) - SECTOR_BYTES + 1, SECTOR_BYTES):
        at = sector + 14 + (head[sector + 13] & 7)  # behind the pack header and its stuffing
        while at + 9 < sector + SECTOR_BYTES and head.startswith(b"\0\0\1", at):
            stream, content = head[at + 3], at + 9 + head[at + 8]
            if stream in VIDEO or stream in SOUND:
                yield OF_SYSTEM + stream, bool(head[at + 6] & 0x30)
            elif stream == PRIVATE and content < sector + SECTOR_BYTES:
                yield head[content], bool(head[at + 6] & 0x30)
            at += 6 + int.from_bytes(head[at + 4 : at + 6])


def _is_of_blu_ray(head: bytes) -> bool:
    """Return whether this is an encrypted stream of a Blu-ray (AACS): of a unit, only the first 16 bytes are clear."""
    units = range(0, len(head) - UNIT_BYTES + 1, UNIT_BYTES)
    is_aligned = all(head[unit] & 0xC0 and head[unit + 4] == SYNC for unit in units)
    return len(units) > 1 and is_aligned and head[192 + 4] != SYNC
