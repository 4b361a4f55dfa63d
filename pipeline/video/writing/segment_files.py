"""Segment files: the encoded frames of one segment. `mux.py` joins them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter

from pipeline.errors import Unsupported, UsageError
from pipeline.process import scheduling_kept
from pipeline.storage.reading import Timed
from pipeline.video.reading.times import reordering
from pipeline.video.signal.color import Colours
from pipeline.video.signal.side_data import ON_FRAMES, has_side
from pipeline.video.writing.encode import EncodeSettings, Encoding, pixel_format_near

IDENTITY = "comment"  # metadata key of a segment file's identity
LOOKED_AT = 8  # most frames kept in memory after their side data were read
TRIAL_PX = 640, 384  # large enough for every hardware encoder


class Encoder:
    """Encoder of frames into a segment file. Records how far packets are from the order of pts."""

    def __init__(self, file: BinaryIO, encoding: Encoding, identity: str, *, threads: int) -> None:
        self.encoding = encoding
        self.order: list[int] = []  # pts of the packets in the order they came
        self.start: int | None = None
        self.step = max(1, round(1 / encoding.frame_rate / encoding.time_base))
        self._carrier = VideoReformatter()
        self.output = av.open(
            file, "w", format=encoding.segment_format, container_options={"avoid_negative_ts": "disabled"}
        )
        self.output.metadata[IDENTITY] = identity
        options = encoding.options_of(threads)
        self.stream: Any = self.output.add_stream(encoding.codec, rate=encoding.frame_rate, options=options)
        context: Any = self.stream.codec_context
        context.width, context.height, context.pix_fmt = encoding.width_px, encoding.height_px, encoding.pixel_format
        context.time_base, context.thread_count = encoding.time_base, threads
        if encoding.sample_aspect:
            context.sample_aspect_ratio = encoding.sample_aspect
        tag(context, encoding.colours)
        try:
            with scheduling_kept():
                self.output.start_encoding()
        except MemoryError:
            raise
        except av.FFmpegError as error:
            raise Unsupported(
                f"{encoding.codec} does not start on this worker ({error.strerror}) with {encoding.pixel_format}, "
                f"{encoding.width_px}x{encoding.height_px}, {encoding.options or 'no options'}; choose another --codec "
                "or --pixel-format, or use workers with the hardware that it needs"
            ) from error

    def encode(self, frame: VideoFrame, pts: int, decoded: VideoFrame | None = None) -> None:
        """Encode one frame, in the order of pts. `pts`: in units of the encoding's time base; the first becomes 0.

        `decoded`: the frame it was made from, if its captions or user data are to be kept.
        """
        self.start = pts if self.start is None else self.start
        if decoded is not None:
            frame = self._captioned(frame, decoded) if has_side(decoded, ON_FRAMES) else frame
            if len(self.order) % LOOKED_AT == 0:
                gc.collect()  # reading side data makes PyAV create a reference cycle with the frame
        frame.pts, frame.time_base = pts - self.start, self.encoding.time_base
        frame.duration = self.step  # libvpx rejects a duration of 0, which an overstated frame rate would give
        self._mux(self.stream.encode(frame))

    def _captioned(self, frame: VideoFrame, decoded: VideoFrame) -> VideoFrame:
        """Return a copy of the frame with the side data of `decoded`, which PyAV keeps when it reformats a frame."""
        grey = self._carrier.reformat(decoded, width=frame.width, height=frame.height, format="gray", threads=1)
        copy = self._carrier.reformat(grey, format=frame.format.name, threads=1)
        for into, plane in zip(copy.planes, frame.planes, strict=True):
            into.update(bytes(plane))
        copy.color_range, copy.colorspace = frame.color_range, frame.colorspace
        copy.color_primaries, copy.color_trc = frame.color_primaries, frame.color_trc
        copy.pict_type = PictureType.NONE  # left for the encoder to choose
        return copy

    def close(self) -> None:
        self._mux(self.stream.encode())
        self.output.close()

    @property
    def reorder(self) -> int:
        """Return the most places by which a packet precedes its turn in the order of pts."""
        return reordering(np.argsort(self.order).tolist())

    def _mux(self, packets: list[Any]) -> None:
        self.order += [packet.pts + self.start for packet in packets]
        self.output.mux(packets)


@contextmanager
def encoder(
    file: BinaryIO, encoding: Encoding, identity: str, *, threads: int = 1, timed: Timed = nullcontext
) -> Iterator[Encoder]:
    """Open an encoder that is finished at the end of the block; the file stays open. `identity`: written into the file.

    `timed`: entered while the encoder is finished, as encoders hold back many frames until then.
    """
    one = Encoder(file, encoding, identity, threads=threads)
    yield one
    with timed():
        one.close()


def check_starts(settings: EncodeSettings) -> None:
    """Try out the requested encoder, if any, on this machine. Raises UsageError if its hardware is missing."""
    codec = settings.codec
    if codec is None or codec.startswith("lib"):
        return
    context = CodecContext.create(codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = *TRIAL_PX, pixel_format_near("yuv420p", codec)
    context.time_base = Fraction(1, 25)
    try:
        context.open()
    except av.FFmpegError as error:
        raise UsageError(
            f"--codec {codec} does not start on this machine ({error.strerror}); leave it out, or choose another"
        ) from error


def tag(context: Any, colours: Colours) -> None:
    """Write a stream's colour coding into its codec context."""
    context.color_range, context.colorspace = colours.range, colours.matrix
    context.color_primaries, context.color_trc = colours.primaries, colours.transfer
