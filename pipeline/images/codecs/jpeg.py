"""JPEG (ITU-T T.81): segments before the scan are read and written back unchanged; libjpeg-turbo does the pixels."""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageFile

from pipeline.errors import Damaged, Unsupported
from pipeline.images.metadata import exif, xmp
from pipeline.images.photo import Coding, Frame, Metadata, Photo
from pipeline.images.pixels import add_note, check_size, frame_of, image_of

DEFAULT_QUALITY = 92  # for sources without quantisation tables to reuse
MAX_PAYLOAD_BYTES = 65533
MOST_BYTES_A_PIXEL = 6
COLOUR_SPACE_BYTES = 12  # of APP0 and APP14
MAX_SCANS = 200  # encoders write about ten

# T.81 table B.1
SOI, SOS, COM = b"\xff\xd8", 0xDA, 0xFE
SCAN = 0xFF | SOS << 8  # as a little-endian number of two bytes
APP0, APP1, APP2, APP11, APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xEE
STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
ARITHMETIC = frozenset(range(0xC9, 0xD0)) - {0xCC}

XMP = b"http://ns.adobe.com/xap/1.0/\x00"
ICC = b"ICC_PROFILE\x00"
GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\x00"
MPF = b"MPF\x00"  # CIPA DC-007


_BLOCK = threading.Lock()


class Segment(NamedTuple):
    marker: int
    start: int  # offset of the 0xFF
    payload: bytes


def read(data: bytes, max_pixels: int) -> Photo:
    """Read the primary image of a JPEG. Raises MediaError, or what Pillow raises on damage."""
    segments = _segments(data)
    header = _frame_header(segments)
    notes: list[str] = []
    if header.marker in ARITHMETIC:
        notes.append("arithmetic coding became Huffman coding")
    precision, height, width = struct.unpack_from(">BHH", header.payload)
    if precision != 8:
        raise Unsupported(f"it is a JPEG of {precision} bits, which nightlift does not read; convert it to TIFF or PNG")
    check_size((width, height), 1, max_pixels)
    scans = _scans(data, segments[-1].start)
    if scans > MAX_SCANS:
        raise Unsupported(
            f"it has {scans} scans, more than the limit of {MAX_SCANS} against files made to stall decoders; remove it"
        )
    metadata = _metadata(segments, notes)
    # Pillow gets no metadata, so that nothing broken or enormous in it, and no second image, gets in its way
    alone = _pixels_alone(data, segments)
    with Image.open(BytesIO(alone), formats=("JPEG",)) as image:
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
        frame = _sooner(alone, image.mode) or frame_of(image, notes, icc=metadata.icc)
        coding = Coding(
            quantisation=_tables(tables, header),
            sampling=_sampling(header),
            progressive=header.marker in PROGRESSIVE,
        )
    return Photo(format="jpeg", frames=[frame], metadata=metadata, coding=coding, notes=notes)


def write(photo: Photo, quality: int | None, notes: list[str]) -> bytes:
    """Write one uint8 frame without alpha as JPEG, with all metadata that fits."""
    metadata, coding = photo.metadata, photo.coding
    options: dict[str, Any] = {"progressive": coding.progressive, "dpi": metadata.dpi or (0, 0)}
    if photo.frames[0].pixels.shape[2] == 3:
        options["subsampling"] = coding.sampling or "4:4:4"
    if quality is None and coding.quantisation:
        options["qtables"] = [list(table) for table in coding.quantisation]
    else:
        options["quality"] = DEFAULT_QUALITY if quality is None else quality
    buffer = BytesIO()
    image = image_of(photo.frames[0])
    with _room_for_all(image.size) if coding.progressive else nullcontext():
        image.save(buffer, "JPEG", **options)
    coded = buffer.getvalue()
    # JFIF requires APP0 to come first
    after_jfif = 4 + struct.unpack_from(">H", coded, 4)[0]
    return coded[:after_jfif] + b"".join(_written(metadata, notes)) + coded[after_jfif:]


def _scans(data: bytes, start: int) -> int:
    """Count the scans that begin at `start` or later. Within a scan, a data byte 0xFF is followed by 0 (T.81 B.1.1.5).

    Pairs of bytes are compared, at even and at odd offsets: a tenth of the time of `bytes.count`, or of a decode.
    """
    pairs = (np.frombuffer(data, "<u2", (len(data) - first) // 2, first) for first in (start, start + 1))
    return sum(int(np.count_nonzero(each == SCAN)) for each in pairs)


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


def _segments(data: bytes) -> list[Segment]:
    """Return all segments up to and including the header of the first scan. Raises Damaged if there is none."""
    found: list[Segment] = []
    at = len(SOI)
    while True:
        at = data.find(b"\xff", at)  # other bytes between segments are skipped, as decoders do
        if at < 0 or at + 4 > len(data):
            break
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or marker in STANDALONE:  # stuffing; a fill byte, T.81 B.1.1.2
            at += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        if length < 2 or at + 2 + length > len(data):
            break
        found.append(Segment(marker, at, data[at + 4 : at + 2 + length]))
        if marker == SOS:
            return found
        at += 2 + length
    raise Damaged(f"it ends after {len(data)} bytes, before its pixels begin; copy the file again")


def _frame_header(segments: list[Segment]) -> Segment:
    header = next((segment for segment in segments if segment.marker in FRAME_HEADERS), None)
    if header is None or len(header.payload) < 6 or len(header.payload) < 6 + 3 * header.payload[5]:
        raise Damaged("its frame header is missing or broken; copy the file again")
    return header


def _pixels_alone(data: bytes, segments: list[Segment]) -> bytes:
    """Return the file without metadata. APP0 and APP14 stay, as they state the colour space of the samples.

    Those too short for it mean nothing to libjpeg, but Pillow would give up.
    """
    kept = [
        data[segment.start : segment.start + 4 + len(segment.payload)]
        for segment in segments[:-1]
        if not (APP0 <= segment.marker <= 0xEF or segment.marker == COM)
        or (segment.marker in (APP0, APP14) and len(segment.payload) >= COLOUR_SPACE_BYTES)
    ]
    return b"".join((SOI, *kept, memoryview(data)[segments[-1].start :]))


def _metadata(segments: list[Segment], notes: list[str]) -> Metadata:
    block = packet = comment = dpi = None
    profile: dict[int, bytes] = {}
    others: list[tuple[int, bytes]] = []
    for marker, _, payload in segments:
        if marker == APP0 and payload.startswith(b"JFIF\x00") and len(payload) >= 12:
            unit, x, y = struct.unpack_from(">BHH", payload, 7)
            scale = {1: 1.0, 2: 2.54}.get(unit)
            dpi = (x * scale, y * scale) if scale and x and y else None
        elif marker == APP1 and payload.startswith(exif.PREFIX) and block is None:
            block = exif.without_prefix(payload)
        elif marker == APP1 and payload.startswith(XMP):
            packet = payload[len(XMP) :]
        elif marker == APP2 and payload.startswith(ICC) and len(payload) > len(ICC) + 2:
            profile[payload[len(ICC)]] = payload[len(ICC) + 2 :]
        elif marker == APP2 and payload.startswith(GAIN_MAP):
            add_note(notes, xmp.GAIN_MAP_DROPPED)
        elif marker == APP2 and payload.startswith(MPF):
            notes.append(f"only the primary image of {_image_count(payload)} kept")
        elif marker == APP11 and payload.startswith(b"JP"):
            add_note(notes, "content credentials dropped: they certify the image before enhancement")
        elif marker == COM and comment is None:
            comment = payload
        elif marker == COM or (APP0 < marker <= 0xEF and marker != APP14):
            others.append((marker, payload))
    if packet is not None:
        if xmp.has_gain_map(packet):
            add_note(notes, xmp.GAIN_MAP_DROPPED)
        if xmp.has_motion_photo(packet):
            notes.append("video of a motion photo dropped")
        packet = xmp.alone(packet)
    icc = b"".join(profile[index] for index in sorted(profile)) or None
    return Metadata(exif=block, icc=icc, xmp=packet, dpi=dpi, comment=comment, jpeg_segments=tuple(others))


def _image_count(payload: bytes) -> int | str:
    """Return the number of images by the tag NumberOfImages (CIPA DC-007 section 5.2.3), or "several" if unreadable."""
    order = "<" if payload[4:6] == b"II" else ">"
    try:
        at = 4 + struct.unpack_from(order + "I", payload, 8)[0]
        for entry in range(struct.unpack_from(order + "H", payload, at)[0]):
            tag, _, _, value = struct.unpack_from(order + "HHII", payload, at + 2 + 12 * entry)
            if tag == 0xB001:
                return int(value)
    except struct.error:
        pass
    return "several"


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


def _written(metadata: Metadata, notes: list[str]) -> list[bytes]:
    written: list[bytes] = []

    def add(marker: int, payload: bytes, name: str) -> None:
        if len(payload) > MAX_PAYLOAD_BYTES:
            notes.append(f"{name} dropped: {len(payload)} bytes are more than a JPEG segment can hold")
        else:
            written.append(struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload)

    if metadata.exif is not None:
        add(APP1, exif.PREFIX + metadata.exif, "EXIF")
    if metadata.xmp is not None:
        add(APP1, XMP + metadata.xmp, "XMP")
    if metadata.icc is not None:
        size = MAX_PAYLOAD_BYTES - len(ICC) - 2
        parts = [metadata.icc[at : at + size] for at in range(0, len(metadata.icc), size)]
        if len(parts) > 255:
            notes.append("ICC profile dropped: it is larger than a JPEG can hold")
        else:
            for index, part in enumerate(parts, 1):
                add(APP2, ICC + bytes((index, len(parts))) + part, "ICC profile")
    for marker, payload in metadata.jpeg_segments:
        add(marker, payload, "a segment")
    if metadata.comment is not None:
        add(COM, metadata.comment, "comment")
    return written
