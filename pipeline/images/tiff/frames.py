"""Frames from the samples of a page: by what the samples mean (TIFF 6.0 sections 3 to 8, 16, 18 and 23)."""

import numpy as np
from PIL import Image

from pipeline.errors import Damaged, Unsupported
from pipeline.images.color import conversion
from pipeline.images.photo import Frame, Samples, full_range, to_8_bits
from pipeline.images.pixels import add_note
from pipeline.images.tiff import layout as values
from pipeline.images.tiff.layout import Layout

ROWS_AT_ONCE = 64  # numbers of 32 bits between are not held for a whole image


def frame_of_samples(samples: Samples, layout: Layout, notes: list[str], icc: bytes | None) -> Frame:
    """Convert HxWxS samples of the file's bits to a frame; what is lost is added to `notes`. Raises MediaError."""
    colors = layout.colors
    meaning = next((kind for kind in layout.extra if kind in (values.ASSOCIATED, values.UNASSOCIATED)), 0)
    dropped = len(layout.extra) - bool(meaning)
    if dropped:
        add_note(notes, f"{dropped} extra channel{'s' if dropped > 1 else ''} dropped: neither colour nor alpha")
    alpha = _filled(samples[..., colors + layout.extra.index(meaning)], layout) if meaning else None
    if layout.photometric == values.PALETTE:
        pixels = _from_palette(samples[..., 0], layout)
        add_note(notes, "palette became RGB")
    else:
        pixels = _filled(samples[..., :colors], layout)
    if layout.photometric == values.WHITE_IS_ZERO:
        pixels = np.invert(pixels)
    if alpha is not None and meaning == values.ASSOCIATED:
        pixels = _straight(pixels, alpha, layout)
    if layout.photometric in (values.CMYK, values.CIELAB, values.ICCLAB):
        pixels = _in_srgb(pixels, layout, notes, icc)
    if layout.photometric == values.YCBCR:
        pixels = np.asarray(Image.frombytes("YCbCr", layout.size, np.ascontiguousarray(pixels)).convert("RGB"))
    if pixels.dtype == np.uint8 and layout.bits > 8 and layout.photometric != values.PALETTE:
        add_note(notes, "16 bits became 8")
    if layout.bits == 1 and layout.photometric != values.PALETTE:
        add_note(notes, "1 bit became 8")
    if layout.bits == 32:
        add_note(notes, "32-bit integers became 16 bits")
    if alpha is not None and alpha.dtype != pixels.dtype:
        alpha = to_8_bits(alpha)
    alpha = None if alpha is None else np.ascontiguousarray(alpha)
    return Frame(pixels=np.ascontiguousarray(pixels), alpha=alpha)


def _filled(samples: Samples, layout: Layout) -> Samples:
    """Scale samples to the whole range of uint8, or of uint16 if they have more than 8 bits."""
    if layout.bits in (8, 16, 32):
        return samples
    white = (1 << layout.bits) - 1
    if layout.bits > 8:
        return full_range(samples, white)
    return ((samples.astype(np.uint16) * 255 + white // 2) // white).astype(np.uint8)


def _from_palette(indices: Samples, layout: Layout) -> Samples:
    """Map indices to colours. Some old programs wrote maps of 8 bits, as libtiff's readers find out in the same way."""
    count = 1 << layout.bits
    if len(layout.color_map) < 3 * count:
        raise Damaged("its colour map is cut short; copy the file again")
    colors = np.array(layout.color_map[: 3 * count], np.uint16).reshape(3, count).T
    return (colors if colors.max() < 256 else colors >> 8).astype(np.uint8)[indices]


def _straight(pixels: Samples, alpha: Samples, layout: Layout) -> Samples:
    """Convert pixels multiplied by alpha to plain ones."""
    if layout.photometric not in (values.BLACK_IS_ZERO, values.RGB, values.CMYK):
        raise Unsupported(f"its alpha is multiplied into pixels that are neither grey, RGB nor CMYK; {values.CONVERT}")
    white = np.iinfo(pixels.dtype).max
    straight = np.empty_like(pixels)
    for top in range(0, len(pixels), ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        opacity = np.maximum(alpha[rows], 1)[..., None].astype(np.uint32)
        straight[rows] = np.minimum((pixels[rows].astype(np.uint32) * white + opacity // 2) // opacity, white)
    return straight


def _in_srgb(pixels: Samples, layout: Layout, notes: list[str], icc: bytes | None) -> Samples:
    """Convert CMYK or L*a*b* to sRGB of 8 bits."""
    if layout.photometric == values.CMYK:
        mode, eight = "CMYK", to_8_bits(pixels)
    else:
        mode, eight = "LAB", _lab(pixels, layout)
    image = Image.frombytes(mode, layout.size, np.ascontiguousarray(eight))
    converted, note = conversion.srgb(image, icc)
    add_note(notes, note)
    return np.asarray(converted)


def _lab(pixels: Samples, layout: Layout) -> Samples:
    """Return L*a*b* of 8 bits with signed a* and b*, as CIELAB has it; ICCLab's begin at -128 instead.

    Of 16 bits, CIELAB's L* ends at 65535, ICCLab's at 65280 (ICC.1:2001 section 6.3.4); a* and b* count in 256ths.
    """
    lab: Samples = pixels.copy()
    if layout.photometric == values.CIELAB:
        lab[..., 1:] ^= 1 << (8 * lab.itemsize - 1)
    if lab.dtype == np.uint16:
        light = to_8_bits(lab[..., :1]) if layout.photometric == values.CIELAB else _in_256ths(lab[..., :1])
        lab = np.concatenate((light, _in_256ths(lab[..., 1:])), axis=2)
    lab[..., 1:] ^= 128
    return lab


def _in_256ths(samples: Samples) -> Samples:
    return np.minimum((samples.astype(np.uint32) + 128) // 256, 255).astype(np.uint8)
