"""Packets of MPEG transport streams and their tables, which say what each PID is (ISO/IEC 13818-1, 2.4)."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

SYNC, FROM_STUFFING = 0x47, 0x1FFF
SIZES = (188, 192, 204)  # bytes of a packet: plain, with a time before it, with parity behind it
SURE = 5  # packets in a row that confirm where packets begin
BLOCK_BYTES = 1 << 20  # read at a time
PAT, PAT_TABLE, PMT_TABLE = 0, 0, 2  # PID of one table, and the table_id of both
VIDEOS = frozenset({0x01, 0x02, 0x10, 0x1B, 0x20, 0x21, 0x24, 0x33, 0x42, 0xD1, 0xD2, 0xD4, 0xEA})  # stream_type
PRIVATE, REGISTRATION, REGISTERED = 0x06, 0x05, frozenset({b"HEVC", b"AV01", b"VVC ", b"VC-1", b"drac"})


def first_packets(block: bytes) -> tuple[int, int] | None:
    """Return where packets begin that follow each other, and their size; None if there are none."""
    at = block.find(SYNC)
    while at >= 0:
        for size in SIZES:
            if block[at : at + (SURE - 1) * size + 1 : size] == bytes([SYNC] * SURE):
                return at, size
        at = block.find(SYNC, at + 1)
    return None


def coding_changes(file: BinaryIO, pid: int) -> Iterator[tuple[int, bytes]]:
    """Yield where the tables say that the video has another coding from there on, or another PID.

    `pid`: of the video, where there are several programmes. Yields the offset of the table and the packet with the
    table (PAT) that a demuxer has to see before.
    """
    tables, at, size, block = _Tables(pid), 0, 0, b""
    while True:
        file.seek(at)
        block = file.read(BLOCK_BYTES)
        begins, size = (0, size) if size else first_packets(block) or (0, 0)
        if not size and len(block) < BLOCK_BYTES:
            return
        if not size:
            at += len(block) - SURE * max(SIZES)
            continue
        count = (len(block) - begins) // size
        if not count:
            return
        packets_NB = np.frombuffer(block, np.uint8, count * size, begins).reshape(count, size)
        out_of_step = np.flatnonzero(packets_NB[:, 0] != SYNC)
        whole = int(out_of_step[0]) if out_of_step.size else count
        yield from tables.changes(packets_NB[:whole], at + begins)
        at += begins + whole * size
        size = size if whole == count else 0


class _Tables:
    """Reader of the tables of a stream, which follows its video."""

    def __init__(self, pid: int) -> None:
        self.pat = b""  # last packet with it
        self._pid, self._coding = pid, b""
        self._programme: int | None = None  # that the video belongs to
        self._programmes: dict[int, int] = {}  # PID of each one's table
        self._seen: dict[int, bytes] = {}  # last packet of each PID, as most are repeated
        self._begun: dict[int, tuple[int, bytes]] = {}  # where a section of each PID begins, and what is there of it

    def changes(self, packets_NB: npt.NDArray[np.uint8], start: int) -> Iterator[tuple[int, bytes]]:
        """Yield the changes in packets that lie one behind the other from the offset `start` on."""
        pids_N = (packets_NB[:, 1].astype(np.uint16) & FROM_STUFFING >> 8) << 8 | packets_NB[:, 2]
        done, size = 0, packets_NB.shape[1]
        while done < len(pids_N):
            known = dict(self._programmes)
            for row in done + np.flatnonzero(np.isin(pids_N[done:], [PAT, *known.values()])):
                done = int(row) + 1
                for at, section in self._sections(int(pids_N[row]), packets_NB[row].tobytes(), start + int(row) * size):
                    if self._is_change(section):
                        yield at, self.pat
                if self._programmes != known:
                    break
            else:
                return

    def _sections(self, pid: int, packet: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        """Yield each section that this packet completes, with the offset of the packet that it begins in."""
        control, begins = packet[3], bool(packet[1] & 0x40)
        payload = packet[4 + (1 + packet[4] if control & 0x20 else 0) : SIZES[0]]
        if not control & 0x10 or not payload or (begins and self._seen.get(pid) == payload):
            return
        if begins:
            self._seen[pid] = payload
            self._begun[pid] = at, payload[1 + payload[0] :]
        elif pid in self._begun:
            self._begun[pid] = self._begun[pid][0], self._begun[pid][1] + payload
        begun, found = self._begun.pop(pid, (at, b""))
        while found and found[0] != 0xFF:
            length = 3 + (int.from_bytes(found[1:3]) & 0xFFF)
            if len(found) < max(length, 3):
                self._begun[pid] = begun, found
                return
            section, found = found[:length], found[length:]
            is_current = len(section) > 12 and bool(section[5] & 1)  # current_next_indicator
            if is_current and _crc(section) == 0:
                if section[0] == PAT_TABLE and pid == PAT:
                    self.pat = packet
                yield begun, section

    def _is_change(self, section: bytes) -> bool:
        """Note what a table says, and return whether it gives the video another coding, or another PID."""
        number = int.from_bytes(section[3:5])
        if section[0] == PAT_TABLE:
            places = range(8, len(section) - 7, 4)
            told = {int.from_bytes(section[at : at + 2]): int.from_bytes(section[at + 2 : at + 4]) for at in places}
            self._programmes = {each: pid & FROM_STUFFING for each, pid in told.items() if each}
            return False
        videos = _videos(section) if section[0] == PMT_TABLE else {}
        is_only = len(self._programmes) == 1
        if not videos or not (is_only or self._pid in videos or number == self._programme):
            return False
        last = self._coding
        is_same = self._pid in videos
        self._programme, self._pid = number, self._pid if is_same else next(iter(videos))
        self._coding = videos[self._pid]
        return bool(last) and (last != self._coding or not is_same)


def _videos(section: bytes) -> dict[int, bytes]:
    """Return the coding of each video of a programme, by PID: its stream_type, and who registered a private one."""
    videos = {}
    at = 12 + (int.from_bytes(section[10:12]) & 0xFFF)
    while at + 5 <= len(section) - 4:
        kind, pid = section[at], int.from_bytes(section[at + 1 : at + 3]) & FROM_STUFFING
        behind = at + 5 + (int.from_bytes(section[at + 3 : at + 5]) & 0xFFF)
        registered = _registered(section[at + 5 : behind])
        if kind in VIDEOS or (kind == PRIVATE and registered in REGISTERED):
            videos[pid] = bytes([kind]) + (registered if kind == PRIVATE else b"")
        at = behind
    return videos


def _registered(descriptors: bytes) -> bytes:
    """Return the format_identifier of the registration descriptor (2.6.8), or nothing."""
    while len(descriptors) >= 2:
        tag, length = descriptors[:2]
        if tag == REGISTRATION:
            return descriptors[2:6]
        descriptors = descriptors[2 + length :]
    return b""


def _crc(section: bytes) -> int:
    """Return the CRC of annex A, which is 0 for a whole section."""
    crc = 0xFFFFFFFF
    for byte in section:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        crc &= 0xFFFFFFFF
    return crc
