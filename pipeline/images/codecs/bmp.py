"""BMP, by Pillow, which reads only some arrangements of bit fields: those are read here (BITMAPV4HEADER, wingdi.h).

Alpha is written here, with a version 4 header, which states where the alpha bits are.
"""

import struct
from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.errors import Damaged, Unsupported
from pipeline.images.photo import Frame, Metadata, Photo, Samples, full_range, to_8_bits
from pipeline.images.pixels import check_size, frame_of, image_of

INCH_M = 0.0254
HEADERS_BYTES = 14 + 108
BITFIELDS = (3, 6)  # without alpha, and with it
INFO_BYTES = 40  # the shortest header that knows bit fields; in longer ones the masks are part of it
SRGB = b"BGRs"  # LCS_sRGB


def read(data: bytes, max_pixels: int) -> Photo:
    """Read a BMP. Raises MediaError, or what Pillow raises on damage."""
    if len(data) >= 14 + INFO_BYTES and struct.unpack_from("<I", data, 14)[0] >= INFO_BYTES:
        bits, compression = struct.unpack_from("<HI", data, 28)
        if compression in BITFIELDS and bits in (16, 32):
            return _bit_fields(data, bits, max_pixels)
    notes: list[str] = []
    with Image.open(BytesIO(data), formats=("BMP",)) as image:
        check_size(image.size, 1, max_pixels)
        dpi = image.info.get("dpi")
        frame = frame_of(image, notes)
    return Photo(format="bmp", frames=[frame], metadata=Metadata(dpi=dpi if dpi and all(dpi) else None), notes=notes)


def _bit_fields(data: bytes, bits: int, max_pixels: int) -> Photo:
    """Read pixels of 16 or 32 bits whose masks say where red, green, blue and alpha are."""
    start, info_bytes, width, height = struct.unpack_from("<IIii", data, 10)
    check_size((abs(width), abs(height)), 1, max_pixels)
    row_bytes = -(-width * bits // 32) * 4
    if width <= 0 or not height or len(data) < max(start + row_bytes * abs(height), 70):
        raise Damaged(f"it ends after {len(data)} bytes, before all its pixels; copy the file again")
    rows = np.frombuffer(data, f"<u{bits // 8}", row_bytes * abs(height) * 8 // bits, start)
    rows = rows.reshape(abs(height), -1)[:: -1 if height > 0 else 1, :width]
    with_alpha = info_bytes >= 56 or struct.unpack_from("<I", data, 30)[0] == BITFIELDS[1]
    masks = struct.unpack_from("<4I" if with_alpha else "<3I", data, 14 + INFO_BYTES)
    if not any(masks):
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if bits == 32 else (0x7C00, 0x3E0, 0x1F)
    deep = any(mask.bit_count() > 8 for mask in masks)
    fields = [_field(rows, mask, deep=deep) for mask in masks if mask]
    if len(fields) < 3 or not all(masks[:3]):
        raise Unsupported("its bit fields are not red, green and blue; convert it to PNG")
    dpi = [side * INCH_M for side in struct.unpack_from("<ii", data, 38)]
    frame = Frame(pixels=np.dstack(fields[:3]), alpha=fields[3] if len(fields) > 3 else None)
    return Photo(format="bmp", frames=[frame], metadata=Metadata(dpi=(dpi[0], dpi[1]) if all(dpi) else None))


def _field(rows: Samples, mask: int, *, deep: bool) -> Samples:
    """Return the field under a mask over the full range, of 8 bits, or of 16 if `deep`."""
    shift = (mask & -mask).bit_length() - 1
    white = mask >> shift
    if white & (white + 1):
        raise Unsupported("the bits of a colour do not lie together; convert it to PNG")
    samples = (rows >> shift) & white
    if white == 255 and not deep:
        return samples.astype(np.uint8)
    spread = full_range(samples, white) if white < 65536 else (samples >> (white.bit_length() - 16)).astype(np.uint16)
    return spread if deep else to_8_bits(spread)


def write(photo: Photo, quality: int | None, notes: list[str]) -> bytes:
    """Write one uint8 frame as BMP; `quality` is ignored."""
    frame, dpi = photo.frames[0], photo.metadata.dpi
    if frame.alpha is None:
        buffer = BytesIO()
        image_of(frame).save(buffer, "BMP", dpi=dpi or (0, 0))
        return buffer.getvalue()
    width, height = frame.size
    bgr = frame.pixels[..., ::-1] if frame.pixels.shape[2] == 3 else np.repeat(frame.pixels, 3, axis=2)
    rows = np.dstack((bgr, frame.alpha))[::-1].tobytes()
    x, y = (round(side / INCH_M) for side in dpi or (0, 0))
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, BITFIELDS[0], len(rows), x, y, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + SRGB + bytes(48)
    file = struct.pack("<2sIHHI", b"BM", HEADERS_BYTES + len(rows), 0, 0, HEADERS_BYTES)
    return file + header + masks + rows
