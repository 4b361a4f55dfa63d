"""Boxes that a camera wrote for itself, appended to a finished MP4 or MOV whose index comes last."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

from pipeline.video.structure.facts import PrivateBox
from pipeline.video.structure.iso_boxes import Box, boxes

UDTA = (b"moov", b"udta")


def append(path: Path, found: Sequence[PrivateBox]) -> list[PrivateBox]:
    """Write the boxes to the end of a file. Returns those left out: they hold offsets, or others would have to move."""
    with path.open("r+b") as file:
        kind, at, behind = list(boxes(file, 0, file.seek(0, io.SEEK_END)))[-1]
        of_index = [box for box in found if box.above == UDTA and kind == b"moov" and box.content is not None]
        of_file = [box for box in found if not box.above and box.content is not None]
        content = b"".join(map(_coded, of_index))
        inner = list(boxes(file, at, behind)) if of_index else []
        grown: list[Box] = [(kind, at, behind)] if of_index else []
        if inner and inner[-1][0] == b"udta":
            grown.append(inner[-1])
        elif of_index:
            content = struct.pack(">I4s", 8 + len(content), b"udta") + content
        for _, begins, ends in grown:
            file.seek(begins - 8)
            file.write(struct.pack(">I", ends - begins + 8 + len(content)))
        file.seek(0, io.SEEK_END)
        file.write(content + b"".join(map(_coded, of_file)))
    return [box for box in found if box not in of_index and box not in of_file]


def _coded(box: PrivateBox) -> bytes:
    return struct.pack(">I4s", 8 + len(box.content or b""), box.kind) + (box.content or b"")
