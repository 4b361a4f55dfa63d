"""JPEG XL (ISO/IEC 18181), stills and animations, as a bare codestream or in a container, read and written."""

import contextlib
from functools import partial

import numpy as np

from pipeline.errors import Unsupported
from pipeline.images.color import cicp
from pipeline.images.isobmff.boxes import sound_boxes
from pipeline.images.jxl import libjxl, light
from pipeline.images.metadata import exif, regions, xmp
from pipeline.images.photo import Coding, Compression, Frame, Metadata, Photo, Samples
from pipeline.images.pixels import check_size
from pipeline.video.signal.transfer import HDR

DEFAULT_QUALITY, LOSSLESS_QUALITY = 90, 100
ALPHA, BLACK = 0, 4  # JxlExtraChannelType
CONTAINER = b"\x00\x00\x00\x0cJXL "
# Boxes of ISO/IEC 18181-2; the content of a `brob` is another box, compressed by Brotli
EXIF, XMP, COMPRESSED, GAIN_MAP, JPEG = b"Exif", b"xml ", b"brob", b"jhgm", b"jbrd"
MOST_METADATA_BYTES = 1 << 24  # of one compressed box


def read(data: bytes, max_pixels: int) -> Photo:
    """Read all frames; libjxl turns them upright. Raises MediaError or MemoryError."""

    def check(image: libjxl.Image, count: int) -> None:
        check_size((image.info.width, image.info.height), count, max_pixels)
        if BLACK in image.channels:
            raise Unsupported("its colours are CMYK, which nightlift does not read in JPEG XL; convert it to RGB first")
        if image.encoding is not None and image.encoding.transfer in HDR and image.hdr is None:
            raise Unsupported(
                f"it is {HDR[image.encoding.transfer]} (high dynamic range) with primaries of its own, which nightlift "
                "does not read; convert it to BT.2100 first"
            )

    image = libjxl.decode(data, check)
    info, notes = image.info, []
    others = len(image.channels) - bool(info.alpha_bits)
    if others:
        notes.append(f"{others} channels beside colour and alpha dropped")
    if image.converted:
        notes.append(f"ICC profile became {'Display P3' if info.color_channels == 3 else 'sRGB'}, as the file is lossy")
    if info.exponent_bits:
        notes.append("floating-point samples became 16 bits")
    if image.may_exceed_white:
        image = light.coded(image, notes)
    tick_ms = 1000 * info.ticks_denominator / info.ticks_numerator if info.have_animation else 0
    frames = [
        _frame(samples, duration * tick_ms if len(image.frames) > 1 else None) for samples, duration in image.frames
    ]
    kept = _kept_boxes(data, notes)
    metadata = Metadata(
        exif=exif.as_shown(kept[EXIF], frames[0].size, notes) if EXIF in kept else None,
        icc=image.icc,
        cicp=image.hdr,
        xmp=kept.get(XMP) and regions.upright(kept[XMP], exif.stated_orientation(kept.get(EXIF)), frames[0].size),
    )
    coding = Coding(
        lossless=bool(info.uses_original_profile) and JPEG not in kept,
        peak_cd=info.intensity_target if image.hdr and info.intensity_target > libjxl.SDR_PEAK_CD else None,
    )
    loop = info.loops if len(frames) > 1 else None
    return Photo(format="jxl", frames=frames, metadata=metadata, coding=coding, loop=loop, notes=notes)


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write all frames; lossless at quality 100, or if the source was and no quality is given."""
    quality = compression.quality
    if quality is None:
        quality = LOSSLESS_QUALITY if photo.coding.lossless else DEFAULT_QUALITY
    metadata = photo.metadata
    added = []
    if metadata.exif is not None:
        added.append((EXIF, bytes(4) + metadata.exif))  # begins with the offset of the TIFF block
    if metadata.xmp is not None:
        added.append((XMP, metadata.xmp))
    numbers = cicp.numbers_of(metadata)
    encode = partial(
        libjxl.encode,
        [(_samples(frame), round(frame.duration_ms or 0)) for frame in photo.frames],
        quality=None if quality == LOSSLESS_QUALITY else quality,
        hdr=numbers if numbers is not None and numbers[1] in HDR else None,
        peak_cd=photo.coding.peak_cd,
        boxes=added,
        loops=(photo.loop or 0) if photo.animated else None,
    )
    try:
        return encode(icc=metadata.icc)
    except libjxl.ProfileRefused:
        notes.append("ICC profile dropped: it is damaged, or JPEG XL cannot hold it")
        return encode(icc=None)


def _frame(samples: Samples, duration_ms: float | None) -> Frame:
    if samples.shape[2] in (1, 3):
        return Frame(pixels=samples, duration_ms=duration_ms)
    pixels, alpha = np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1])
    return Frame(pixels=pixels, alpha=alpha, duration_ms=duration_ms)


def _samples(frame: Frame) -> Samples:
    return np.ascontiguousarray(frame.pixels if frame.alpha is None else np.dstack((frame.pixels, frame.alpha)))


def _kept_boxes(data: bytes, notes: list[str]) -> dict[bytes, bytes]:
    """Return the first EXIF block and the first XMP packet of a container, and JPEG if it was made from one."""
    kept: dict[bytes, bytes] = {}
    for kind, content in sound_boxes(data) if data.startswith(CONTAINER) else ():
        if kind == COMPRESSED:
            kind, content = content[:4], _decompressed(content[4:]) if content[:4] in (EXIF, XMP) else b""
        if kind == GAIN_MAP:
            notes.append(xmp.GAIN_MAP_DROPPED)
        elif kind == JPEG:
            kept[JPEG] = b""
        elif kind == EXIF and content:
            kept.setdefault(EXIF, exif.without_prefix(content[4 + int.from_bytes(content[:4], "big") :]))
        elif kind == XMP and content:
            kept.setdefault(XMP, content)
    return kept


def _decompressed(content: bytes) -> bytes:
    import imagecodecs

    with contextlib.suppress(Exception):  # of metadata: the image counts
        return bytes(imagecodecs.brotli_decode(content, out=MOST_METADATA_BYTES))
    return b""
