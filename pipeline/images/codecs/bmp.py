"""BMP, by Pillow; alpha is written here, with a version 4 header, which states where the alpha bits are."""

import struct
from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.images.photo import Metadata, Photo
from pipeline.images.pixels import check_size, frame_of, image_of

INCH_M = 0.0254
HEADERS_BYTES = 14 + 108
BITFIELDS = 3
SRGB = b"BGRs"  # LCS_sRGB


def read(data: bytes, max_pixels: int) -> Photo:
    """Read a BMP. Raises MediaError, or what Pillow raises on damage."""
    notes: list[str] = []
    with Image.open(BytesIO(data), formats=("BMP",)) as image:
        check_size(image.size, 1, max_pixels)
        dpi = image.info.get("dpi")
        frame = frame_of(image, notes)
    return Photo(format="bmp", frames=[frame], metadata=Metadata(dpi=dpi if dpi and all(dpi) else None), notes=notes)


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
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, BITFIELDS, len(rows), x, y, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + SRGB + bytes(48)
    file = struct.pack("<2sIHHI", b"BM", HEADERS_BYTES + len(rows), 0, 0, HEADERS_BYTES)
    return file + header + masks + rows
