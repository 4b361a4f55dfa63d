"""Gain maps of iPhones, converted to the terms of ISO 21496-1.

Apple's map holds light M of 0 to 1, coded by the curve of ITU-R BT.709, and HDR screens show

    base * (1 + (headroom - 1) * M)    (Apple, "Applying Apple HDR effect to your photos")
"""

import math
import re
import struct
from contextlib import suppress

import numpy as np

from pipeline.images.gain_map.gains import StoredMap
from pipeline.images.metadata import ifd, tags
from pipeline.images.photo import Gains, Samples

CONVERTED = "Apple's gain map became one by Ultra HDR and ISO 21496-1"
VERSION = re.compile(rb"\bHDRGainMapVersion\b")
HEADROOM = re.compile(rb"""\bHDRGainMapHeadroom(?:\s*=\s*["']|>)\s*([\d.]+)""")

NOTE_BEGINNING = b"Apple iOS\x00"
AS_TIFF = b"MM\x00*\x00\x00\x00\x0e"  # a TIFF header that leads to the note's directory, in place of its first 8 bytes
HDR_HEADROOM, HDR_GAIN = 0x21, 0x30  # tags of the note
LEAST_HEADROOM, MOST_HEADROOM = 1.001, 64.0

_LEVELS = np.arange(256) / 255
LIGHT = np.where(_LEVELS < 0.081, _LEVELS / 4.5, ((_LEVELS + 0.099) / 1.099) ** (1 / 0.45))


def stored_map(pixels: Samples, packet: bytes, exif: bytes | None) -> StoredMap | None:
    """Convert Apple's map of HxWx1 uint8. `packet`: XMP that states its version. `exif`: that of the photo.

    Return None if it is no such map, or nothing says how bright it makes a photo.
    """
    if not VERSION.search(packet) or pixels.shape[2] != 1:
        return None
    headroom = _headroom(packet, exif)
    if headroom is None or not LEAST_HEADROOM <= headroom <= MOST_HEADROOM:
        return None
    most = math.log2(headroom)
    levels = np.rint(np.log2(1 + (headroom - 1) * LIGHT) / most * 255).astype(np.uint8)
    gains = Gains(least=(0.0,), most=(most,), offset_sdr=(0.0,), offset_hdr=(0.0,), headroom_max=most)
    return StoredMap(levels[pixels], gains, note=CONVERTED)


def _headroom(packet: bytes, exif: bytes | None) -> float | None:
    """Return the brightest light of the HDR rendition, if that of white is 1; None if it is not stated."""
    stated = HEADROOM.search(packet)
    if stated is not None:
        with suppress(ValueError):
            return float(stated[1])
    found = _maker_note(exif)
    if HDR_HEADROOM not in found or HDR_GAIN not in found:
        return None
    # Apple's own code
    gain = found[HDR_GAIN]
    if found[HDR_HEADROOM] < 1:
        stops = 1.8 - 20 * gain if gain <= 0.01 else 1.601 - 0.101 * gain
    else:
        stops = 3 - 70 * gain if gain <= 0.01 else 2.303 - 0.303 * gain
    return float(2 ** max(stops, 0))


def _maker_note(exif: bytes | None) -> dict[int, float]:
    """Return the rational numbers in the note that iPhones write into EXIF, by tag."""
    numbers: dict[int, float] = {}
    with suppress(ValueError, LookupError, struct.error):
        note = ifd.read(exif or b"").nested[tags.EXIF_IFD].fields[tags.MAKER_NOTE].value
        if note.startswith(NOTE_BEGINNING):
            for tag, field in ifd.read(AS_TIFF + note[len(AS_TIFF) :]).fields.items():
                if field.kind == ifd.SIGNED_RATIONAL and field.length == 1:
                    numerator, denominator = struct.unpack(">ii", field.value)
                    numbers[tag] = numerator / denominator if denominator else 0.0
    return numbers
