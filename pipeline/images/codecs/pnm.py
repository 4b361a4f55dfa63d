"""PBM, PGM and PPM (netpbm), read by Pillow, except binary files of more than 8 bits, which it would reduce."""

import re
from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.errors import Damaged
from pipeline.images.photo import Compression, Frame, Photo, full_range
from pipeline.images.pixels import check_size, frame_of

GAP = rb"(?:\s|#[^\n]*\n)+"
HEADER = re.compile(rb"P([56])" + GAP + rb"(\d{1,10})" + GAP + rb"(\d{1,10})" + GAP + rb"(\d{1,5})(?:#[^\n]*\n)?\s")


def read(data: bytes, max_pixels: int) -> Photo:
    """Read one image. Raises MediaError, or what Pillow raises on damage."""
    notes: list[str] = []
    header = HEADER.match(data)
    if header and 255 < int(header[4]) < 65536:
        return Photo(format="pnm", frames=[_sixteen_bits(data, header, max_pixels)], notes=notes)
    with Image.open(BytesIO(data), formats=("PPM",)) as image:
        check_size(image.size, 1, max_pixels)
        return Photo(format="pnm", frames=[frame_of(image, notes)], notes=notes)


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write one frame without alpha as binary PGM or PPM; `compression` is ignored."""
    pixels = photo.frames[0].pixels
    height, width, channels = pixels.shape
    kind, white = (6 if channels == 3 else 5), np.iinfo(pixels.dtype).max
    return b"P%d\n%d %d\n%d\n" % (kind, width, height, white) + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()


def _sixteen_bits(data: bytes, header: re.Match[bytes], max_pixels: int) -> Frame:
    width, height, white = int(header[2]), int(header[3]), int(header[4])
    check_size((width, height), 1, max_pixels)
    channels = 3 if header[1] == b"6" else 1
    count = width * height * channels
    if not count or len(data) - header.end() < 2 * count:
        raise Damaged(f"it ends after {len(data)} bytes, before all its pixels; copy the file again")
    samples = np.frombuffer(data, ">u2", count, header.end()).reshape(height, width, channels)
    return Frame(pixels=full_range(np.minimum(samples, white), white))
