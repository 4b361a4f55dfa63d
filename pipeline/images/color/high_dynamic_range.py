"""Photos coded as PQ or HLG: what curves act on, and conversion to sRGB. The mathematics are those of videos.

Curves are made for SDR, so they act on what is darker than diffuse white, as SDR; the rest stays as it is.
"""

from dataclasses import replace

import numpy as np

from model.curve.srgb import encoded
from pipeline.images.color import cicp
from pipeline.images.formats import Format
from pipeline.images.photo import Frame, Photo, full_range
from pipeline.video.signal.transfer import BT2020, HDR, to_sdr

BAND_ROWS = 256  # converted at once, to save memory
OF_HDR = frozenset((b"gAMA", b"cHRM", b"sRGB", b"mDCV", b"mdcv", b"amve"))  # chunks and boxes that SDR does not need


def transfer_of(photo: Photo) -> int | None:
    """Return the number of the transfer function if it is PQ or HLG, else None."""
    numbers = cicp.numbers_of(photo.metadata)
    return numbers[1] if numbers is not None and numbers[1] in HDR else None


def fitted(photo: Photo, target: Format | None, notes: list[str]) -> Photo:
    """Return an HDR photo with 16 bits (8 are too few for PQ and HLG), or as sRGB if `target` is none that holds HDR.

    Any other photo is returned as it is.
    """
    transfer = transfer_of(photo)
    if transfer is None:
        return photo
    if target is not None and target.hdr and not (photo.animated and target.name == "avif"):
        return replace(photo, frames=[_sixteen_bits(frame) for frame in photo.frames])
    reason = "" if target is None else f": {target.name.upper()} cannot hold it"
    notes.append(f"{HDR[transfer]} became SDR{reason}{' in animations' if target is not None and target.hdr else ''}")
    return _as_srgb(photo, transfer)


def _as_srgb(photo: Photo, transfer: int) -> Photo:
    """Convert an HDR photo to sRGB of 8 bits, with its highlights rolled off."""
    metadata = photo.metadata
    primaries = (cicp.numbers_of(metadata) or (BT2020,))[0]
    frames = [_frame_as_srgb(_sixteen_bits(frame), transfer, primaries) for frame in photo.frames]
    metadata = replace(
        metadata,
        icc=None,
        cicp=None,
        png_chunks=tuple(chunk for chunk in metadata.png_chunks if chunk[0] not in OF_HDR),
        avif_boxes=tuple(box for box in metadata.avif_boxes if box[0] not in OF_HDR),
    )
    return replace(photo, frames=frames, metadata=metadata, coding=replace(photo.coding, bits=8, matrix=None))


def _frame_as_srgb(frame: Frame, transfer: int, primaries: int) -> Frame:
    height, width, channels = frame.pixels.shape
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        coded = np.broadcast_to(frame.pixels[rows], (*frame.pixels[rows].shape[:2], 3))
        pixels[rows] = to_sdr(coded, transfer, primaries, encoded)
    alpha = None if frame.alpha is None else (frame.alpha >> 8).astype(np.uint8)
    return replace(frame, pixels=np.ascontiguousarray(pixels[..., :channels]), alpha=alpha)


def _sixteen_bits(frame: Frame) -> Frame:
    white = int(np.iinfo(frame.pixels.dtype).max)
    alpha = None if frame.alpha is None else full_range(frame.alpha, white)
    return replace(frame, pixels=full_range(frame.pixels, white), alpha=alpha)
