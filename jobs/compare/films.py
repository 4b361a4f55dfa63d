"""A film of two: the same moments of a video before and after."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from PIL import Image

from jobs.compare.drawing import Layout, drawn, scaled
from pipeline.errors import Damaged
from pipeline.video.reading.opening import demuxed, opened
from pipeline.video.reading.sampling import ROUNDED_S, Still, every
from pipeline.video.writing.copied_streams import copied, holds

CODEC, OPTIONS = "libx264", {"crf": "20", "preset": "fast"}
MUXER = "mp4"
TIME_BASE = Fraction(1, 90_000)
TURN_S = 1.0  # of the layout `flip`
BT709, LIMITED = 1, 1  # of ITU-T H.273, and of FFmpeg's ranges


def write_film(
    before: BinaryIO,
    after: BinaryIO,
    sound: BinaryIO,
    target: str,
    layout: Layout,
    long_side_px: int,
    on_frame: Callable[[], None],
) -> None:
    """Write a film of both videos to the local path `target`, as MP4, with the sound as far as MP4 can hold it.

    `sound`: the video after, opened once more. `on_frame`: called after each frame.
    Raises EmptyFile, NotMedia, NoVideo, Unsupported (PQ or HLG), Damaged.
    """
    images = (
        (at_s, drawn(*pair, layout, turn=int(at_s / TURN_S)))
        for at_s, pair in _pairs(every(before), every(after), long_side_px)
    )
    first = next(images, None)
    if first is None:
        raise Damaged("no frame of it can be decoded; check whether it plays")
    with opened(sound) as (heard, seen), av.open(target, "w", format=MUXER) as output:
        stream = _stream(output, first[1])
        packets = _sound(heard, seen, output)
        waiting = next(packets, None)
        for at_s, image in chain([first], images):
            while waiting is not None and _seconds(waiting) <= at_s:
                output.mux(waiting)
                waiting = next(packets, None)
            output.mux(stream.encode(_frame(image, at_s)))
            on_frame()
        output.mux(stream.encode(None))
        for packet in chain([waiting] if waiting is not None else [], packets):
            output.mux(packet)


def _pairs(
    before: Iterator[Still], after: Iterator[Still], long_side_px: int
) -> Iterator[tuple[float, tuple[Image.Image, Image.Image]]]:
    """Yield each frame of `after` with its time in seconds, and with the frame that is shown then in `before`."""
    shown, following = next(before, None), next(before, None)
    size: tuple[int, int] | None = None
    for still in after:
        while following is not None and following.at_s <= still.at_s + ROUNDED_S:
            shown, following = following, next(before, None)
        if shown is None:
            return
        pair = scaled(shown.pixels, long_side_px), scaled(still.pixels, long_side_px)
        size = size or pair[1].size  # frames of a film have one size
        yield still.at_s, (_fitted(pair[0], size), _fitted(pair[1], size))


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size)


def _stream(output: OutputContainer, image: Image.Image) -> VideoStream:
    stream = cast(VideoStream, output.add_stream(CODEC, options=OPTIONS))
    stream.width, stream.height = image.size
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = TIME_BASE
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    return stream


def _frame(image: Image.Image, at_s: float) -> VideoFrame:
    frame = VideoFrame.from_ndarray(np.asarray(image), format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
    frame.pts, frame.time_base = round(at_s / TIME_BASE), TIME_BASE
    return frame


def _sound(heard: InputContainer, seen: VideoStream, output: OutputContainer) -> "Iterator[Packet[Any]]":
    """Add the sound that MP4 holds to the output; return its packets, with times that count from the first frame."""
    copies = {stream.index: copied(output, stream) for stream in heard.streams.audio if holds(MUXER, stream)}
    start_s = (seen.start_time or 0) * (seen.time_base or 0)
    for packet in demuxed(heard, *(heard.streams[index] for index in copies)) if copies else ():
        if packet.size and packet.pts is not None and packet.dts is not None:
            shift = round(start_s / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copies[packet.stream_index]
            yield packet


def _seconds(packet: "Packet[Any]") -> float:
    return float((packet.pts or 0) * packet.time_base)
