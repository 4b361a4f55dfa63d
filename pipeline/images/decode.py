"""Decoding of an image file to a Photo. What cannot be kept is noted; only MediaError and MemoryError are raised."""

import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace

from PIL import UnidentifiedImageError

from pipeline.errors import Damaged, EmptyFile, MediaError, is_want_of_memory
from pipeline.images.codecs import avif, bmp, gif, heif, jpeg, pnm, webp
from pipeline.images.color.conversion import space_of
from pipeline.images.formats import format_of_content
from pipeline.images.jxl import jxl
from pipeline.images.metadata import exif, xmp
from pipeline.images.photo import Photo
from pipeline.images.pixels import turned
from pipeline.images.png import png
from pipeline.images.raw import raw
from pipeline.images.tiff import tiff

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


def decode(data: bytes, *, max_pixels: int, raw_preview: bool = False) -> Photo:
    """Decode an image file of any format in FORMATS, recognised by its content.

    Pixels are turned upright. At most `max_pixels` are decoded, all frames together.
    `raw_preview`: read the embedded JPEG of a camera raw file instead of developing it.
    Raises EmptyFile, NotMedia, Damaged, TooLarge, Unsupported, MissingExtra or MemoryError.
    """
    if not data:
        raise EmptyFile("it has 0 bytes; copy the file again or remove it")
    name = format_of_content(data)
    reader = raw.read_preview if name == "raw" and raw_preview else READERS[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about details that are kept, noted or refused here
            return _with_fitting_profile(_upright(reader(data, max_pixels)))
    except MediaError:
        raise
    except UnidentifiedImageError:
        raise Damaged(f"its {name.upper()} header is broken; copy the file again") from None
    except BROKEN as error:
        if is_want_of_memory(error):
            raise MemoryError(str(error)) from error
        found = " ".join(str(error).split()) or type(error).__name__
        raise Damaged(f"its {name.upper()} data are truncated or corrupt ({found}); copy the file again") from error


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
    packet = metadata.xmp if metadata.xmp is None else xmp.upright(metadata.xmp)
    dpi, chunks = metadata.dpi, metadata.png_chunks
    if orientation >= 5:
        dpi, chunks = dpi and (dpi[1], dpi[0]), png.turned(chunks)
    return replace(
        photo,
        frames=frames,
        metadata=replace(metadata, exif=block, xmp=packet, dpi=dpi, png_chunks=chunks),
    )


def _with_fitting_profile(photo: Photo) -> Photo:
    """Drop an ICC profile that does not fit the channels of the pixels, which may have been converted."""
    icc = photo.metadata.icc
    fitting = (b"RGB ",) if photo.frames[0].pixels.shape[2] == 3 else (b"GRAY", b"RGB ")
    if icc is None or space_of(icc) in fitting:
        return photo
    space = space_of(icc).decode("latin-1").strip()
    photo.notes.append(f"ICC profile dropped: it is for {space}, but the pixels are not")
    return replace(photo, metadata=replace(photo.metadata, icc=None))
