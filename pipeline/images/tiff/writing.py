"""Writing of TIFF with 8 or 16 bits, which Pillow cannot do for colour, and with the source's fields unchanged."""

import struct
import zlib

import numpy as np

from pipeline.errors import Unsupported
from pipeline.images.metadata import ifd, tags
from pipeline.images.photo import Compression, Frame, Metadata, Photo
from pipeline.images.tiff import iptc
from pipeline.images.tiff.layout import BLACK_IS_ZERO, DEFLATE, RGB, STRUCTURE, UNASSOCIATED, UNCOMPRESSED

STRIP_BYTES_TARGET = 1 << 18
NOISY = 0.75  # share of a strip that is left without a search for repeats, if it has hardly any


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write the frames as pages of a TIFF, deflated unless the source was uncompressed.

    The EXIF block comes first and whole, so that offsets inside maker notes stay valid; only its first directory is
    written anew, with the fields of the pixels.
    """
    block, order, first = _exif(photo.metadata, notes)
    _add_metadata(first, photo.metadata, order)
    fields, others = iptc.as_fields(photo.metadata.jpeg_segments)
    first.fields = fields | first.fields
    if others:
        notes.append(f"{others} other segments of JPEG metadata dropped: TIFF has no place for them")
    level = 0 if photo.coding.uncompressed else compression.level
    parts = [ifd.HEADERS[order], bytes(4), block[8:], bytes(len(block) % 2)]
    end = sum(map(len, parts))
    link = 1  # index in `parts` of the piece that ends with the link to the next directory
    for index, frame in enumerate(photo.frames):
        strips = _strips(frame, order, level)
        directory = ifd.Directory()
        if index == 0:
            directory = first
        elif tags.ICC in first.fields:
            directory.fields[tags.ICC] = first.fields[tags.ICC]
        _describe(directory, frame, order, strips, end, compressed=level > 0)
        parts += strips
        end += sum(map(len, strips))
        if end & 1:
            parts.append(b"\x00")
            end += 1
        if end >= 1 << 32:
            raise Unsupported("the result would be larger than a TIFF can be (4 GiB); write it as PNG")
        parts[link] = parts[link][:-4] + struct.pack(order + "I", end)
        packed = ifd.written(directory, order, end)
        split = 2 + 12 * (len(directory.fields) + len(directory.nested)) + 4
        parts += [packed[:split], packed[split:]]
        link = len(parts) - 2
        end += len(packed)
    return b"".join(parts)


def _exif(metadata: Metadata, notes: list[str]) -> tuple[bytes, str, ifd.Directory]:
    """Return the EXIF block, its byte order, and its first directory, which points to the values in the block.

    Fields that describe pixels are left out.
    """
    if metadata.exif is None:
        return b"", "<", ifd.Directory()
    try:
        order, found = ifd.byte_order(metadata.exif), ifd.read(metadata.exif)
    except ValueError as error:
        notes.append(f"EXIF dropped: {error}")
        return b"", "<", ifd.Directory()
    fields = {
        tag: field if len(field.value) <= 4 else field._replace(value=b"")
        for tag, field in found.fields.items()
        if tag not in STRUCTURE
    }
    pointers = {tag: ifd.field_of(order, ifd.LONG, nested.at) for tag, nested in found.nested.items()}
    return metadata.exif, order, ifd.Directory(fields=fields | pointers)


def _add_metadata(first: ifd.Directory, metadata: Metadata, order: str) -> None:
    """Add XMP, profile and resolution to the fields of the first page."""
    for tag, kind, content in ((tags.XMP, ifd.BYTE, metadata.xmp), (tags.ICC, ifd.UNDEFINED, metadata.icc)):
        if content is not None:
            first.fields[tag] = ifd.Field(kind, len(content), content)
    if metadata.dpi is not None and tags.X_RESOLUTION not in first.fields:
        for tag, side in zip((tags.X_RESOLUTION, tags.Y_RESOLUTION), metadata.dpi, strict=True):
            parts = 10_000 if side < 400_000 else 1
            first.fields[tag] = ifd.Field(ifd.RATIONAL, 1, struct.pack(order + "II", round(side * parts), parts))
        first.fields[tags.RESOLUTION_UNIT] = ifd.field_of(order, ifd.SHORT, 2)


def _strips(frame: Frame, order: str, level: int) -> list[bytes]:
    """Encode the rows of a frame. `level`: of deflate, 1 to 9; 0: not compressed."""
    step = _rows_per_strip(frame)
    strips = []
    for top in range(0, frame.pixels.shape[0], step):
        rows = frame.pixels[top : top + step]
        if frame.alpha is not None:
            rows = np.dstack((rows, frame.alpha[top : top + step]))
        if level:  # horizontal differencing (TIFF 6.0 section 14)
            rows = np.concatenate((rows[:, :1], rows[:, 1:] - rows[:, :-1]), axis=1)
        packed = rows.astype(rows.dtype.newbyteorder("<" if order == "<" else ">"), copy=False).tobytes()
        strips.append(_deflated(packed, level, deep=rows.dtype == np.uint16) if level else packed)
    return strips


def _deflated(packed: bytes, level: int, *, deep: bool) -> bytes:
    """Encode a strip. Noise fills the lower half of 16 bits, where a search for repeats would find none."""
    if deep:
        deflater = zlib.compressobj(level, strategy=zlib.Z_RLE)
        quick = deflater.compress(packed) + deflater.flush()
        if len(quick) > NOISY * len(packed):
            return quick
    return zlib.compress(packed, level)


def _rows_per_strip(frame: Frame) -> int:
    samples = frame.pixels.shape[2] + (frame.alpha is not None)
    row_bytes = frame.size[0] * samples * int(frame.pixels.dtype.itemsize)
    return int(max(1, STRIP_BYTES_TARGET // row_bytes))


def _describe(
    directory: ifd.Directory, frame: Frame, order: str, strips: list[bytes], at: int, *, compressed: bool
) -> None:
    """Add the fields that describe how the pixels of `frame` are stored, in `strips` from offset `at` on."""
    width, height = frame.size
    channels = frame.pixels.shape[2]
    samples = channels + (frame.alpha is not None)
    sizes = [len(strip) for strip in strips]
    offsets = [at + sum_before for sum_before in np.cumsum([0, *sizes[:-1]]).tolist()]
    if offsets[-1] + sizes[-1] >= 1 << 32:
        raise Unsupported("the result would be larger than a TIFF can be (4 GiB); write it as PNG")
    longs = {
        tags.WIDTH: [width],
        tags.LENGTH: [height],
        tags.STRIP_OFFSETS: offsets,
        tags.STRIP_BYTES: sizes,
        tags.ROWS_PER_STRIP: [_rows_per_strip(frame)],
    }
    shorts = {
        tags.BITS: [8 * frame.pixels.dtype.itemsize] * samples,
        tags.COMPRESSION: [DEFLATE if compressed else UNCOMPRESSED],
        tags.PHOTOMETRIC: [RGB if channels == 3 else BLACK_IS_ZERO],
        tags.ORIENTATION: [1],
        tags.SAMPLES: [samples],
        tags.PLANAR: [1],
    }
    if compressed:
        shorts[tags.PREDICTOR] = [2]
    if frame.alpha is not None:
        shorts[tags.EXTRA_SAMPLES] = [UNASSOCIATED]
    for kind, found in ((ifd.LONG, longs), (ifd.SHORT, shorts)):
        directory.fields |= {tag: ifd.field_of(order, kind, *numbers) for tag, numbers in found.items()}
