"""Pixel aspect ratio in Matroska and WebM, written into a finished file: PyAV cannot tell FFmpeg's muxer of it.

A name of the track that is longer than needed keeps room. The track then gets a display size and, in place of that
room, an element that is void.
"""

import zlib
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from pipeline.video.structure import ebml

MUXERS = ("matroska", "webm")
ROOM = 64  # bytes


def is_needed(muxer: str, aspect: Fraction | None) -> bool:
    return muxer in MUXERS and aspect not in (None, 1)


def with_room(title: str) -> str:
    """Return a title of a track that keeps room for its display size."""
    return title + ROOM * "."


def write_aspect(path: Path, aspect: Fraction, title: str) -> None:
    """Write the pixel aspect ratio of the track that keeps room by its title, and give it this title instead."""
    with path.open("r+b") as file:
        found = list(ebml.tree(file))

        def content(element: ebml.Element) -> bytes:
            file.seek(element[2])
            return file.read(element[3] - element[2])

        def whole(element: ebml.Element) -> bytes:
            file.seek(element[1])
            return file.read(element[3] - element[1])

        tracks = next(element for _, element in found if element[0] == ebml.TRACKS)
        entries = [element for above, element in found if above == (ebml.TRACKS,) and element[0] == ebml.TRACK]
        for entry in entries:
            parts = list(ebml.elements(file, entry[2], entry[3]))
            if with_room(title).encode() not in [content(part) for part in parts if part[0] == ebml.NAME]:
                continue
            rest = [whole(part) for part in parts if part[0] not in (ebml.NAME, ebml.VIDEO)]
            rest += [ebml.coded(ebml.NAME, title.encode())] if title else []
            video = next(part for part in parts if part[0] == ebml.VIDEO)
            rest.append(ebml.coded(ebml.VIDEO, _display(file, video, aspect)))
            spare = entry[3] - entry[2] - len(b"".join(rest))
            void = ebml.coded(ebml.VOID, bytes(spare - 2), 1)
            file.seek(entry[2])
            file.write(b"".join(rest) + void)
        first = next(ebml.elements(file, tracks[2], tracks[3]))
        if first[0] == ebml.CRC_32:
            file.seek(first[3])
            check = zlib.crc32(file.read(tracks[3] - first[3]))
            file.seek(first[2])
            file.write(check.to_bytes(4, "little"))


def _display(file: BinaryIO, video: ebml.Element, aspect: Fraction) -> bytes:
    """Return the content of the element of a video's properties, with its display size in pixels."""
    kept, size = b"", {}
    for part in ebml.elements(file, video[2], video[3]):
        size[part[0]] = ebml.number_in(file, part)
        if part[0] not in (ebml.DISPLAY_WIDTH, ebml.DISPLAY_HEIGHT, ebml.DISPLAY_UNIT):
            file.seek(part[1])
            kept += file.read(part[3] - part[1])
    width, height = size[ebml.PIXEL_WIDTH], size[ebml.PIXEL_HEIGHT]
    shown = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    for number, length in zip((ebml.DISPLAY_WIDTH, ebml.DISPLAY_HEIGHT), shown, strict=True):
        kept += ebml.coded(number, length.to_bytes(4))
    return kept
