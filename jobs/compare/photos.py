"""A photo of two: before and after, as WebP."""

from io import BytesIO

import numpy as np

from jobs.compare.drawing import Layout, drawn, scaled
from pipeline.images import decode
from pipeline.images.photo import to_8_bits
from pipeline.photos import MAX_PIXELS
from pipeline.training.samples import small

QUALITY = 85
TURN_MS = 1000  # of the layout `flip`


def webp(before: bytes, after: bytes, layout: Layout, long_side_px: int) -> bytes:
    """Return a WebP of both photos, of an animation its first frame. Raises MediaError, MemoryError."""
    images = [scaled(_pixels(data, long_side_px), long_side_px) for data in (before, after)]
    images[0] = images[0] if images[0].size == images[1].size else images[0].resize(images[1].size)
    turns = range(2 if layout == "flip" else 1)
    first, *more = (drawn(images[0], images[1], layout, turn=turn) for turn in turns)
    sink = BytesIO()
    animation = {"save_all": True, "append_images": more, "duration": TURN_MS, "loop": 0} if more else {}
    first.save(sink, "WEBP", quality=QUALITY, **animation)
    return sink.getvalue()


def _pixels(data: bytes, long_side_px: int) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
    photo = decode(data, max_pixels=MAX_PIXELS, gain_map=False)
    sized = small(to_8_bits(photo.frames[0].pixels), long_side_px, photo.metadata.icc)
    return np.ascontiguousarray(sized.transpose(1, 2, 0))
