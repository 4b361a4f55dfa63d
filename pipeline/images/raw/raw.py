"""Camera raw files, developed by LibRaw or read as their embedded JPEG, through the optional package rawpy."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np

from model.curve import srgb
from pipeline.errors import Damaged, Unsupported, plural
from pipeline.images.extras import extra
from pipeline.images.jpeg import jpeg
from pipeline.images.metadata import exif
from pipeline.images.photo import Frame, Photo
from pipeline.images.pixels import check_size, turned
from pipeline.images.raw.raw_metadata import metadata_of
from pipeline.images.raw.recognition import missing_bytes
from pipeline.images.silence import silent_stderr

ORIENTATIONS = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}  # LibRaw's flip -> EXIF orientation
SMALL_PREVIEW = 0.5  # of the raw image's longer side


def read(data: bytes, max_pixels: int) -> Photo:
    """Return the raw image, developed to 16 bits in sRGB, upright.

    With the camera's white balance, and without automatic brightening, as the network is there for that.
    Highlights are clipped to white at the camera's exposure: LibRaw's ways to restore them darken all the rest.
    Raises MediaError or MemoryError.
    """
    with _opened(data) as (rawpy, raw):
        if missing := missing_bytes(data):
            raise Damaged(f"it is cut short: {plural(missing, 'byte')} are missing at its end; copy the file again")
        check_size((raw.sizes.iwidth, raw.sizes.iheight), 1, max_pixels)
        notes = ["only the first of several shots kept"] if _has_more_shots(rawpy, data) else []
        preview = _preview(rawpy, raw)
        samples = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            output_bps=16,
            output_color=rawpy.ColorSpace.sRGB,
            gamma=(srgb.POWER, srgb.SLOPE),
            highlight_mode=rawpy.HighlightMode.Clip,
        )
        metadata = metadata_of(data, preview, notes)
    frame = Frame(pixels=np.ascontiguousarray(samples.reshape(*samples.shape[:2], -1)))
    return Photo(format="raw", frames=[frame], metadata=metadata, notes=notes)


def read_preview(data: bytes, max_pixels: int) -> Photo:
    """Read the largest embedded JPEG, upright. Raises MediaError, or what Pillow raises on damage."""
    with _opened(data) as (rawpy, raw):
        preview, sizes = _preview(rawpy, raw), raw.sizes
    if preview is None:
        raise Unsupported("this camera raw file has no embedded JPEG; use --raw develop")
    photo = jpeg.read(preview, max_pixels)
    width, height = photo.frames[0].size
    if max(width, height) < SMALL_PREVIEW * max(sizes.iwidth, sizes.iheight):
        photo.notes.append(
            f"its embedded JPEG has only {width}x{height} of {sizes.iwidth}x{sizes.iheight} pixels; "
            "for more use --raw develop"
        )
    of_raw = metadata_of(data, preview, photo.notes)
    metadata = replace(photo.metadata, exif=of_raw.exif, xmp=photo.metadata.xmp or of_raw.xmp)
    frame = turned(photo.frames[0], _orientation(photo.metadata.exif, sizes.flip))
    return replace(photo, format="raw", frames=[frame], metadata=metadata)


def _orientation(block: bytes | None, flip: int) -> int:
    """Return the orientation of a preview by its own EXIF, or that of the raw image if it has none."""
    stated = None
    if block is not None:
        with suppress(ValueError):  # damaged, but the raw file has a copy
            stated = exif.orientation(block)
    return ORIENTATIONS.get(flip, 1) if stated is None else stated


@contextmanager
def _opened(data: bytes) -> Iterator[tuple[Any, Any]]:
    """Open a raw file; yield the module rawpy and the file. LibRaw's errors become ours."""
    rawpy: Any = extra("rawpy", "raw", "it is a camera raw file; to read it")
    try:
        with silent_stderr(), rawpy.imread(BytesIO(data)) as raw:
            yield rawpy, raw
    except (rawpy.LibRawUnsufficientMemoryError, rawpy.LibRawMemPoolOverflowError) as error:
        raise MemoryError(_said(error)) from error
    except (rawpy.LibRawIOError, rawpy.LibRawDataError) as error:
        raise Damaged(f"its raw data are truncated or corrupt ({_said(error)}); copy the file again") from error
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise Unsupported(
            f"LibRaw {'.'.join(map(str, rawpy.libraw_version))} cannot read this camera raw file ({_said(error)}); "
            "convert it to DNG or TIFF first"
        ) from error


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _preview(rawpy: Any, raw: Any) -> bytes | None:
    """Return the largest embedded JPEG; None if there is none that LibRaw reads."""
    try:
        preview = raw.extract_thumb()
    except rawpy.LibRawUnsufficientMemoryError:
        raise
    except (rawpy.LibRawError, rawpy.NotSupportedError):
        return None
    return bytes(preview.data) if preview.format == rawpy.ThumbFormat.JPEG else None


def _has_more_shots(rawpy: Any, data: bytes) -> bool:
    """Return whether the file has a second raw image, as those of pixel shift have."""
    try:
        with rawpy.imread(BytesIO(data), shot_select=1) as second:
            second.unpack()
    except (rawpy.LibRawError, rawpy.NotSupportedError):
        return False
    return True
