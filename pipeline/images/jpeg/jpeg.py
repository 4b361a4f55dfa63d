"""JPEG (ITU-T T.81): segments before the scan are read and written back unchanged; libjpeg-turbo does the pixels."""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from typing import Any

import simplejpeg
from PIL import Image, ImageFile

from pipeline.errors import Damaged, Unsupported
from pipeline.images.jpeg import app_segments, trailers
from pipeline.images.metadata.jpeg_markers import (
    APP0,
    APP14,
    COM,
    FRAME_HEADERS,
    SOI,
    SOS,
    Segment,
    places,
    segments,
)
from pipeline.images.photo import Coding, Compression, Frame, Photo
from pipeline.images.pixels import check_size, frame_of, image_of

DEFAULT_QUALITY = 92  # for sources without quantisation tables to reuse
MOST_BYTES_A_PIXEL = 6
COLOUR_SPACE_BYTES = 12  # of APP0 and APP14
MAX_SCANS = 200  # encoders write about ten

PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
ARITHMETIC = frozenset(range(0xC9, 0xD0)) - {0xCC}

_BLOCK = threading.Lock()


def read(data: bytes, max_pixels: int) -> Photo:
    """Read the primary image of a JPEG. Raises MediaError, or what Pillow raises on damage."""
    found = segments(data)
    header = _frame_header(found)
    notes: list[str] = []
    if header.marker in ARITHMETIC:
        notes.append("arithmetic coding became Huffman coding")
    precision, height, width = struct.unpack_from(">BHH", header.payload)
    if precision != 8:
        raise Unsupported(f"it is a JPEG of {precision} bits, which nightlift does not read; convert it to TIFF or PNG")
    check_size((width, height), 1, max_pixels)
    scans = len(places(data, SOS, found[-1].start))
    if scans > MAX_SCANS:
        raise Unsupported(
            f"it has {scans} scans, more than the limit of {MAX_SCANS} against files made to stall decoders; remove it"
        )
    trailer = trailers.read(data, found, app_segments.joined_xmp(found)[0] or b"", notes)
    metadata = app_segments.metadata_of(found, trailer, notes)
    # Pillow gets no metadata, so that nothing broken or enormous in it, and no second image, gets in its way
    alone = _pixels_alone(data, found)
    with Image.open(BytesIO(alone), formats=("JPEG",)) as image:
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
        frame = _sooner(alone, image.mode) or frame_of(image, notes, icc=metadata.icc)
        coding = Coding(
            quantisation=_tables(tables, header),
            sampling=_sampling(header),
            progressive=header.marker in PROGRESSIVE,
        )
    return Photo(format="jpeg", frames=[frame], metadata=metadata, coding=coding, notes=notes)


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write one uint8 frame without alpha as JPEG, with all metadata that fits."""
    metadata, coding = photo.metadata, photo.coding
    options: dict[str, Any] = {"progressive": coding.progressive, "dpi": metadata.dpi or (0, 0)}
    if photo.frames[0].pixels.shape[2] == 3:
        options["subsampling"] = coding.sampling or "4:4:4"
    if compression.quality is None and coding.quantisation:
        options["qtables"] = [list(table) for table in coding.quantisation]
    else:
        options["quality"] = DEFAULT_QUALITY if compression.quality is None else compression.quality
    buffer = BytesIO()
    image = image_of(photo.frames[0])
    with _room_for_all(image.size) if coding.progressive else nullcontext():
        image.save(buffer, "JPEG", **options)
    coded = buffer.getvalue()
    # JFIF requires APP0 to come first
    after_jfif = 4 + struct.unpack_from(">H", coded, 4)[0]
    return (
        coded[:after_jfif]
        + b"".join(app_segments.written(metadata, notes))
        + coded[after_jfif:]
        + metadata.jpeg_trailer
    )


def _sooner(data: bytes, mode: str) -> Frame | None:
    """Decode grey or RGB as Pillow does, but by a shorter way to the same decoder, in two thirds of the time.

    Return None for other modes and on any fault, which Pillow can tolerate or name.
    """
    if mode not in ("L", "RGB"):
        return None
    try:
        return Frame(pixels=simplejpeg.decode_jpeg(data, colorspace="GRAY" if mode == "L" else "RGB"))
    except ValueError:
        return None


@contextmanager
def _room_for_all(size: tuple[int, int]) -> Iterator[None]:
    """Enlarge Pillow's write buffer so that a progressive JPEG of any content fits.

    libjpeg writes it in one piece; Pillow allows 2 bytes per pixel, which noise at high quality exceeds.
    """
    with _BLOCK:
        before = ImageFile.MAXBLOCK
        ImageFile.MAXBLOCK = max(before, size[0] * size[1] * MOST_BYTES_A_PIXEL)
        try:
            yield
        finally:
            ImageFile.MAXBLOCK = before


def _frame_header(found: list[Segment]) -> Segment:
    header = next((segment for segment in found if segment.marker in FRAME_HEADERS), None)
    if header is None or len(header.payload) < 6 or len(header.payload) < 6 + 3 * header.payload[5]:
        raise Damaged("its frame header is missing or broken; copy the file again")
    return header


def _pixels_alone(data: bytes, found: list[Segment]) -> bytes:
    """Return the file without metadata. APP0 and APP14 stay, as they state the colour space of the samples.

    Those too short for it mean nothing to libjpeg, but Pillow would give up.
    """
    kept = [
        data[segment.start : segment.start + 4 + len(segment.payload)]
        for segment in found[:-1]
        if not (APP0 <= segment.marker <= 0xEF or segment.marker == COM)
        or (segment.marker in (APP0, APP14) and len(segment.payload) >= COLOUR_SPACE_BYTES)
    ]
    return b"".join((SOI, *kept, memoryview(data)[found[-1].start :]))


def _tables(tables: dict[int, list[int]], header: Segment) -> tuple[tuple[int, ...], ...]:
    """Return the tables of the first two components, by the selectors in the frame header (T.81 B.2.2)."""
    used = [header.payload[6 + 3 * component + 2] for component in range(min(2, header.payload[5]))]
    if header.payload[5] == 4 or not all(selector in tables for selector in used):
        return ()  # broken, or CMYK, whose tables do not fit the components of the result
    return tuple(tuple(tables[selector]) for selector in used)


def _sampling(header: Segment) -> str | None:
    """Return the chroma sampling by the factors in the frame header (T.81 B.2.2); 4:4:4 if Pillow cannot write it."""
    if header.payload[5] != 3:
        return None
    luminance, chrominance = header.payload[7], header.payload[10]
    if not chrominance >> 4 or not chrominance & 15:
        return None
    ratio = (luminance >> 4) / (chrominance >> 4), (luminance & 15) / (chrominance & 15)
    return {(1.0, 1.0): "4:4:4", (2.0, 1.0): "4:2:2", (2.0, 2.0): "4:2:0"}.get(ratio, "4:4:4")
