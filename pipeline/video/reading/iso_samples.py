"""Check of the sample count of an MP4, MOV or 3GP (ISO/IEC 14496-12), before FFmpeg allocates memory for each one."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipeline.errors import Damaged

FIRST = frozenset(b"ftyp styp moov moof mdat free skip wide pnot uuid".split())  # boxes that a file may begin with
PARENTS = frozenset(b"moov trak mdia minf stbl moof traf".split())
MAX_DEPTH = 6
HARMLESS = 1_000_000  # samples, which take some tens of megabytes


@dataclass(slots=True)
class _Track:
    """Properties of the current track. For uncompressed audio, FFmpeg allocates memory only for blocks."""

    is_sound: bool = False
    is_steady: bool = False
    """Whether each sample takes one unit of time."""


def check_samples(file: BinaryIO) -> None:
    """Raise Damaged if the file announces more samples than HARMLESS and than it has bytes. Other formats pass."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(8)[4:] in FIRST and (announced := _samples(file, 0, size, _Track())) > max(HARMLESS, size):
        raise Damaged(f"its header announces {announced} samples in {size} bytes; copy the file again")
    file.seek(0)


def _samples(file: BinaryIO, start: int, end: int, track: _Track, depth: int = 0) -> int:
    """Count the samples of all tables between two offsets that state a count, but no size for each sample."""
    announced = 0
    for kind, at, behind in _boxes(file, start, end):
        if kind == b"trak":
            track = _Track()
        if kind in PARENTS and depth < MAX_DEPTH:
            announced += _samples(file, at, behind, track, depth + 1)
        elif kind == b"hdlr":
            track.is_sound = _fields(file, at + 8, "4s") == (b"soun",)
        elif kind == b"stts":
            count, _, units = _fields(file, at + 4, ">III")
            track.is_steady = (count, units) == (1, 1)
        elif kind == b"stsz":
            each_bytes, count = _fields(file, at + 4, ">II")
            announced += count if each_bytes and not (track.is_sound and track.is_steady) else 0
        elif kind == b"trun":
            flags, count = _fields(file, at, ">II")
            announced += 0 if flags & 0xF00 else count
    return announced


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each box between two offsets: its type, and where its content begins and ends."""
    while start + 8 <= end:
        size, kind = _fields(file, start, ">I4s")
        at = start + 8
        if size == 1:
            (size,), at = _fields(file, at, ">Q"), at + 8
        behind = end if size == 0 else min(start + size, end)
        if behind < at:
            return
        yield kind, at, behind
        start = behind


def _fields(file: BinaryIO, at: int, form: str) -> tuple[Any, ...]:
    """Unpack a `struct` format at an offset; bytes beyond the end of the file are 0."""
    file.seek(at)
    size = struct.calcsize(form)
    return struct.unpack(form, file.read(size).ljust(size, b"\x00"))
