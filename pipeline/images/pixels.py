"""Conversion between Pillow images and frames, and turning of frames upright."""

import logging
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import TooLarge, Unsupported
from pipeline.images.color import conversion
from pipeline.images.photo import Frame, Samples

# Without this handler, what Pillow logs about broken files would go to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def check_size(size: tuple[int, int], frames: int, max_pixels: int) -> None:
    """Raise TooLarge if all frames together have more than `max_pixels` pixels."""
    total_px = size[0] * size[1] * frames
    if total_px > max_pixels:
        extent = f"{size[0]}x{size[1]}" + (f", {frames} frames" if frames > 1 else "")
        raise TooLarge(
            f"it has {total_px} pixels ({extent}), more than --max-pixels {max_pixels}; raise the limit to read it"
        )


def frame_of(
    image: Image.Image, notes: list[str], *, icc: bytes | None = None, duration_ms: float | None = None
) -> Frame:
    """Convert a Pillow image to a frame; conversions are added to `notes`. Raises Unsupported for unknown modes."""
    image = _plain(image, notes, icc)
    samples = np.asarray(image)
    if samples.dtype.kind == "u" and samples.dtype.itemsize == 2:
        samples = samples.astype(np.uint16, copy=False)  # I;16B is big-endian
    if image.mode in ("LA", "RGBA"):
        pixels, alpha = np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1])
        return Frame(pixels=pixels, alpha=alpha, duration_ms=duration_ms)
    return Frame(pixels=samples.reshape(*samples.shape[:2], -1), duration_ms=duration_ms)


def frame_at(image: Image.Image, index: int, count: int, notes: list[str]) -> Frame:
    """Read frame `index` of `count` of an open AVIF or WebP image."""
    image.seek(index)
    image.load()  # sets the duration
    return frame_of(image, notes, duration_ms=image.info["duration"] if count > 1 else None)


def image_of(frame: Frame) -> Image.Image:
    """Convert a uint8 frame to a Pillow image of mode L, LA, RGB or RGBA."""
    if frame.alpha is not None:
        return Image.fromarray(np.dstack((frame.pixels, frame.alpha)))
    if frame.pixels.shape[2] == 1:
        return Image.fromarray(frame.pixels[..., 0])
    image = Image.new("RGB", frame.size, None)  # not cleared, as `fromarray` does before it copies
    image.frombytes(np.ascontiguousarray(frame.pixels))
    return image


def turned(frame: Frame, orientation: int) -> Frame:
    """Turn a stored frame upright by its EXIF orientation (EXIF 2.32 tag Orientation, 1 to 8)."""
    if orientation == 1:
        return frame
    alpha = None if frame.alpha is None else _turn(frame.alpha, orientation)
    return Frame(pixels=_turn(frame.pixels, orientation), alpha=alpha, duration_ms=frame.duration_ms)


def _turn(samples: Samples, orientation: int) -> Samples:
    # a pixel's channels are moved together, in half the time that one after the other takes
    pixels = samples.view(f"V{samples[0, 0].nbytes}")
    if orientation >= 5:  # the stored rows are the shown columns
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels).view(samples.dtype)


def _plain(image: Image.Image, notes: list[str], icc: bytes | None) -> Image.Image:
    """Convert an image to one of the modes L, LA, RGB, RGBA and I;16."""
    mode = image.mode
    if mode in ("L", "RGB") and "transparency" in image.info:
        return image.convert(mode + "A")
    if mode in ("L", "LA", "RGB", "RGBA") or mode.startswith("I;16"):
        return image
    if mode == "1":
        add_note(notes, "1 bit became 8")
        return image.convert("L")
    if mode in ("P", "PA"):
        add_note(notes, "palette became RGB")
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if mode in ("CMYK", "LAB"):
        converted, note = conversion.srgb(image, icc)
        add_note(notes, note)
        return converted
    if mode == "I":
        return _integers(image, notes)
    if mode in ("La", "RGBa", "RGBX", "YCbCr"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB"))
    raise Unsupported(
        f"its pixels have the type {mode}, for which no white is defined; convert it to 8 or 16 bits first"
    )


def _integers(image: Image.Image, notes: list[str]) -> Image.Image:
    samples: Any = np.asarray(image)
    if samples.min() < 0 or samples.max() > 65535:
        raise Unsupported("its integers go beyond 0 to 65535; convert it to 8 or 16 bits first")
    add_note(notes, "32-bit integers became 16 bits")
    return Image.fromarray(samples.astype(np.uint16))


def add_note(notes: list[str], note: str) -> None:
    """Add a note unless it is there already, as several frames or segments may cause the same one."""
    if note not in notes:
        notes.append(note)
