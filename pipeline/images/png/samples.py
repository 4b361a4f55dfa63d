"""Pixels of PNG, read and written without loss. 16 bits of colour are more than Pillow by itself offers."""

import struct
import zlib
from fractions import Fraction
from io import BytesIO
from typing import NamedTuple

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from PIL import Image

from pipeline.images.photo import Frame, Samples
from pipeline.images.png.chunks import Chunk, split
from pipeline.video.signal.picture import lines

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
MOST_PIXELS, MOST_BYTES = 1 << 28, 1 << 30  # limits of FFmpeg: with a margin of 128 pixels; and before compression

# FFmpeg's names, by bits of a sample and colour
PIXEL_FORMATS = {
    (8, GREY): "gray",
    (8, GREY_ALPHA): "ya8",
    (8, RGB): "rgb24",
    (8, RGB_ALPHA): "rgba",
    (16, GREY): "gray16be",
    (16, GREY_ALPHA): "ya16be",
    (16, RGB): "rgb48be",
    (16, RGB_ALPHA): "rgba64be",
}


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


def coded_chunks(frame: Frame, level: int) -> list[Chunk]:
    """Encode one frame as IHDR and IDAT, with as many bits per sample as it has. `level`: of deflate, 1 to 9."""
    height, width, channels = frame.pixels.shape
    colour = {1: GREY, 3: RGB}[channels] | (0 if frame.alpha is None else 4)
    bits = 8 * frame.pixels.dtype.itemsize
    samples = frame.pixels if frame.alpha is None else np.dstack((frame.pixels, frame.alpha))
    rows = samples.reshape(height, -1)
    if (width + 128) * (height + 128) < MOST_PIXELS and rows.nbytes < MOST_BYTES:
        deflated = _by_ffmpeg(rows, width, PIXEL_FORMATS[bits, colour], level)
    else:
        deflated = _by_zlib(rows, rows.nbytes // (width * height), level)
    return [
        Chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)),
        Chunk(b"IDAT", deflated),
    ]


def _by_ffmpeg(rows: Samples, width: int, pixel_format: str, level: int) -> bytes:
    """Filter and deflate rows of samples. At the same level, Pillow takes half as long again."""
    frame = VideoFrame(width, len(rows), pixel_format)
    lines(frame.planes[0], rows.dtype.newbyteorder(">"))[:, : rows.shape[1]] = rows
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, len(rows), pixel_format, Fraction(1)
    encoder.thread_count = 1
    encoder.options = {"compression_level": str(level), "pred": "mixed"}
    coded = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    return b"".join(chunk.payload for chunk in split(coded) if chunk.type == b"IDAT")


def _by_zlib(rows: Samples, step: int, level: int) -> bytes:
    """Filter and deflate rows of samples, 64 at a time. Slow, but of any size. `step`: bytes per pixel."""
    deflater = zlib.compressobj(level)
    before = np.zeros(rows[0].nbytes, np.uint8)
    coded: list[bytes] = []
    for top in range(0, len(rows), 64):
        raw = rows[top : top + 64].astype(rows.dtype.newbyteorder(">")).view(np.uint8)
        coded.append(deflater.compress(_filtered(raw, before, step).tobytes()))
        before = raw[-1]
    return b"".join((*coded, deflater.flush()))


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
