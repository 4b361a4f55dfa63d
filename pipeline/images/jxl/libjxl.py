"""The C library libjxl, called directly: it is inside the optional package imagecodecs.

The functions of that package itself know neither colour profiles nor metadata nor the times of an animation.
"""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import byref, c_float, c_int64, c_size_t, c_void_p
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from pipeline.errors import Damaged, MissingExtra
from pipeline.images.extras import extra
from pipeline.images.jxl.structures import BasicInfo, ColorEncoding, ExtraChannel, FrameHeader, PixelFormat
from pipeline.images.photo import Samples
from pipeline.video.signal.transfer import BT709, BT2020, DISPLAY_P3, HDR

# JxlDecoderStatus and JxlEncoderStatus
SUCCESS, NEED_MORE_OUTPUT, NEED_BUFFER = 0, 2, 5
OUT_OF_MEMORY = 2  # JxlEncoderError
BASIC_INFO, COLORS, FRAME, FULL_IMAGE = 0x40, 0x100, 0x400, 0x1000
OF_FILE, OF_PIXELS = 0, 1  # JxlColorProfileTarget
DATA_TYPES = {np.dtype(np.float32): 0, np.dtype(np.uint8): 2, np.dtype(np.uint16): 3}  # JxlDataType
EFFORT_OPTION, EFFORT = 0, 3  # of 1 to 9; the default of 7 takes ten times as long for files a tenth smaller
RGB, GREY, D65, SRGB_PRIMARIES, SRGB_TRANSFER, LINEAR = 0, 1, 1, 1, 13, 8  # in JxlColorEncoding
RELATIVE = 1  # JxlRenderingIntent
TO_H273 = {SRGB_PRIMARIES: BT709, 9: BT2020, 11: DISPLAY_P3}  # its numbers of primaries -> those of ITU-T H.273
SDR_PEAK_CD = 255.0  # the brightest light of images that are not HDR, unless they say otherwise
OUTPUT_BYTES = 1 << 20


@dataclass(kw_only=True, slots=True)
class Image:
    """A decoded JPEG XL image, upright."""

    info: Any
    """A BasicInfo."""
    encoding: Any = None
    """The file's own ColorEncoding; None if it has an ICC profile instead."""
    icc: bytes | None = None
    """The profile of the decoded pixels; None for sRGB and HDR."""
    hdr: tuple[int, int] | None = None
    """Primaries and transfer (ITU-T H.273) of pixels coded as PQ or HLG."""
    converted: bool = False
    """Whether `icc` stands for the file's own profile, which libjxl could not decode to."""
    channels: list[int] = field(default_factory=list)
    """Kinds of all channels beside colour (JxlExtraChannelType)."""
    frames: list[tuple[Samples, int]] = field(default_factory=list)
    """HxWxC samples, alpha last and not premultiplied, and the duration in ticks. float32 if `may_exceed_white`."""

    @property
    def may_exceed_white(self) -> bool:
        """Return whether samples, linear light or with the curve of sRGB, may be brighter than SDR."""
        transfer = None if self.encoding is None else self.encoding.transfer
        brighter = transfer == LINEAR and self.info.intensity_target > SDR_PEAK_CD
        return brighter or (bool(self.info.exponent_bits) and transfer in (LINEAR, SRGB_TRANSFER))


class ProfileRefused(RuntimeError):
    """Refusal of an ICC profile, which is damaged or of a kind that JPEG XL does not hold."""


@cache
def library() -> Any:
    """Load libjxl. Raises MissingExtra."""
    module = extra("imagecodecs._jpegxl", "jxl", "to read and write JPEG XL")
    loaded = ctypes.CDLL(module.__file__)  # finds the functions of libjxl too, as it is linked to that
    try:
        for name in ("JxlDecoderCreate", "JxlEncoderCreate", "JxlEncoderFrameSettingsCreate"):
            getattr(loaded, name).restype = c_void_p
        loaded.JxlEncoderDistanceFromQuality.restype = c_float
    except AttributeError:
        raise MissingExtra(
            'this build of imagecodecs hides its libjxl; install its wheel: pip install "nightlift[jxl]"'
        ) from None
    return loaded


def decode(data: bytes, check: Callable[[Image, int], None]) -> Image:
    """Decode all frames. `check` gets the image and the number of frames before memory for another one is taken.

    Raises what `check` raises, Damaged, or MissingExtra.
    """
    lib = library()
    decoder = c_void_p(lib.JxlDecoderCreate(None))
    image, samples, header = Image(info=BasicInfo()), np.empty(0), FrameHeader()
    try:
        lib.JxlDecoderSubscribeEvents(decoder, BASIC_INFO | COLORS | FRAME | FULL_IMAGE)
        lib.JxlDecoderSetUnpremultiplyAlpha(decoder, 1)
        lib.JxlDecoderSetInput(decoder, data, c_size_t(len(data)))
        lib.JxlDecoderCloseInput(decoder)
        while (status := lib.JxlDecoderProcessInput(decoder)) != SUCCESS:
            if status == BASIC_INFO:
                lib.JxlDecoderGetBasicInfo(decoder, byref(image.info))
                image.channels = [_channel(lib, decoder, index) for index in range(image.info.extra_channels)]
            elif status == COLORS:
                _read_colors(lib, decoder, image)
            elif status == FRAME:
                lib.JxlDecoderGetFrameHeader(decoder, byref(header))
            elif status == NEED_BUFFER:
                check(image, len(image.frames) + 1)
                samples = _room(image)
                lib.JxlDecoderSetImageOutBuffer(
                    decoder, byref(_format(samples)), samples.ctypes.data_as(c_void_p), c_size_t(samples.nbytes)
                )
            elif status == FULL_IMAGE:
                image.frames.append((samples, header.duration))
            else:
                raise Damaged("its JPEG XL data are truncated or corrupt; copy the file again")
    finally:
        lib.JxlDecoderDestroy(decoder)
    if not image.frames:
        raise Damaged("its JPEG XL data hold no image; copy the file again")
    return image


def _channel(lib: Any, decoder: c_void_p, index: int) -> int:
    channel: Any = ExtraChannel()
    lib.JxlDecoderGetExtraChannelInfo(decoder, c_size_t(index), byref(channel))
    return int(channel.kind)


def _read_colors(lib: Any, decoder: c_void_p, image: Image) -> None:
    """Note the colours of the file and of the pixels to come.

    Lossy pixels are stored in a colour space of the format's own, and libjxl decodes them only to those spaces that can
    be given by numbers.
    """
    encoding = _encoding(lib, decoder, OF_FILE)
    image.encoding = encoding
    if encoding is None and not image.info.uses_original_profile:
        image.converted = True
        if image.info.color_channels == 3:  # by default they would lose all colours outside sRGB
            lib.JxlDecoderSetPreferredColorProfile(decoder, byref(_by_numbers(DISPLAY_P3, SRGB_TRANSFER)))
    if encoding is not None and encoding.transfer in HDR and _hdr(encoding) is None:
        lib.JxlDecoderSetPreferredColorProfile(decoder, byref(_by_numbers(BT2020, encoding.transfer)))
    of_pixels = _encoding(lib, decoder, OF_PIXELS)
    image.hdr = _hdr(of_pixels)
    if image.hdr is None and (of_pixels is None or not _is_srgb(of_pixels)):
        image.icc = _profile(lib, decoder, OF_PIXELS)


def _is_srgb(encoding: Any) -> bool:
    has_primaries = encoding.space == GREY or encoding.primaries == SRGB_PRIMARIES
    return bool(has_primaries and encoding.white_point == D65 and encoding.transfer == SRGB_TRANSFER)


def _hdr(encoding: Any) -> tuple[int, int] | None:
    """Return primaries and transfer of H.273 of PQ or HLG; None if it is neither, or there are no such numbers."""
    if encoding is None or encoding.transfer not in HDR or encoding.white_point != D65:
        return None
    primaries = BT2020 if encoding.space == GREY else TO_H273.get(encoding.primaries)
    return None if primaries is None else (primaries, encoding.transfer)


def _by_numbers(primaries: int, transfer: int, *, grey: bool = False) -> ColorEncoding:
    own = next((own for own, number in TO_H273.items() if number == primaries), TO_H273[BT2020])
    return ColorEncoding(
        space=GREY if grey else RGB, white_point=D65, primaries=own, transfer=transfer, intent=RELATIVE
    )


def _encoding(lib: Any, decoder: c_void_p, target: int) -> Any:
    encoding = ColorEncoding()
    found = lib.JxlDecoderGetColorAsEncodedProfile(decoder, target, byref(encoding)) == SUCCESS
    return encoding if found else None


def _profile(lib: Any, decoder: c_void_p, target: int) -> bytes | None:
    size = c_size_t()
    if lib.JxlDecoderGetICCProfileSize(decoder, target, byref(size)) != SUCCESS:
        return None
    profile = ctypes.create_string_buffer(size.value)
    found = lib.JxlDecoderGetColorAsICCProfile(decoder, target, profile, size) == SUCCESS
    return profile.raw if found else None


def _room(image: Image) -> Samples:
    """Return memory for a frame."""
    info = image.info
    kind = (
        np.float32 if image.may_exceed_white else np.uint8 if info.bits <= 8 and not info.exponent_bits else np.uint16
    )
    return np.empty((info.height, info.width, info.color_channels + bool(info.alpha_bits)), kind)


def _format(samples: Samples) -> PixelFormat:
    return PixelFormat(samples.shape[2], DATA_TYPES[samples.dtype], 0, 0)


def encode(
    frames: Sequence[tuple[Samples, int]],
    *,
    quality: int | None,
    icc: bytes | None,
    hdr: tuple[int, int] | None = None,
    peak_cd: float | None = None,
    boxes: Sequence[tuple[bytes, bytes]],
    loops: int | None,
) -> bytes:
    """Encode HxWxC samples (alpha after 1 or 3 channels of colour), each with its duration in milliseconds.

    `quality`: None for lossless. `icc`: None for sRGB. `hdr`: primaries and transfer (ITU-T H.273) of PQ or HLG,
    instead of `icc`. `peak_cd`: their brightest light, if known. `boxes`: type and content. `loops`: None for a still.
    Raises ProfileRefused, another RuntimeError, MemoryError or MissingExtra.
    """
    lib = library()
    encoder = c_void_p(lib.JxlEncoderCreate(None))
    try:
        info = _basic_info(lib, frames[0][0], lossless=quality is None, loops=loops)
        info.intensity_target = 0 if peak_cd is None else peak_cd
        _do(lib.JxlEncoderSetBasicInfo(encoder, byref(info)))
        _set_colors(lib, encoder, icc, hdr, grey=frames[0][0].shape[2] < 3)
        if boxes:
            _do(lib.JxlEncoderUseBoxes(encoder))
        for kind, content in boxes:
            _do(lib.JxlEncoderAddBox(encoder, kind, content, c_size_t(len(content)), 0))
        settings = c_void_p(lib.JxlEncoderFrameSettingsCreate(encoder, None))
        _do(lib.JxlEncoderFrameSettingsSetOption(settings, EFFORT_OPTION, c_int64(EFFORT)))
        if quality is None:
            _do(lib.JxlEncoderSetFrameLossless(settings, 1))
        else:
            distance = lib.JxlEncoderDistanceFromQuality(c_float(quality))
            _do(lib.JxlEncoderSetFrameDistance(settings, c_float(distance)))
            if frames[0][0].shape[2] in (2, 4):
                _do(lib.JxlEncoderSetExtraChannelDistance(settings, c_size_t(0), c_float(0)))
        for samples, duration in frames:
            if loops is not None:
                header: Any = FrameHeader()
                lib.JxlEncoderInitFrameHeader(byref(header))
                header.duration = duration
                _do(lib.JxlEncoderSetFrameHeader(settings, byref(header)))
            _do(
                lib.JxlEncoderAddImageFrame(
                    settings, byref(_format(samples)), samples.ctypes.data_as(c_void_p), c_size_t(samples.nbytes)
                )
            )
        lib.JxlEncoderCloseInput(encoder)
        return _output(lib, encoder)
    except RuntimeError:
        if lib.JxlEncoderGetError(encoder) == OUT_OF_MEMORY:
            raise MemoryError("libjxl") from None
        raise
    finally:
        lib.JxlEncoderDestroy(encoder)


def _basic_info(lib: Any, samples: Samples, *, lossless: bool, loops: int | None) -> Any:
    """Return what the image is like."""
    info: Any = BasicInfo()
    lib.JxlEncoderInitBasicInfo(byref(info))
    info.height, info.width, channels = samples.shape
    info.bits = 8 * samples.dtype.itemsize
    info.color_channels = 3 if channels >= 3 else 1
    if channels in (2, 4):
        info.extra_channels, info.alpha_bits = 1, info.bits
    info.uses_original_profile = int(lossless)
    if loops is not None:
        info.have_animation, info.ticks_numerator, info.ticks_denominator, info.loops = 1, 1000, 1, loops
    return info


def _set_colors(lib: Any, encoder: c_void_p, icc: bytes | None, hdr: tuple[int, int] | None, *, grey: bool) -> None:
    if icc is not None and hdr is None:
        if lib.JxlEncoderSetICCProfile(encoder, icc, c_size_t(len(icc))) != SUCCESS:
            raise ProfileRefused
        return
    encoding = _by_numbers(*(hdr or (BT709, SRGB_TRANSFER)), grey=grey)
    _do(lib.JxlEncoderSetColorEncoding(encoder, byref(encoding)))


def _output(lib: Any, encoder: c_void_p) -> bytes:
    parts = []
    while True:
        room = ctypes.create_string_buffer(OUTPUT_BYTES)
        at, left = c_void_p(ctypes.addressof(room)), c_size_t(OUTPUT_BYTES)
        status = lib.JxlEncoderProcessOutput(encoder, byref(at), byref(left))
        parts.append(room.raw[: OUTPUT_BYTES - left.value])
        if status != NEED_MORE_OUTPUT:
            _do(status)
            return b"".join(parts)


def _do(status: int) -> None:
    if status != SUCCESS:
        raise RuntimeError("libjxl cannot encode it")
