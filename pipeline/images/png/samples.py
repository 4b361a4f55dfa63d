"""Pixels of PNG: 8 bits by Pillow; 16 bits without loss, which Pillow by itself does not offer for colour."""

import struct
import zlib
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.images.photo import Frame, Samples
from pipeline.images.pixels import image_of
from pipeline.images.png.chunks import Chunk, split

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


class Header(NamedTuple):
    """First four fields of IHDR (section 11.2.1)."""

    width: int
    height: int
    bits: int
    colour: int


def sixteen_bits(png: bytes, header: Header) -> Frame:
    """Read all 16 bits, colour in two passes: Pillow holds 8 per channel, but can unpack either byte of each sample.

    Chosen over FFmpeg's decoder, which silently repairs damage that Pillow reports.
    """
    if header.colour == GREY:
        return Frame(pixels=_unpacked(png, "I;16B")[..., None].astype(np.uint16))
    if header.colour == GREY_ALPHA:  # four bytes per pixel, the same as RGBA with 8 bits
        samples: Samples = _unpacked(png, "RGBA").view(">u2").astype(np.uint16)
        return Frame(pixels=np.ascontiguousarray(samples[..., :1]), alpha=np.ascontiguousarray(samples[..., 1]))
    mode = "RGB" if header.colour == RGB else "RGBA"
    samples = _unpacked(png, mode + ";16B").astype(np.uint16) << 8
    samples |= _unpacked(png, mode + ";16L")
    if header.colour == RGB:
        return Frame(pixels=samples)
    return Frame(pixels=np.ascontiguousarray(samples[..., :3]), alpha=np.ascontiguousarray(samples[..., 3]))


def _unpacked(png: bytes, layout: str) -> Samples:
    with Image.open(BytesIO(png), formats=("PNG",)) as image:
        image.tile = [tile._replace(args=layout) for tile in image.tile]
        return np.asarray(image)


def keyed(frame: Frame, key: bytes, header: Header) -> Frame:
    """Add alpha from the transparent colour of tRNS (section 11.3.1.1), which is given in the file's bit depth."""
    white = np.iinfo(frame.pixels.dtype).max
    levels = np.frombuffer(key, ">u2").astype(np.int64)[: frame.pixels.shape[2]] * white // ((1 << header.bits) - 1)
    if len(levels) < frame.pixels.shape[2]:
        return frame
    alpha = np.where((frame.pixels == levels).all(axis=2), 0, white).astype(frame.pixels.dtype)
    return Frame(pixels=frame.pixels, alpha=alpha, duration_ms=frame.duration_ms)


def coded_chunks(frame: Frame) -> list[Chunk]:
    """Encode one frame as IHDR and IDAT."""
    if frame.pixels.dtype == np.uint16:
        return _coded_16(frame)
    buffer = BytesIO()
    image_of(frame).save(buffer, "PNG")
    return [chunk for chunk in split(buffer.getvalue()) if chunk.type in (b"IHDR", b"IDAT")]


def _coded_16(frame: Frame) -> list[Chunk]:
    """Encode a frame as IHDR and IDAT with 16 bits per sample, 64 rows at a time."""
    height, width, channels = frame.pixels.shape
    colour = {1: GREY, 3: RGB}[channels] | (0 if frame.alpha is None else 4)
    step = (channels + (frame.alpha is not None)) * 2
    deflater = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    before = np.zeros(width * step, np.uint8)
    coded: list[bytes] = []
    for top in range(0, height, 64):
        rows = frame.pixels[top : top + 64]
        if frame.alpha is not None:
            rows = np.dstack((rows, frame.alpha[top : top + 64]))
        raw = np.ascontiguousarray(rows, ">u2").view(np.uint8).reshape(len(rows), -1)
        coded.append(deflater.compress(_filtered(raw, before, step).tobytes()))
        before = raw[-1]
    coded.append(deflater.flush())
    return [
        Chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)),
        Chunk(b"IDAT", b"".join(coded)),
    ]


def _filtered(raw: Samples, before: Samples, step: int) -> Samples:
    """Filter each row for the smallest sum of absolute differences, with the filter's number in front (section 9.2).

    `raw`: uint8, rows x bytes; `before`: the row above the first; `step`: bytes per pixel. Filters tried: None, Sub,
    Up and Average; Paeth would gain little on noise and cost the most.
    """
    above = np.vstack((before[None], raw[:-1]))
    left = np.zeros_like(raw)
    left[:, step:] = raw[:, :-step]
    average = ((left.astype(np.uint16) + above) >> 1).astype(np.uint8)
    ways = np.stack((raw, raw - left, raw - above, raw - average))
    best = np.abs(ways.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64).argmin(axis=0)
    chosen = np.take_along_axis(ways, best[None, :, None], axis=0)[0]
    return np.hstack((best[:, None].astype(np.uint8), chosen))
