"""AVIF, stills and image sequences, read and written by libavif through Pillow."""

import struct
from io import BytesIO
from typing import Any

from PIL import AvifImagePlugin, Image

from pipeline.images.color import cicp
from pipeline.images.metadata import boxes, exif
from pipeline.images.photo import Coding, Metadata, Photo
from pipeline.images.pixels import check_size, frame_at, image_of

DEFAULT_QUALITY = 85


def read(data: bytes, max_pixels: int) -> Photo:
    """Read all frames of an AVIF. Raises MediaError, or what Pillow raises on damage."""
    notes = list(dict.fromkeys(boxes.lost(data)))
    with Image.open(BytesIO(data), formats=("AVIF",)) as image:
        count = int(getattr(image, "n_frames", 1))
        check_size(image.size, count, max_pixels)
        frames = [frame_at(image, index, count, notes) for index in range(count)]
        info = image.info
    if count == 1 and boxes.sequence(data):
        notes.append("image sequence dropped: only the still image kept")
    bits = _bits(data)
    if bits > 8:
        notes.append(f"{bits} bits became 8")
    # Pillow reports the container's rotation and mirroring as EXIF orientation, which decode.py applies
    block = exif.without_prefix(info["exif"]) if info.get("exif") else None
    metadata = Metadata(exif=block, icc=info.get("icc_profile") or _profile(data), xmp=info.get("xmp"))
    return Photo(format="avif", frames=frames, metadata=metadata, coding=Coding(sampling="4:2:0"), notes=notes)


def write(photo: Photo, quality: int | None, notes: list[str]) -> bytes:
    """Write uint8 frames as AVIF."""
    metadata = photo.metadata
    options: dict[str, Any] = {"quality": DEFAULT_QUALITY if quality is None else quality}
    if photo.frames[0].pixels.shape[2] == 3:
        options["subsampling"] = photo.coding.sampling or "4:4:4"
    if metadata.exif is not None:
        # AVIF states orientation in its container; with the tag left in, Pillow would rewrite the whole block
        options["exif"] = exif.without_orientation(metadata.exif)
    if metadata.icc is not None:
        options["icc_profile"] = metadata.icc
    if metadata.xmp is not None:
        options["xmp"] = metadata.xmp
    if photo.frames[0].alpha is not None and AvifImagePlugin.get_codec_version("aom"):
        options["advanced"] = {"alpha:lossless": "1"}  # an option of this one encoder
    first, *others = (image_of(frame) for frame in photo.frames)
    if photo.animated:
        options |= {"save_all": True, "append_images": others}
        options["duration"] = [round(frame.duration_ms or 0) for frame in photo.frames]
        if photo.loop:
            notes.append(f"loop count of {photo.loop} dropped: the animation plays for ever")
    buffer = BytesIO()
    first.save(buffer, "AVIF", **options)
    return buffer.getvalue()


def _profile(data: bytes) -> bytes | None:
    """Build an ICC profile from the first `nclx` colour box (ISO/IEC 14496-12 section 12.1.5); None if not needed."""
    at = data.find(b"colrnclx")
    if at < 0 or at + 12 > len(data):
        return None
    primaries, transfer = struct.unpack_from(">HH", data, at + 8)
    return cicp.profile(primaries, transfer)


def _bits(data: bytes) -> int:
    """Return bits per sample by the first AV1 configuration box (AV1-ISOBMFF section 2.3.3); 8 if there is none."""
    at = data.find(b"av1C")
    if at < 0 or at + 7 > len(data):
        return 8
    flags = data[at + 6]
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8
