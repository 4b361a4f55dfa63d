"""The gain map of a photo, in whatever form it has one."""

import re
from io import BytesIO
from typing import Any

import numpy as np

from pipeline.images.gain_map import apple, metadata, tone_map, ultra_hdr
from pipeline.images.gain_map.gains import StoredMap, fitted
from pipeline.images.metadata import exif
from pipeline.images.metadata.xmp import GAIN_MAP_DROPPED
from pipeline.images.photo import GainMap, Photo
from pipeline.images.pixels import add_note, check_size

AUXILIARY_TYPE = "hdrgainmap"  # ends the types of auxiliary images of Apple and Samsung
PACKET = re.compile(rb"<x:xmpmeta.*?</x:xmpmeta>", re.DOTALL)
SHAPE_TOLERANCE = 0.1


def read(stored: Photo, shown: Photo, data: bytes, max_pixels: int) -> GainMap | None:
    """Read the gain map of a photo; None if it has none that can be used.

    `stored`: the photo as a codec reads it; `shown`: upright. Raises MediaError, or what codecs raise on damage.
    """
    block = stored.metadata.exif
    if stored.format == "jpeg":
        found = ultra_hdr.read(data, block, max_pixels)
    elif stored.format == "avif" and not stored.animated:
        found = tone_map.read(data, max_pixels)
    elif stored.format == "heif":
        found = _of_heic(data, block, max_pixels)
    else:
        found = None
    if found is None:
        if stored.format in ("avif", "heif") and tone_map.TMAP in _brands(data):
            add_note(shown.notes, GAIN_MAP_DROPPED)
        return None
    orientation = exif.orientation(block) if block is not None and shown.metadata.exif is not None else None
    gain_map = fitted(found, shown.frames[0], orientation or 1)
    if not _are_alike(gain_map.size, shown.frames[0].size):  # the photo was cropped or turned without it
        add_note(shown.notes, GAIN_MAP_DROPPED)
        return None
    return gain_map


def _are_alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes have the same shape, apart from rounding."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= SHAPE_TOLERANCE


def _brands(data: bytes) -> bytes:
    """Return the first box of a file, which names the features that it needs."""
    return data[: int.from_bytes(data[:4], "big")]


def _of_heic(data: bytes, block: bytes | None, max_pixels: int) -> StoredMap | None:
    """Read the map of an iPhone, or one with the XMP of Ultra HDR. XMP of a map lies in the file as it is."""
    import pillow_heif

    file = pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=True)
    primary = file[file.primary_index]
    info: dict[str, Any] = primary.info
    numbers = [number for kind, found in info.get("aux", {}).items() if AUXILIARY_TYPE in kind for number in found]
    if not numbers:
        return None
    image = primary.get_aux_image(numbers[0])
    width, height = image.size
    check_size(image.size, 1, max_pixels)
    samples = np.asarray(image)
    if samples.dtype != np.uint8:
        return None
    pixels = samples.reshape(height, samples.shape[1], -1)[:, :width]
    packets = b"".join(PACKET.findall(data))
    gains = metadata.of_xmp(packets)
    return apple.stored_map(pixels, packets, block) if gains is None else StoredMap(pixels, gains)
