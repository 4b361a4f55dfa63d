"""Writing of animated PNG (PNG third edition, sections 4.9 and 11.3.6), with every frame in full.

Pillow's writer merges identical frames into one; here each source frame stays a frame.
"""

import struct
from fractions import Fraction

from pipeline.images.photo import Photo
from pipeline.images.png.chunks import Chunk
from pipeline.images.png.samples import coded_chunks

DISPOSE_NONE, BLEND_SOURCE = 0, 0


def animation(photo: Photo, level: int) -> list[Chunk]:
    """Return IHDR, acTL, then fcTL and pixels of every frame. A first frame without duration is the default image."""
    shown = [frame for frame in photo.frames if frame.duration_ms is not None]
    default = [coded_chunks(frame, level) for frame in photo.frames[: len(photo.frames) - len(shown)]]
    # one header serves all frames: encode.py gave them the same channels, and animations are read with 8 bits
    chunks = [Chunk(b"acTL", struct.pack(">II", len(shown), 1 if photo.loop is None else photo.loop))]
    header: Chunk | None = None
    number = 0
    if default:
        header, *pixels = default[0]
        chunks += pixels
    for frame in shown:
        own_header, *pixels = coded_chunks(frame, level)
        chunks.append(Chunk(b"fcTL", _control(number, frame.size, frame.duration_ms or 0)))
        number += 1
        if header is None:
            header = own_header
            chunks += pixels
            continue
        for _, payload in pixels:
            chunks.append(Chunk(b"fdAT", struct.pack(">I", number) + payload))
            number += 1
    return [header, *chunks] if header else chunks


def _control(number: int, size: tuple[int, int], duration_ms: float) -> bytes:
    delay = Fraction(duration_ms / 1000).limit_denominator(1000)
    if delay.numerator > 65535:  # numerator and denominator have 16 bits each
        delay = Fraction(65535)
    return struct.pack(
        ">IIIIIHHBB", number, *size, 0, 0, delay.numerator, delay.denominator, DISPOSE_NONE, BLEND_SOURCE
    )
