"""Decoding of an image file to a Photo. What cannot be kept is noted; only MediaError and MemoryError are raised."""

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from PIL import UnidentifiedImageError

from pipeline.errors import Damaged, EmptyFile, MediaError, Unsupported, is_want_of_memory
from pipeline.images.codecs import avif, bmp, gif, heif, pnm, webp
from pipeline.images.color import high_dynamic_range
from pipeline.images.color.conversion import space_of
from pipeline.images.formats import Format
from pipeline.images.gain_map import reading
from pipeline.images.isobmff import boxes
from pipeline.images.jpeg import jpeg
from pipeline.images.jxl import jxl
from pipeline.images.metadata import exif, regions, xmp
from pipeline.images.photo import Photo
from pipeline.images.pixels import add_note, turned
from pipeline.images.png import png
from pipeline.images.raw import raw
from pipeline.images.recognition import format_of_content
from pipeline.images.silence import quiet_pillow
from pipeline.images.tiff import reading as tiff

READERS: dict[str, Callable[[bytes, int], Photo]] = {
    "jpeg": jpeg.read,
    "png": png.read,
    "webp": webp.read,
    "tiff": tiff.read,
    "bmp": bmp.read,
    "gif": gif.read,
    "avif": avif.read,
    "heif": heif.read,
    "pnm": pnm.read,
    "jxl": jxl.read,
    "raw": raw.read,
}

# Exceptions that decoders raise on broken data: any of these, depending on the codec and the damage.
BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def decode(
    data: bytes,
    *,
    max_pixels: int,
    hdr_for: Format | None = None,
    raw_preview: bool = False,
    gain_map: bool = True,
) -> Photo:
    """Decode an image file of any format in FORMATS, recognised by its content.

    Pixels are turned upright. At most `max_pixels` are decoded, all frames together. PQ and HLG become sRGB, unless
    `hdr_for`, the format to write, holds them. `raw_preview`: read the embedded JPEG of a camera raw file instead of
    developing it. `gain_map`: False where only the pixels matter: then the gain map is neither read nor noted.
    Raises EmptyFile, NotMedia, Damaged, TooLarge, Unsupported, MissingExtra or MemoryError.
    """
    if not data:
        raise EmptyFile("it has 0 bytes; copy the file again or remove it")
    name = format_of_content(data)
    reader = raw.read_preview if name == "raw" and raw_preview else READERS[name]
    try:
        with quiet_pillow():
            stored = _alone(reader(data, max_pixels))
            photo = with_fitting_profile(_upright(stored))
            if gain_map:
                photo = _with_gain_map(photo, stored, data, max_pixels)
            else:
                photo.notes[:] = [note for note in photo.notes if note != xmp.GAIN_MAP_DROPPED]
            return high_dynamic_range.fitted(photo, hdr_for, photo.notes)
    except MediaError:
        raise
    except UnidentifiedImageError:
        raise Damaged(f"its {name.upper()} header is broken; copy the file again") from None
    except BROKEN as error:
        if is_want_of_memory(error):
            raise MemoryError(str(error)) from error
        found = " ".join(str(error).split()) or type(error).__name__
        if found.startswith("Unsupported"):  # so begin Pillow's messages about what it knows but does not read
            raise Unsupported(f"it is a {name.upper()} of a kind not read here ({found}); convert it to PNG") from error
        raise Damaged(f"its {name.upper()} data are truncated or corrupt ({found}); copy the file again") from error


def _alone(photo: Photo) -> Photo:
    """Remove what metadata hold or say about other images: previews, and parts of the file that are dropped."""
    metadata = photo.metadata
    packet = metadata.xmp and xmp.alone(xmp.in_utf8(metadata.xmp), photo.notes)
    block = metadata.exif
    if block is not None:
        with suppress(ValueError, struct.error):  # _upright drops it
            block = exif.without_previews(block) or None
    return replace(photo, metadata=replace(metadata, exif=block, xmp=packet))


def _upright(photo: Photo) -> Photo:
    """Apply the EXIF orientation to the pixels, and update the metadata to match. Damaged EXIF is dropped."""
    metadata = photo.metadata
    if metadata.exif is None:
        return photo
    try:
        orientation = exif.orientation(metadata.exif)
        frames = [turned(frame, orientation or 1) for frame in photo.frames]
        block = exif.upright(metadata.exif, frames[0].size)
    except (ValueError, struct.error) as error:
        photo.notes.append(f"EXIF dropped: it is damaged ({error})")
        return replace(photo, metadata=replace(metadata, exif=None))
    if orientation is None:
        return replace(photo, metadata=replace(metadata, exif=block))
    # some programs repeat the orientation in XMP; viewers ignore it there if EXIF has none, so only now it is reset
    packet = metadata.xmp and regions.upright(metadata.xmp, orientation, frames[0].size)
    dpi, chunks, properties = metadata.dpi, metadata.png_chunks, metadata.avif_boxes
    if orientation >= 5:
        dpi, chunks, properties = dpi and (dpi[1], dpi[0]), png.turned(chunks), boxes.turned(properties)
    return replace(
        photo,
        frames=frames,
        metadata=replace(metadata, exif=block, xmp=packet, dpi=dpi, png_chunks=chunks, avif_boxes=properties),
    )


def with_fitting_profile(photo: Photo) -> Photo:
    """Drop an ICC profile that does not fit the channels of the pixels, which may have been converted."""
    icc = photo.metadata.icc
    fitting = (b"RGB ",) if photo.frames[0].pixels.shape[2] == 3 else (b"GRAY", b"RGB ")
    if icc is None or space_of(icc) in fitting:
        return photo
    space = space_of(icc).decode("latin-1").strip("\x00 ")
    found = f"it is for {space}, but the pixels are not" if len(icc) >= 128 and space.isalnum() else "it is damaged"
    photo.notes.append(f"ICC profile dropped: {found}")
    return replace(photo, metadata=replace(photo.metadata, icc=None))


def _with_gain_map(photo: Photo, stored: Photo, data: bytes, max_pixels: int) -> Photo:
    """Add the gain map of the file, if it has one that can be used. `stored`: the photo as the codec read it."""
    try:
        gain_map = reading.read(stored, photo, data, max_pixels)
    except (MediaError, *BROKEN) as error:
        if is_want_of_memory(error):
            raise
        gain_map = None
        add_note(photo.notes, xmp.GAIN_MAP_DROPPED)
    if gain_map is not None and high_dynamic_range.transfer_of(photo) is not None:  # made for an SDR image
        gain_map = None
        add_note(photo.notes, xmp.GAIN_MAP_DROPPED)
    if gain_map is None:
        return photo
    photo.notes[:] = [note for note in photo.notes if note != xmp.GAIN_MAP_DROPPED]
    return replace(photo, metadata=replace(photo.metadata, gain_map=gain_map))
