"""BMP, by Pillow, which reads only some arrangements of bit fields: those are read here (BITMAPV4HEADER, wingdi.h).

Alpha and ICC profiles are written here. A header of version 4 states where the alpha bits are, and one of version 5
where the profile is.
"""

import struct
from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.errors import Damaged, Unsupported
from pipeline.images.photo import INCH_M, Compression, Frame, Metadata, Photo, Samples, full_range, to_8_bits
from pipeline.images.pixels import check_size, frame_of, image_of

FILE_HEADER_BYTES = 14
HEADER_BYTES = {4: 108, 5: 124}  # of BITMAPV4HEADER and BITMAPV5HEADER
BITFIELDS = (3, 6)  # without alpha, and with it
INFO_BYTES = 40  # the shortest header that knows bit fields; in longer ones the masks are part of it
PERCEPTUAL = 4  # LCS_GM_IMAGES
SRGB, EMBEDDED, LINKED = b"BGRs", b"DEBM", b"KNIL"  # LCS_sRGB, PROFILE_EMBEDDED, PROFILE_LINKED


def read(data: bytes, max_pixels: int) -> Photo:
    """Read a BMP. Raises MediaError, or what Pillow raises on damage."""
    notes: list[str] = []
    if len(data) >= 14 + INFO_BYTES and struct.unpack_from("<I", data, 14)[0] >= INFO_BYTES:
        bits, compression = struct.unpack_from("<HI", data, 28)
        if compression in BITFIELDS and bits in (16, 32):
            return _bit_fields(data, bits, max_pixels, notes)
    with Image.open(BytesIO(data), formats=("BMP",)) as image:
        check_size(image.size, 1, max_pixels)
        dpi = image.info.get("dpi")
        frame = frame_of(image, notes)
    metadata = Metadata(dpi=dpi if dpi and all(dpi) else None, icc=_profile(data, notes))
    return Photo(format="bmp", frames=[frame], metadata=metadata, notes=notes)


def _bit_fields(data: bytes, bits: int, max_pixels: int, notes: list[str]) -> Photo:
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
    metadata = Metadata(dpi=(dpi[0], dpi[1]) if all(dpi) else None, icc=_profile(data, notes))
    return Photo(format="bmp", frames=[frame], metadata=metadata, notes=notes)


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


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write one uint8 frame as BMP; `compression` is ignored."""
    frame, dpi, icc = photo.frames[0], photo.metadata.dpi, photo.metadata.icc
    if frame.alpha is None and icc is None:
        buffer = BytesIO()
        image_of(frame).save(buffer, "BMP", dpi=dpi or (0, 0))
        return buffer.getvalue()
    width, height = frame.size
    rows = frame.pixels[..., ::-1] if frame.pixels.shape[2] == 3 else np.repeat(frame.pixels, 3, axis=2)
    if frame.alpha is not None:
        rows = np.dstack((rows, frame.alpha))
    padded = np.pad(rows.reshape(height, -1), ((0, 0), (0, -rows.shape[1] * rows.shape[2] % 4)))[::-1].tobytes()
    x, y = (round(side / INCH_M) for side in dpi or (0, 0))
    head_bytes = HEADER_BYTES[4 if icc is None else 5]
    bits, coding = (24, 0) if frame.alpha is None else (32, BITFIELDS[0])
    header = struct.pack("<IiiHHIIiiII", head_bytes, width, height, 1, bits, coding, len(padded), x, y, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if coding else bytes(16)
    space = (SRGB if icc is None else EMBEDDED) + bytes(48)
    if icc is not None:
        space += struct.pack("<IIII", PERCEPTUAL, head_bytes + len(padded), len(icc), 0)
    size = FILE_HEADER_BYTES + head_bytes + len(padded) + len(icc or b"")
    file = struct.pack("<2sIHHI", b"BM", size, 0, 0, FILE_HEADER_BYTES + head_bytes)
    return b"".join((file, header, masks, space, padded, icc or b""))


def _profile(data: bytes, notes: list[str]) -> bytes | None:
    """Return the ICC profile of a version 5 header; None if there is none."""
    head_bytes = struct.unpack_from("<I", data, FILE_HEADER_BYTES)[0]
    if head_bytes < HEADER_BYTES[5] or len(data) < FILE_HEADER_BYTES + HEADER_BYTES[5]:
        return None
    space = data[FILE_HEADER_BYTES + 56 : FILE_HEADER_BYTES + 60]
    at, size = struct.unpack_from("<II", data, FILE_HEADER_BYTES + 112)
    if space == LINKED:
        notes.append("ICC profile dropped: it lies in another file")
    return data[FILE_HEADER_BYTES + at : FILE_HEADER_BYTES + at + size] or None if space == EMBEDDED else None
