"""Camera raw files made by code: DNGs (DNG 1.7) of a Bayer sensor. Nothing here uses the code under test."""

import struct
from typing import Any

import numpy as np

from tests.support import media
from tests.support.media import Samples

WHITE, BLACK = 4095 * 4, 256
NEUTRAL = (0.5, 1.0, 0.8)  # what a grey is in the sensor's red, green and blue
# XYZ of sRGB's primaries and white (IEC 61966-2-1): a sensor that sees as sRGB does
SRGB_TO_XYZ = np.array(
    (
        (0.4124564, 0.3575761, 0.1804375),
        (0.2126729, 0.7151522, 0.0721750),
        (0.0193339, 0.1191920, 0.9503041),
    )
)
LAYOUTS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 10: "i"}


def linear(srgb: Samples) -> Any:
    """Light of 0 to 1 by sRGB's curve (IEC 61966-2-1), from 8 bits."""
    values = np.asarray(srgb, np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb(light: Any) -> Any:
    """Return 16 bits by sRGB's curve."""
    light = np.asarray(light)
    return 65535 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def mosaic(light: Any) -> Samples:
    """What the sensor stores of linear light: one colour for each pixel, red first, HxW uint16."""
    stored = BLACK + light * np.array(NEUTRAL) * (WHITE - BLACK)
    cells = np.empty(light.shape[:2])
    for top, left, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        cells[top::2, left::2] = stored[top::2, left::2, channel]
    return cells.round().astype(np.uint16)


def dng(
    light: Any, *, orientation: int = 1, order: str = "<", jpeg: bytes = b"", shots: int = 1, xmp: bytes = b""
) -> bytes:
    """A DNG as cameras write it: a thumbnail first, the mosaic and a JPEG preview in further directories.

    `light`: HxWx3 of 0 to 1, as stored; sides are even.
    """
    thumbnail = media.night(16, 12)
    matrix = np.linalg.inv(SRGB_TO_XYZ).flatten()
    images = [_raw(light, order)] * shots + ([_preview(jpeg)] if jpeg else [])
    first: dict[int, Any] = {
        254: (4, 1),
        **_pixels(thumbnail.shape, thumbnail.tobytes(), photometric=2, bits=8),
        271: (2, *b"Nightcam\x00"),
        272: (2, *b"N1\x00"),
        274: (3, orientation),
        306: (2, *media.TAKEN),
        330: images,
        0x8769: {33434: (5, 1, 30), 34855: (3, 800), 36867: (2, *media.TAKEN), 37500: (7, *media.MAKER_NOTE)},
        0x8825: {1: (2, *b"N\x00"), 2: (5, *struct.unpack("<6I", media.GPS_LATITUDE))},
        50706: (1, 1, 4, 0, 0),
        50707: (1, 1, 1, 0, 0),
        50708: (2, *b"Nightcam N1\x00"),
        50721: (10, *(part for value in matrix for part in (round(value * 10000), 10000))),
        50728: (5, *(part for value in NEUTRAL for part in (round(value * 10000), 10000))),
        50778: (3, 21),  # D65
    }
    if xmp:
        first[700] = (1, *xmp)
    return _tiff(first, order)


def _raw(light: Any, order: str) -> dict[int, Any]:
    cells = mosaic(light)
    packed = cells.astype(cells.dtype.newbyteorder("<" if order == "<" else ">")).tobytes()
    return {
        254: (4, 0),
        **_pixels((*cells.shape, 1), packed, photometric=32803, bits=16),
        33421: (3, 2, 2),
        33422: (1, 0, 1, 1, 2),
        50714: (3, BLACK),
        50717: (3, WHITE),
    }


def _preview(jpeg: bytes) -> dict[int, Any]:
    height, width = struct.unpack_from(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5)
    return {254: (4, 1), **_pixels((height, width, 3), jpeg, photometric=6, bits=8, compression=7)}


def _pixels(
    shape: tuple[int, ...], data: bytes, *, photometric: int, bits: int, compression: int = 1
) -> dict[int, Any]:
    height, width, channels = shape
    return {
        256: (4, width),
        257: (4, height),
        258: (3, *[bits] * channels),
        259: (3, compression),
        262: (3, photometric),
        273: data,
        277: (3, channels),
        278: (4, height),
        279: (4, len(data)),
        284: (3, 1),
    }


def _tiff(first: dict[int, Any], order: str) -> bytes:
    """Encode directories: tag -> (type, values), bytes to point at, or directories to point at."""
    parts = bytearray((b"II*\x00" if order == "<" else b"MM\x00*") + bytes(4))

    def put(content: bytes) -> int:
        parts.extend(bytes(len(parts) & 1))
        parts.extend(content)
        return len(parts) - len(content)

    def directory(fields: dict[int, Any]) -> int:
        entries = b""
        for tag, value in sorted(fields.items()):
            if isinstance(value, bytes):
                value = (4, put(value))
            elif isinstance(value, dict):
                value = (4, directory(value))
            elif isinstance(value, list):
                value = (4, *map(directory, value))
            kind, *numbers = value
            packed = struct.pack(f"{order}{len(numbers)}{LAYOUTS[kind]}", *numbers)
            count = len(numbers) // (2 if kind in (5, 10) else 1)
            place = packed.ljust(4, b"\x00") if len(packed) <= 4 else struct.pack(order + "I", put(packed))
            entries += struct.pack(order + "HHI", tag, kind, count) + place
        return put(struct.pack(order + "H", len(fields)) + entries + bytes(4))

    struct.pack_into(order + "I", parts, 4, directory(first))
    return bytes(parts)
