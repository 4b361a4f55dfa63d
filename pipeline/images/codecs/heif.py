"""Reading of HEIC and HEIF (ISO/IEC 23008-12) by libheif, through the optional package pillow-heif."""

from io import BytesIO
from typing import Any

import numpy as np

from pipeline.errors import Damaged, MissingExtra
from pipeline.images.color import cicp
from pipeline.images.metadata import exif, xmp
from pipeline.images.photo import Coding, Frame, Metadata, Photo, Samples
from pipeline.images.pixels import check_size

GAIN_MAP = "hdrgainmap"


def read(data: bytes, max_pixels: int) -> Photo:
    """Read the primary image, with 16 bits if the file has more than 8. Raises MediaError, or what libheif raises."""
    try:
        import pillow_heif
    except ImportError:
        raise MissingExtra(
            'it is a HEIC or HEIF image; to read it, install the extra: pip install "nightlift[heif]"'
        ) from None
    file = pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=True)
    primary = file[file.primary_index]
    check_size(primary.size, 1, max_pixels)
    info: dict[str, Any] = primary.info
    notes = []
    if len(file) > 1:
        notes.append(f"only the primary image of {len(file)} kept")
    if any(GAIN_MAP in kind or "21496" in kind for kind in info.get("aux", {})):
        notes.append(xmp.GAIN_MAP_DROPPED)
    if info.get("depth_images"):
        notes.append("depth image dropped")
    block = exif.without_prefix(info["exif"]) if info.get("exif") else None
    frame = _frame(np.asarray(primary), primary.size, primary.mode)
    nclx = info.get("nclx_profile") or {}
    icc = info.get("icc_profile") or cicp.profile(
        nclx.get("color_primaries", cicp.UNSPECIFIED), nclx.get("transfer_characteristics", cicp.UNSPECIFIED)
    )
    packet = xmp.upright(info["xmp"]) if info.get("xmp") else None
    metadata = Metadata(exif=exif.as_shown(block, frame.size, notes) if block else None, icc=icc, xmp=packet)
    return Photo(format="heif", frames=[frame], metadata=metadata, coding=Coding(sampling="4:2:0"), notes=notes)


def _frame(samples: Samples, size: tuple[int, int], mode: str) -> Frame:
    width, height = size
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.shape[0] < height or samples.shape[1] < width:
        raise Damaged("its pixels are incomplete; copy the file again")
    samples = samples[:height, :width]
    kind = mode.split(";")[0]
    if kind in ("RGBA", "RGBa", "LA", "La"):
        pixels, alpha = np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1])
        return Frame(pixels=pixels, alpha=alpha)
    return Frame(pixels=np.ascontiguousarray(samples))
