"""Samples of a page, from strips and tiles of any arrangement.

Pillow's libtiff only decompresses here: a plane is shown to it as a grey image of one byte a pixel. What it makes of
samples by itself is wrong for many arrangements, and does not say so.
"""

import struct
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.errors import Damaged, Unsupported
from pipeline.images.metadata import ifd, tags
from pipeline.images.photo import Samples
from pipeline.images.tiff.layout import BLACK_IS_ZERO, CONVERT, UNCOMPRESSED, WEBP, Layout

ROWS_AT_ONCE = 64  # a bit takes a byte while it is unpacked


class File:
    """The bytes of a TIFF, of which Pillow opens one directory at a time: the header says which."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stream = BytesIO(data)

    def opened(self, at: int) -> Image.Image:
        """Open the page whose directory is at offset `at`. Raises Unsupported if Pillow cannot."""
        order, big = ifd.byte_order(self._data), ifd.is_big(self._data)
        header = self._data[: 8 if big else 4] + struct.pack(order + ("Q" if big else "I"), at)
        try:
            return self._opened(header)
        except UnidentifiedImageError:
            raise Unsupported("Pillow does not read this kind of TIFF; save it as RGB with LZW or ZIP") from None

    def rows(self, layout: Layout, segments: slice, row_bytes: int, rows: int) -> Samples:
        """Unpack some strips or tiles, one below the other: `rows` x `row_bytes`, uint8."""
        offsets, sizes = layout.offsets[segments], layout.sizes[segments]
        if len(sizes) != len(offsets):  # decompression ends by itself
            sizes = tuple(max(len(self._data) - offset, 0) for offset in offsets)
        if layout.compression == UNCOMPRESSED and len(sizes) > 1 and 0 < max(sizes) < row_bytes * layout.segment[1]:
            raise Damaged(f"its strips or tiles have {max(sizes)} bytes, too few for their pixels; copy it again")
        if len(self._data) + (len(offsets) + 20) * 8 >= 1 << 32:
            raise Unsupported("the file is larger than 4 GiB; save it in parts")
        fields = {
            tags.WIDTH: (row_bytes,),
            tags.LENGTH: (rows,),
            tags.BITS: (8,),
            tags.COMPRESSION: (layout.compression,),
            tags.PHOTOMETRIC: (BLACK_IS_ZERO,),
            tags.FILL_ORDER: (layout.fill_order,),
            tags.SAMPLES: (1,),
            tags.ROWS_PER_STRIP: (layout.segment[1],),
            tags.STRIP_OFFSETS: offsets,
            tags.STRIP_BYTES: sizes,
        }
        directory = ifd.Directory(fields={tag: ifd.field_of("<", ifd.LONG, *values) for tag, values in fields.items()})
        end = len(self._data)
        self._stream.seek(end)
        self._stream.write(ifd.written(directory, "<", end))
        with self._opened(b"II*\x00" + struct.pack("<I", end)) as image:
            return np.asarray(image)

    def segment(self, layout: Layout, index: int) -> bytes:
        """Return a compressed strip or tile."""
        offset = layout.offsets[index]
        size = layout.sizes[index] if index < len(layout.sizes) else len(self._data)
        return self._data[offset : offset + size]

    def _opened(self, header: bytes) -> Image.Image:
        self._stream.seek(0)
        self._stream.write(header)
        self._stream.seek(0)
        return Image.open(self._stream, formats=("TIFF",))


def samples_of(file: File, layout: Layout) -> Samples:
    """Return the samples of a page, HxWxS, of the smallest unsigned type that holds their bits. Raises MediaError."""
    needed = layout.tiles[0] * layout.tiles[1] * (layout.samples if layout.planar else 1)
    if len(layout.offsets) != needed:
        raise Damaged(
            f"its TIFF header states {len(layout.offsets)} strips or tiles instead of {needed}; copy it again"
        )
    if not layout.planar:
        return _plane(file, layout, 0, layout.samples)
    width, height = layout.size
    whole = np.empty((height, width, layout.samples), np.uint8 if layout.bits <= 8 else np.uint16)
    for index in range(layout.samples):
        plane = _plane(file, layout, index, 1)
        whole[..., index] = plane[..., 0]
    return whole


def _plane(file: File, layout: Layout, index: int, depth: int) -> Samples:
    """Return plane `index`, HxWx`depth`."""
    (width, height), (beside, below) = layout.segment, layout.tiles
    row_bytes = -(-width * depth * layout.bits // 8)
    # the last strip ends with the image, and so may the last tile if none is beside it
    rows = layout.size[1] if beside == 1 else beside * below * height
    segments = range(index * beside * below, (index + 1) * beside * below)
    if layout.compression == WEBP:
        coded = _webp(file, layout, segments, rows)
    else:
        coded = file.rows(layout, slice(segments.start, segments.stop), row_bytes, rows)
    samples = _numbers(coded, layout, width * depth).reshape(rows, width, depth)
    if layout.predictor:
        samples = np.cumsum(samples, axis=1, dtype=samples.dtype)
    if beside > 1:
        samples = samples.reshape(below, beside, height, width, depth).swapaxes(1, 2)
        samples = samples.reshape(below * height, beside * width, depth)
    return _unsigned(samples[: layout.size[1], : layout.size[0]], layout)


def _webp(file: File, layout: Layout, segments: range, rows: int) -> Samples:
    """Unpack strips or tiles that are WebP images, one below the other. Raises Damaged for one of another size."""
    width, height = layout.segment
    coded = np.empty((rows, width * layout.samples), np.uint8)
    for top, index in zip(range(0, rows, height), segments, strict=True):
        part = coded[top : top + height]
        with Image.open(BytesIO(file.segment(layout, index)), formats=("WEBP",)) as image:
            if image.size != (width, len(part)):
                raise Damaged(f"a tile of {width}x{len(part)} pixels holds {image.width}x{image.height}; copy it again")
            part[:] = np.asarray(image.convert("RGB" if layout.samples == 3 else "RGBA")).reshape(part.shape)
    return coded


def _numbers(coded: Samples, layout: Layout, count: int) -> Samples:
    """Unpack rows of `count` samples each, which are packed with the highest bit first (TIFF 6.0 section 3)."""
    if layout.bits in (8, 16, 32):
        size = layout.bits // 8
        return coded.view(f"{layout.order}u{size}").astype(f"u{size}", copy=False)
    if layout.bits == 1:
        return np.unpackbits(coded, axis=1, count=count)
    kind = np.dtype(">u1" if layout.bits < 8 else ">u2")
    samples = np.empty((len(coded), count), kind.newbyteorder("="))
    for top in range(0, len(coded), ROWS_AT_ONCE):
        bits = np.unpackbits(coded[top : top + ROWS_AT_ONCE], axis=1, count=count * layout.bits)
        bits = bits.reshape(len(bits), count, layout.bits)
        padded = np.zeros((*bits.shape[:2], kind.itemsize * 8), np.uint8)
        padded[..., -layout.bits :] = bits
        samples[top : top + ROWS_AT_ONCE] = np.packbits(padded, axis=2).view(kind)[..., 0]
    return samples


def _unsigned(samples: Samples, layout: Layout) -> Samples:
    """Return samples of at most 16 bits. Raises Unsupported if signed or 32-bit numbers have no place there."""
    if layout.signed and (samples >> (layout.bits - 1)).any():
        raise Unsupported(f"its samples are signed and some are below 0, so no black is defined; {CONVERT}")
    if layout.bits == 32 and samples.max() > 65535:
        raise Unsupported(f"its samples are 32-bit integers beyond 65535; {CONVERT}")
    return samples.astype(np.uint16) if layout.bits == 32 else samples
