"""Two 16-bit TIFF layouts that Pillow does not read: grey with alpha, and colour in separate planes.

Strips are uncompressed or deflated (TIFF 6.0 sections 3, 14 and 18; Adobe's supplement 2).
"""

import zlib
from typing import NamedTuple

import numpy as np

from pipeline.errors import Damaged
from pipeline.images.metadata import ifd
from pipeline.images.photo import Frame, Samples

UNCOMPRESSED = (1,)
DEFLATED = ((8,), (32946,))


class Layout(NamedTuple):
    size: tuple[int, int]
    channels: int
    samples: int
    rows_per_strip: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    deflated: bool
    differences: bool
    planar: bool
    order: str


def direct_layout(first: ifd.Directory, order: str) -> Layout | None:
    """Return the layout of the pixels if it is one of these two; None for all others, which Pillow reads."""

    def one(tag: int, default: int) -> int:
        return (ifd.numbers(first, tag, order) or (default,))[0]

    bits, photometric, samples = ifd.numbers(first, 258, order), one(262, -1), one(277, 1)
    channels = {1: 1, 2: 3}.get(photometric, 0)
    planar = one(284, 1) == 2
    alpha_only = ifd.numbers(first, 338, order) in ((), (0,), (2,))
    compression = ifd.numbers(first, 259, order) or UNCOMPRESSED
    fits = (
        set(bits) == {16}
        and one(339, 1) == 1
        and one(274, 1) == 1
        and samples in (channels, channels + 1)
        and alpha_only
        and ((planar and channels == 3) or samples == 2)
        and (compression == UNCOMPRESSED or compression in DEFLATED)
        and one(317, 1) in (1, 2)
    )
    offsets, sizes = ifd.numbers(first, 273, order), ifd.numbers(first, 279, order)
    width, height = one(256, 0), one(257, 0)
    if not (fits and offsets and len(offsets) == len(sizes) and width and height):
        return None
    return Layout(
        size=(width, height),
        channels=channels,
        samples=samples,
        rows_per_strip=min(one(278, height) or height, height),
        offsets=offsets,
        sizes=sizes,
        deflated=compression != UNCOMPRESSED,
        differences=one(317, 1) == 2,
        planar=planar,
        order=order,
    )


def read_directly(data: bytes, layout: Layout) -> Frame:
    """Read the first page. Raises Damaged if a strip is too short or broken."""
    (width, height), samples = layout.size, layout.samples
    planes, depth = (samples, 1) if layout.planar else (1, samples)
    found = np.empty((planes, height, width, depth), np.uint16)
    strips = iter(zip(layout.offsets, layout.sizes, strict=True))
    for plane in found:
        for top in range(0, height, layout.rows_per_strip):
            rows = plane[top : top + layout.rows_per_strip]
            rows[:] = _strip(data, next(strips, (0, 0)), rows.shape, layout)
    whole: Samples = found[0] if planes == 1 else np.moveaxis(found[..., 0], 0, -1)
    pixels = np.ascontiguousarray(whole[..., : layout.channels])
    alpha = np.ascontiguousarray(whole[..., layout.channels]) if samples > layout.channels else None
    return Frame(pixels=pixels, alpha=alpha)


def _strip(data: bytes, place: tuple[int, int], shape: tuple[int, ...], layout: Layout) -> Samples:
    offset, size = place
    coded = data[offset : offset + size]
    expected = int(np.prod(shape)) * 2
    if layout.deflated:
        try:
            coded = zlib.decompressobj().decompress(coded, expected)
        except zlib.error as error:
            raise Damaged(f"its compressed pixels are broken ({error}); copy the file again") from None
    if len(coded) < expected:
        raise Damaged("it ends before all its pixels; copy the file again")
    samples = np.frombuffer(coded, layout.order + "u2", expected // 2).astype(np.uint16).reshape(shape)
    return np.cumsum(samples, axis=1, dtype=np.uint16) if layout.differences else samples
