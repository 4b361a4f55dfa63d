"""HEIC and HEIF (ISO/IEC 23008-12), read and written by libheif, through the optional package pillow-heif.

The encoder in the wheels of pillow-heif is x265, under the GPL.
"""

from io import BytesIO
from typing import Any

import numpy as np

from pipeline.errors import Damaged, MissingExtra
from pipeline.images.color import cicp
from pipeline.images.extras import extra
from pipeline.images.isobmff import heif_items
from pipeline.images.isobmff.writing import XMP_TYPE
from pipeline.images.metadata import exif, regions
from pipeline.images.photo import Coding, Compression, Frame, Metadata, Photo, Samples, full_range
from pipeline.images.pixels import check_size

DEFAULT_QUALITY = 70
PRESET = "ultrafast"  # of x265: as good and as small as its default, `slow`, for stills, in a tenth of the time
MOST_BITS = 12
SAMPLINGS = {444: "4:4:4", 422: "4:2:2", 420: "4:2:0"}


def read(data: bytes, max_pixels: int) -> Photo:
    """Read the primary image, with 16 bits if the file has more than 8. Raises MediaError, or what libheif raises."""
    pillow_heif: Any = extra("pillow_heif", "heif", "it is a HEIC or HEIF image; to read it")
    file = pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=True)
    primary = file[file.primary_index]
    check_size(primary.size, 1, max_pixels)
    info: dict[str, Any] = primary.info
    notes = list(dict.fromkeys(heif_items.lost(data)))
    if heif_items.sequence(data):
        notes.append("image sequence dropped: only the still image kept")
    block = exif.without_prefix(info["exif"]) if info.get("exif") else None
    bits = info.get("bit_depth") or 8
    frame = _frame(_spread(np.asarray(primary), bits), primary.size, primary.mode)
    nclx = info.get("nclx_profile")
    numbers = (nclx["color_primaries"], nclx["transfer_characteristics"]) if nclx else None
    icc = info.get("icc_profile") or (cicp.profile(*numbers) if numbers else None)
    metadata = Metadata(
        exif=exif.as_shown(block, frame.size, notes) if block else None,
        icc=icc,
        xmp=info.get("xmp") and regions.upright(info["xmp"], exif.stated_orientation(block), frame.size),
        cicp=numbers,
        jpeg_trailer=heif_items.samsung_data(data),
    )
    coding = Coding(sampling=SAMPLINGS.get(info.get("chroma", 420)), bits=bits)
    return Photo(format="heif", frames=[frame], metadata=metadata, coding=coding, notes=notes)


def _spread(samples: Samples, bits: int) -> Samples:
    """Spread deep samples over all 16 bits: pillow-heif only shifts them up, so that white is not quite white."""
    if samples.dtype == np.uint8 or not 8 < bits < 16:
        return samples
    return full_range(samples >> 16 - bits, (1 << bits) - 1)


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write one frame as HEIC, with 10 or 12 bits if it has 16. Raises MissingExtra, or what libheif raises."""
    pillow_heif: Any = extra("pillow_heif", "heif", "to write HEIC")
    if not pillow_heif.libheif_info()["HEIF"]:
        raise MissingExtra(
            "this pillow-heif was built without an encoder of HEIC; install its wheel: pip install pillow-heif"
        )
    frame, metadata = photo.frames[0], photo.metadata
    channels = [frame.pixels] if frame.alpha is None else [frame.pixels, frame.alpha[..., None]]
    mode = {1: "L", 3: "RGB"}[frame.pixels.shape[2]] + "A" * (len(channels) - 1)
    options: dict[str, Any] = {"quality": DEFAULT_QUALITY if compression.quality is None else compression.quality}
    if frame.pixels.dtype == np.uint16:
        bits = photo.coding.bits if photo.coding.bits in (10, MOST_BITS) else MOST_BITS
        if bits != photo.coding.bits:
            notes.append(f"16 bits became {bits}: HEIF holds no more")
        white = (1 << bits) - 1
        channels = [((each.astype(np.uint32) * white + 32767) // 65535).astype(np.uint16) for each in channels]
        mode, options["bit_depth"] = f"{mode};{bits}", bits
    if metadata.xmp is not None:
        # not as `xmp`: pillow-heif would turn the image by an orientation in it, which viewers ignore
        options["metadata"] = [{"type": "mime", "content_type": XMP_TYPE, "data": metadata.xmp}]
    buffer = BytesIO()
    pillow_heif.encode(
        mode,
        frame.size,
        np.concatenate(channels, axis=2).tobytes(),
        buffer,
        subsampling=photo.coding.sampling or "4:4:4",
        enc_params={"preset": PRESET},
        exif=metadata.exif,
        icc_profile=metadata.icc,
        **options,
    )
    return buffer.getvalue()


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
