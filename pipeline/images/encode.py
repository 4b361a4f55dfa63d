"""Encoding of a Photo to an image file. Each thing that the format cannot hold is converted or dropped with a note."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.errors import MediaError, Unsupported, is_want_of_memory
from pipeline.images.codecs import bmp, gif, heif, pnm, webp
from pipeline.images.color import conversion, high_dynamic_range
from pipeline.images.color.working_space import in_srgb
from pipeline.images.formats import FORMATS, Format
from pipeline.images.gain_map import tone_map, ultra_hdr
from pipeline.images.jxl import jxl
from pipeline.images.photo import DEFLATE_LEVEL, Compression, Frame, Metadata, Photo, Samples, to_8_bits
from pipeline.images.png import png
from pipeline.images.silence import quiet_pillow
from pipeline.images.tiff import iptc
from pipeline.images.tiff import writing as tiff

WRITERS: dict[str, Callable[[Photo, Compression, list[str]], bytes]] = {
    "jpeg": ultra_hdr.write,
    "png": png.write,
    "webp": webp.write,
    "tiff": tiff.write,
    "bmp": bmp.write,
    "gif": gif.write,
    "avif": tone_map.write,
    "heif": heif.write,
    "pnm": pnm.write,
    "jxl": jxl.write,
}
# What fields of the resolution hold (JFIF 1.02; PNG section 11.3.4.3; BITMAPV5HEADER; TIFF 6.0 section 2)
MOST_DPI = {"jpeg": 65_535, "png": 100_000_000, "bmp": 50_000_000, "tiff": 4_000_000_000}
# Parts of metadata, for notes
NAMES = {
    "exif": "EXIF",
    "icc": "ICC profile",
    "xmp": "XMP",
    "dpi": "resolution",
    "comment": "comment",
    "jpeg_segments": "other JPEG metadata",
    "jpeg_trailer": "data of the camera behind the image",
    "png_chunks": "other PNG metadata",
    "avif_boxes": "other AVIF metadata",
    "gain_map": "gain map",
}


def encode(photo: Photo, name: str, *, quality: int | None, level: int = DEFLATE_LEVEL) -> tuple[bytes, list[str]]:
    """Encode a photo in the format `name` of FORMATS; return the bytes, and notes on what could not be held.

    `quality`: 1 to 100 for JPEG, WebP, AVIF, JPEG XL and HEIC; None for the source's own compression if it is known,
    else a high default. `level`: 1 to 9, how hard PNG and TIFF are compressed. Raises Unsupported if the format cannot
    be written or cannot hold the photo, MissingExtra, ValueError if a number is out of range, and MemoryError.
    """
    target = FORMATS[name]
    if not target.writable:
        raise Unsupported(f"{name.upper()} cannot be written; choose {target.written_as.upper()} or another format")
    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; it must be between 1 and 100")
    if not 1 <= level <= 9:
        raise ValueError(f"the level is {level}; it must be between 1 and 9")
    notes: list[str] = []
    photo = high_dynamic_range.fitted(photo, target, notes)
    if "icc" not in target.holds:
        tagged, photo = photo, in_srgb(photo)
        if photo is not tagged:
            notes.append(f"converted to sRGB: {name.upper()} has no place for its ICC profile")
    frames = _frames(photo, target, notes)
    if photo.format == "tiff" and name == "jpeg":
        photo = replace(photo, metadata=iptc.as_segments(photo.metadata))
    photo = replace(photo, frames=frames, metadata=_metadata(photo.metadata, target, notes))
    longest = max(max(frame.size) for frame in frames)
    if longest > target.max_side_px:
        raise Unsupported(
            f"its longer side has {longest} pixels, but {name.upper()} allows at most {target.max_side_px}; "
            "write it as PNG or TIFF"
        )
    if not target.grey:
        photo = _in_colour(photo, target, notes)
    try:
        with quiet_pillow():
            return WRITERS[name](photo, Compression(quality, level), notes), notes
    except MediaError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        if is_want_of_memory(error):
            raise MemoryError(str(error)) from error
        raise Unsupported(f"it cannot be written as {name.upper()} ({error}); write it as PNG") from error


def _frames(photo: Photo, target: Format, notes: list[str]) -> list[Frame]:
    """Return the frames that `target` can hold, converted to the bit depth and alpha that it supports."""
    frames = photo.frames
    if photo.animated and target.animation:
        if frames[0].duration_ms is None and target.name != "png":
            notes.append("still image for viewers without animation dropped")
            frames = frames[1:]
    elif len(frames) > 1 and not (target.pages and not photo.animated):
        notes.append(f"only the first of {len(frames)} {'frames' if photo.animated else 'pages'} kept")
        frames = frames[:1]
    if not target.sixteen_bits and any(frame.pixels.dtype == np.uint16 for frame in frames):
        notes.append(f"more than 8 bits rounded to 8: {target.name.upper()} holds no more")
        frames = [_in_8_bits(frame) for frame in frames]
    if not target.alpha and any(frame.alpha is not None for frame in frames):
        if any(frame.alpha is not None and not _opaque(frame.alpha) for frame in frames):
            notes.append(f"alpha dropped: {target.name.upper()} has none; the image is placed on white")
        frames = [_over_white(frame) for frame in frames]
    if target.name == "gif" and any(frame.alpha is not None and _soft(frame.alpha) for frame in frames):
        notes.append("alpha became fully on or off: GIF supports nothing between")
    if len(frames) > 1 and photo.animated:
        frames = _alike(frames)
    return frames


def _in_8_bits(frame: Frame) -> Frame:
    alpha = None if frame.alpha is None else to_8_bits(frame.alpha)
    return replace(frame, pixels=to_8_bits(frame.pixels), alpha=alpha)


def _opaque(alpha: Samples) -> bool:
    return bool(alpha.min() == np.iinfo(alpha.dtype).max)


def _soft(alpha: Samples) -> bool:
    return bool(((alpha > 0) & (alpha < 255)).any())


def _over_white(frame: Frame) -> Frame:
    if frame.alpha is None or _opaque(frame.alpha):
        return replace(frame, alpha=None)
    white = int(np.iinfo(frame.pixels.dtype).max)
    opacity = frame.alpha[..., None].astype(np.uint32)
    mixed = (frame.pixels * opacity + white * (white - opacity) + white // 2) // white
    return replace(frame, pixels=mixed.astype(frame.pixels.dtype), alpha=None)


def _alike(frames: list[Frame]) -> list[Frame]:
    """Give all frames of an animation the same channels, as they share one header: colour or alpha if any has it."""
    channels = max(frame.pixels.shape[2] for frame in frames)
    alpha = any(frame.alpha is not None for frame in frames)
    alike = []
    for frame in frames:
        if frame.pixels.shape[2] < channels:
            frame = replace(frame, pixels=np.repeat(frame.pixels, channels, axis=2))
        if alpha and frame.alpha is None:
            white = np.iinfo(frame.pixels.dtype).max
            frame = replace(frame, alpha=np.full(frame.pixels.shape[:2], white, frame.pixels.dtype))
        alike.append(frame)
    return alike


def _metadata(metadata: Metadata, target: Format, notes: list[str]) -> Metadata:
    missing = [part for part in NAMES if part not in target.holds and getattr(metadata, part)]
    notes += [f"{NAMES[part]} dropped: {target.name.upper()} has no place for it" for part in missing]
    most = MOST_DPI.get(target.name)
    if metadata.dpi is not None and most is not None and not all(0 < side <= most for side in metadata.dpi):
        x, y = metadata.dpi
        missing.append("dpi")
        dropped = f"resolution dropped: {target.name.upper()} cannot hold {x:g} x {y:g} dpi"
        notes += [dropped] * any((x, y))  # 0: not known
    empty = Metadata()
    return replace(metadata, **{part: getattr(empty, part) for part in missing})


def _in_colour(photo: Photo, target: Format, notes: list[str]) -> Photo:
    """Convert grey frames to RGB. A grey profile would not fit RGB, so its tones are converted to sRGB."""
    icc = photo.metadata.icc
    levels = None
    if icc is not None and conversion.space_of(icc) == b"GRAY":
        levels = conversion.grey_to_srgb(icc)
        damaged = f"grey profile dropped: it is damaged, and {target.name.upper()} has no grey"
        notes.append(damaged if levels is None else "grey profile became sRGB")
        photo = replace(photo, metadata=replace(photo.metadata, icc=None))
    frames = []
    for frame in photo.frames:
        pixels = frame.pixels
        if pixels.shape[2] == 1:
            if levels is not None:
                pixels = np.array(levels, np.uint8)[pixels]
            pixels = np.repeat(pixels, 3, axis=2)
        frames.append(replace(frame, pixels=pixels))
    return replace(photo, frames=frames)
