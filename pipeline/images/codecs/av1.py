"""Single AV1 images: decoded with all their bits, and encoded by the encoder at hand that keeps the most.

Pillow's libavif has 8 bits only. FFmpeg, by PyAV, decodes everything, but its one AV1 encoder (SVT-AV1) makes nothing
but 4:2:0 of 8 or 10 bits. The optional package imagecodecs encodes 10 and 12 bits of any sampling, and without loss.
"""

import os
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.frame import VideoFrame
from PIL import AvifImagePlugin

from pipeline.errors import Damaged, MissingExtra
from pipeline.images.color import ycc
from pipeline.images.color.ycc import Levels
from pipeline.images.extras import extra
from pipeline.images.isobmff.boxes import Colours
from pipeline.images.photo import Frame, Samples, to_8_bits
from pipeline.images.pixels import image_of
from pipeline.process import scheduling_kept
from pipeline.video.signal.color import MATRICES, UNSPECIFIED
from pipeline.video.signal.picture import lines

SVT_FORMAT, SVT_BITS, SVT_LEAST_PX = "yuv420p10le", 10, 4
SVT_PRESET = "8"
LIMITED_RANGE, FULL_RANGE = 1, 2  # FFmpeg's numbers
IMAGECODECS_SPEED = 8  # of 0 to 10: 12 megapixels in about 1.5 s on one core
LOSSLESS_QUALITY = 100
BT2020_CONSTANT = 10  # matrix of constant luminance
BESIDE_BT = UNSPECIFIED, ycc.IDENTITY, ycc.YCGCO, ycc.BY_PRIMARIES, *ycc.REVERSIBLE
READ = frozenset((*MATRICES, *BESIDE_BT)) - {BT2020_CONSTANT}  # matrices that are converted
os.environ.setdefault("SVT_LOG", "1")  # errors only: by itself SVT-AV1 prints several lines for each image


def decoded(payload: bytes, max_pixels: int) -> VideoFrame:
    """Decode one image. Raises Damaged, or what FFmpeg raises."""
    context: Any = CodecContext.create("libdav1d", "r")
    context.options = {"max_pixels": str(max_pixels)}
    context.thread_count = 1
    frames: list[VideoFrame] = [*context.decode(Packet(payload)), *context.decode(None)]
    if not frames:
        raise Damaged("its image cannot be decoded; copy the file again")
    return frames[-1]  # of an image in layers, the last has all the detail


def colours_of(frame: VideoFrame) -> Colours:
    """Return how an image codes colour by its own header, for files that do not state it."""
    full = int(frame.color_range) == FULL_RANGE
    return Colours(int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace), full)


def samples_of(frame: VideoFrame, colours: Colours) -> Samples:
    """Convert a decoded image to RGB, or to HxWx1 if it is grey: see `ycc.rgb`. `colours`: with a matrix of READ."""
    levels = Levels(frame.format.components[0].bits, colours.full)
    return ycc.rgb(_planes(frame), levels, colours.matrix, colours.primaries)


def alpha_of(frame: VideoFrame) -> Samples:
    """Return HxW alpha, which is the luma of its own image, always in full range, as uint16."""
    return ycc.rgb(_planes(frame)[:1], Levels(frame.format.components[0].bits, True), UNSPECIFIED)[..., 0]


def _planes(frame: VideoFrame) -> list[Samples]:
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return [lines(plane, kind)[:, : plane.width] for plane in frame.planes]


def keeps_all() -> bool:
    """Return whether there is an encoder for every depth and sampling, and for images without loss."""
    with suppress(MissingExtra):
        extra("imagecodecs", "avif", "to keep all of an AVIF")
        return True
    return False


def svt_takes(size: tuple[int, int]) -> bool:
    return min(size) >= SVT_LEAST_PX


def by_pillow(frame: Frame, sampling: str, quality: int, *, full: bool) -> bytes:
    """Encode an image with 8 bits, its alpha without loss, as an AVIF without metadata."""
    eight = Frame(pixels=to_8_bits(frame.pixels), alpha=None if frame.alpha is None else to_8_bits(frame.alpha))
    buffer = BytesIO()
    image_of(eight).save(
        buffer,
        "AVIF",
        quality=quality,
        subsampling=sampling,
        range="full" if full else "limited",
        **alpha_without_loss(frame),
    )
    return buffer.getvalue()


def alpha_without_loss(frame: Frame) -> dict[str, Any]:
    """Return the option of Pillow that codes alpha without loss: one of libaom, not of other encoders."""
    if frame.alpha is None or not AvifImagePlugin.get_codec_version("aom"):
        return {}
    return {"advanced": {"alpha:lossless": "1"}}


def by_imagecodecs(frame: Frame, bits: int, sampling: str, quality: int, colours: Colours) -> bytes:
    """Encode an image of any depth and sampling as an AVIF without metadata, in full range."""
    import imagecodecs

    samples = frame.pixels if frame.alpha is None else np.dstack((frame.pixels, frame.alpha))
    white = (1 << bits) - 1
    scaled: Samples = _scaled(samples, white).astype(np.uint8 if bits == 8 else np.uint16)
    coded = imagecodecs.avif_encode(
        scaled.squeeze(2) if scaled.shape[2] == 1 else scaled,
        quality,
        speed=IMAGECODECS_SPEED,
        bitspersample=bits,
        pixelformat=sampling.replace(":", ""),
        primaries=colours.primaries,
        transfer=colours.transfer,
        matrix=colours.matrix,
        numthreads=1,
    )
    return bytes(coded)


def by_svt(pixels: Samples, quality: int, colours: Colours) -> bytes:
    """Encode HxWxC as an AVIF of 10 bits and 4:2:0, without metadata. Raises what FFmpeg raises.

    Grey, and so alpha, becomes an image whose chroma is neutral, as this encoder has no images without chroma.
    """
    frame = _svt_frame(pixels, colours)
    frame.pts = 0
    frame.color_range, frame.colorspace = FULL_RANGE if colours.full else LIMITED_RANGE, colours.matrix
    frame.color_primaries, frame.color_trc = colours.primaries, colours.transfer
    words = "avif=1:lp=1" + (":lossless=1" if quality == LOSSLESS_QUALITY else "")
    options = {"crf": str(_quantiser(quality)), "preset": SVT_PRESET, "svtav1-params": words}
    buffer = BytesIO()
    with av.open(buffer, "w", format="avif") as output:
        stream: Any = output.add_stream("libsvtav1", rate=1, options=options)
        context: Any = stream.codec_context
        context.width, context.height, context.pix_fmt = frame.width, frame.height, SVT_FORMAT
        context.time_base, context.thread_count = Fraction(1), 1
        context.color_range, context.colorspace = frame.color_range, frame.colorspace
        context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        with scheduling_kept():
            output.start_encoding()
        output.mux([*stream.encode(frame), *stream.encode()])
    return buffer.getvalue()


def _svt_frame(pixels: Samples, colours: Colours) -> VideoFrame:
    levels = Levels(SVT_BITS, colours.full)
    height, width, channels = pixels.shape
    frame = VideoFrame(width, height, SVT_FORMAT)
    grey = pixels if channels == 3 else np.broadcast_to(pixels, (height, width, 3))
    for plane, samples in zip(frame.planes, ycc.planes(grey, levels, colours.matrix), strict=True):
        lines(plane, np.uint16)[:, : plane.width] = samples
    return frame


def _quantiser(quality: int) -> int:
    """Return the quantiser, 0 to 63, of a quality of 0 to 100, on the scale of libavif."""
    return max(1, ((100 - quality) * 63 + 50) // 100)


def _scaled(samples: Samples, white: int) -> Samples:
    top = int(np.iinfo(samples.dtype).max)
    scaled = samples.astype(np.uint32)
    scaled *= white
    scaled += top // 2
    scaled //= top
    return scaled
