"""Decoding and encoding a photo alone, the baseline for the whole job."""

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any

import simplejpeg
from PIL import Image

from pipeline.images import decode, encode

SUBSAMPLING = {"4:4:4": "444", "4:2:2": "422", "4:2:0": "420"}


def round_trip(source: bytes, result: bytes) -> Callable[[], object]:
    """Return a function that decodes a photo and encodes its enhanced result.

    It codes JPEGs by the shortest way into libjpeg-turbo, in the quality of the result.
    """
    enhanced = decode(result, max_pixels=1 << 40)
    coding, pixels = enhanced.coding, enhanced.frames[0].pixels

    def ours() -> object:
        decode(source, max_pixels=1 << 40)
        return encode(enhanced, enhanced.format, quality=None)

    if enhanced.format != "jpeg" or not coding.quantisation or coding.progressive:
        return ours
    quality = _quality(coding.quantisation[0])
    grey = pixels.shape[2] == 1
    space = "GRAY" if grey else "RGB"
    sampling = "Gray" if grey else SUBSAMPLING[coding.sampling or "4:4:4"]

    def again() -> object:
        simplejpeg.decode_jpeg(source, colorspace=space)
        return simplejpeg.encode_jpeg(pixels, quality, colorspace=space, colorsubsampling=sampling)

    try:
        again()
    except ValueError:  # the source is no JPEG, or one that Pillow accepts and simplejpeg does not
        return ours
    return again


def _quality(table: tuple[int, ...]) -> int:
    """Find the quality for which libjpeg's luminance table is nearest to this one."""
    return min(range(1, 101), key=lambda quality: abs(_coarseness(quality) - sum(table)))


@lru_cache(128)
def _coarseness(quality: int) -> int:
    """Return the sum of libjpeg's luminance table for a quality."""
    buffer = BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        tables: dict[int, Any] = getattr(image, "quantization", {})
        return sum(tables[0])
