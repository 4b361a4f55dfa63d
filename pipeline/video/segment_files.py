"""Segment files: enhanced frames of one segment, encoded. `mux.py` joins them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.frame import VideoFrame

from pipeline.errors import Unsupported
from pipeline.video.color import Colours
from pipeline.video.encode import Encoding

IDENTITY = "comment"  # metadata of a segment file


class Encoder:
    """Encodes frames into a segment file. Counts how far packets lie from the order of pts."""

    def __init__(self, file: BinaryIO, encoding: Encoding, identity: str, *, threads: int) -> None:
        self.encoding = encoding
        self.order: list[int] = []  # pts of the packets as they came
        self.start: int | None = None
        self.output = av.open(
            file, "w", format=encoding.segment_format, container_options={"avoid_negative_ts": "disabled"}
        )
        self.output.metadata[IDENTITY] = identity
        self.stream: Any = self.output.add_stream(encoding.codec, rate=encoding.frame_rate, options=encoding.options)
        context: Any = self.stream.codec_context
        context.width, context.height, context.pix_fmt = encoding.width_px, encoding.height_px, encoding.pixel_format
        context.time_base, context.thread_count = encoding.time_base, threads
        if encoding.sample_aspect:
            context.sample_aspect_ratio = encoding.sample_aspect
        tag(context, encoding.colours)
        try:
            self.output.start_encoding()
        except av.FFmpegError as error:
            raise Unsupported(
                f"{encoding.codec} does not start ({error.strerror}) with {encoding.pixel_format}, "
                f"{encoding.width_px}x{encoding.height_px}, {encoding.options}"
            ) from error

    def encode(self, frame: VideoFrame, pts: int) -> None:
        """Frames in the order of pts; `pts` in units of the encoding's time base. In the file, the first has pts 0."""
        self.start = pts if self.start is None else self.start
        frame.pts, frame.time_base = pts - self.start, self.encoding.time_base
        self._mux(self.stream.encode(frame))

    def close(self) -> None:
        self._mux(self.stream.encode())
        self.output.close()

    @property
    def reorder(self) -> int:
        """By how many places, at most, a packet comes before its turn in the order of pts."""
        ranks = np.argsort(np.argsort(self.order))
        return int((np.arange(len(ranks)) - ranks).max(initial=0))

    def _mux(self, packets: list[Any]) -> None:
        self.order += [packet.pts + self.start for packet in packets]
        self.output.mux(packets)


@contextmanager
def encoder(file: BinaryIO, encoding: Encoding, identity: str, *, threads: int = 1) -> Iterator[Encoder]:
    """An encoder, finished at the end of the block; the file stays open. `identity`: what the file is told by."""
    one = Encoder(file, encoding, identity, threads=threads)
    yield one
    one.close()


def tag(context: Any, colours: Colours) -> None:
    """Write into a codec context how its stream codes colour."""
    context.color_range, context.colorspace = colours.range, colours.matrix
    context.color_primaries, context.color_trc = colours.primaries, colours.transfer
