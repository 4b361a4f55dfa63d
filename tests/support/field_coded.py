"""H.264 whose fields are coded apart (PAFF), which no encoder at hand does: written bit by bit, its samples uncoded."""

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, GOP = 32, 64, 8
IDR, REFERENCE, OTHER, SPS, PPS = 0x65, 0x61, 0x01, 0x67, 0x68
DELIMITER = b"\0\0\0\1\x09\xf0"

Picture = npt.NDArray[np.uint8]


def luma(number: int) -> Picture:
    """Of frame `number`: a slope that moves."""
    return np.asarray((np.indices((HEIGHT, WIDTH)).sum(0) + 3 * number).clip(16, 235), np.uint8)


class Bits:
    def __init__(self) -> None:
        self.bits: list[int] = []

    def u(self, *pairs: int) -> "Bits":
        """Pairs of a length and a number."""
        for length, number in zip(pairs[::2], pairs[1::2], strict=True):
            self.bits += [number >> bit & 1 for bit in range(length - 1, -1, -1)]
        return self

    def ue(self, *numbers: int) -> "Bits":
        for number in numbers:
            self.u(2 * (number + 1).bit_length() - 1, number + 1)
        return self

    def samples(self, pixels: Picture) -> "Bits":
        self.bits += [0] * (-len(self.bits) % 8)
        self.bits += np.unpackbits(pixels.reshape(-1)).tolist()
        return self

    def unit(self, head: int) -> bytes:
        """As a NAL unit."""
        content = np.packbits(np.array([*self.bits, 1], np.uint8)).tobytes()
        escaped, zeros = bytearray(), 0
        for byte in content:
            if zeros == 2 and byte <= 3:
                escaped.append(3)
                zeros = 0
            escaped.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes([head]) + bytes(escaped)


def header() -> bytes:
    """Main profile; frames of 32x64 that may be coded as fields; one frame is held back; 25 frames a second."""
    sps = Bits().u(8, 77, 8, 0, 8, 30).ue(0, 0, 0, 2, 4).u(1, 0).ue(WIDTH // 16 - 1, HEIGHT // 32 - 1)
    sps.u(1, 0, 1, 0, 1, 1, 1, 0).u(1, 1, 4, 0).u(1, 1, 32, 1, 32, 50, 1, 1).u(3, 0).u(2, 3).ue(0, 0, 10, 10, 1, 4)
    pps = Bits().ue(0, 0).u(2, 0).ue(0, 0, 0).u(3, 0).ue(0, 0, 0).u(3, 0)
    return sps.unit(SPS) + pps.unit(PPS)


def coded(pixels: Picture, head: int, number: int, order: int, field: int | None) -> bytes:
    """A picture as one slice. `number`: frame_num; `order`: pic_order_cnt; `field`: 0 top, 1 bottom."""
    bits = Bits().ue(0, 7, 0).u(4, number)
    bits.u(1, 0) if field is None else bits.u(2, 2 + field)
    if head == IDR:
        bits.ue(0)
    bits.u(6, order)
    if head != OTHER:
        bits.u(2 if head == IDR else 1, 0)
    bits.ue(0)
    grey = np.full(128, 128, np.uint8)
    for row in range(0, len(pixels), 16):
        for column in range(0, WIDTH, 16):
            block = pixels[row : row + 16, column : column + 16].reshape(-1)
            bits.ue(25).samples(np.concatenate([block, grey]))  # I_PCM
    return bits.unit(head)


def frame(rank: int, number: int, by_fields: bool) -> list[bytes]:
    """Frame `rank`, as one picture or as two."""
    head = IDR if rank % GOP == 0 else OTHER if rank % 2 else REFERENCE
    order, lead = 2 * (rank % GOP), DELIMITER + (header() if head == IDR else b"")
    if not by_fields:
        return [lead + coded(luma(rank), head, number, order, None)]
    second = REFERENCE if head == IDR else head
    top, bottom = luma(rank)[::2], luma(rank)[1::2]
    return [lead + coded(top, head, number, order, 0), DELIMITER + coded(bottom, second, number, order + 1, 1)]


def field_coded(container: str, *, apart: bool, by_fields: Callable[[int], bool] = lambda rank: True) -> bytes:
    """Three groups of eight frames, every second one a B-frame. `apart`: each field is given a time of its own."""
    file = BytesIO()
    decoding = [start + rank for start in range(0, 3 * GOP, GOP) for rank in (0, 2, 1, 4, 3, 6, 5, 7)]
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        number = 0  # frame_num: of references before it
        for place, rank in enumerate(decoding):
            number = 0 if rank % GOP == 0 else number
            pictures = frame(rank, number, by_fields(rank))
            number += rank % 2 == 0
            for at, content in enumerate(pictures if apart else [b"".join(pictures)]):
                packet = av.Packet(content)
                packet.time_base, packet.stream = Fraction(1, 50), stream
                packet.pts, packet.dts = 50 + 2 * rank + at, 48 + 2 * place + at
                packet.is_keyframe = rank % GOP == 0 and at == 0
                output.mux_one(packet)
    return file.getvalue()
