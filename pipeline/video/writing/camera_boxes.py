"""What a camera wrote for itself, appended to a finished MP4 or MOV whose index comes last."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.video.structure.facts import MOST_BYTES, PrivateBox
from pipeline.video.structure.iso_boxes import Box, boxes

UDTA = (b"moov", b"udta")


def append(path: Path, source: BinaryIO, found: Sequence[PrivateBox]) -> list[PrivateBox]:
    """Write the boxes of `source` to the end of a file, in their order, so that what is found from the end still is.

    Returns those left out: they hold offsets, or others would have to move.
    """
    with path.open("r+b") as file:
        kind, at, behind = list(boxes(file, 0, file.seek(0, io.SEEK_END)))[-1]
        of_index = [box for box in found if box.above == UDTA and kind == b"moov" and box.size_bytes <= MOST_BYTES]
        of_file = [box for box in found if not box.above and box.kind != b"meta"]
        content = b"".join(_header(box) + b"".join(box.content(source)) for box in of_index)
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
        file.write(content)
        for box in of_file:
            file.write(_header(box))
            file.writelines(box.content(source))
    return [box for box in found if box not in of_index and box not in of_file]


def _header(box: PrivateBox) -> bytes:
    if not box.kind:
        return b""
    size_bytes = 8 + box.size_bytes
    return struct.pack(">I4s", size_bytes, box.kind) if size_bytes >> 32 == 0 else _large(box.kind, size_bytes + 8)


def _large(kind: bytes, size_bytes: int) -> bytes:
    return struct.pack(">I4sQ", 1, kind, size_bytes)
