"""BMP, by Pillow; alpha and ICC profiles are written here.

A header of version 4 states where the alpha bits are, and one of version 5 where the profile is.
"""

import struct
from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.images.photo import Metadata, Photo
from pipeline.images.pixels import check_size, frame_of, image_of

INCH_M = 0.0254
FILE_HEADER_BYTES = 14
HEADER_BYTES = {4: 108, 5: 124}  # of BITMAPV4HEADER and BITMAPV5HEADER
BITFIELDS = 3
PERCEPTUAL = 4  # LCS_GM_IMAGES
SRGB, EMBEDDED, LINKED = b"BGRs", b"DEBM", b"KNIL"  # LCS_sRGB, PROFILE_EMBEDDED, PROFILE_LINKED


def read(data: bytes, max_pixels: int) -> Photo:
    """Read a BMP. Raises MediaError, or what Pillow raises on damage."""
    notes: list[str] = []
    with Image.open(BytesIO(data), formats=("BMP",)) as image:
        check_size(image.size, 1, max_pixels)
        dpi = image.info.get("dpi")
        frame = frame_of(image, notes)
    metadata = Metadata(dpi=dpi if dpi and all(dpi) else None, icc=_profile(data, notes))
    return Photo(format="bmp", frames=[frame], metadata=metadata, notes=notes)


def write(photo: Photo, quality: int | None, notes: list[str]) -> bytes:
    """Write one uint8 frame as BMP; `quality` is ignored."""
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
    bits, coding = (24, 0) if frame.alpha is None else (32, BITFIELDS)
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
