"""Check of the sample count of an MP4, MOV or 3GP (ISO/IEC 14496-12), before FFmpeg allocates memory for each one."""

import io
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.errors import Damaged
from pipeline.video.structure.iso_boxes import PARENTS, boxes, fields, is_iso

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
    if is_iso(file) and (announced := _samples(file, 0, size, _Track())) > max(HARMLESS, size):
        raise Damaged(f"its header announces {announced} samples in {size} bytes; copy the file again")
    file.seek(0)


def _samples(file: BinaryIO, start: int, end: int, track: _Track, depth: int = 0) -> int:
    """Count the samples of all tables between two offsets that state a count, but no size for each sample."""
    announced = 0
    for kind, at, behind in boxes(file, start, end):
        if kind == b"trak":
            track = _Track()
        if kind in PARENTS and depth < MAX_DEPTH:
            announced += _samples(file, at, behind, track, depth + 1)
        elif kind == b"hdlr":
            track.is_sound = fields(file, at + 8, "4s") == (b"soun",)
        elif kind == b"stts":
            count, _, units = fields(file, at + 4, ">III")
            track.is_steady = (count, units) == (1, 1)
        elif kind == b"stsz":
            each_bytes, count = fields(file, at + 4, ">II")
            announced += count if each_bytes and not (track.is_sound and track.is_steady) else 0
        elif kind == b"trun":
            flags, count = fields(file, at, ">II")
            announced += 0 if flags & 0xF00 else count
    return announced
