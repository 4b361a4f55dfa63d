"""Decoded frames of a segment, each with its rank, from any place of a file."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, dropwhile
from typing import Any, BinaryIO

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from pipeline.video.opening import decoder, opened
from pipeline.video.probe import VideoInfo


@dataclass(frozen=True, slots=True)
class Shot:
    """A decoded frame."""

    rank: int
    pts: int
    """In units of the stream's time base."""
    frame: VideoFrame


def decoded(file: BinaryIO, info: VideoInfo, first: int, end: int, *, threads: int = 1) -> Iterator[Shot]:
    """The frames of ranks `first` to before `end`, in order. Those that cannot be decoded are missing.

    Decoding starts at the last keyframe that is shown before or with the first frame. What leads that keyframe in the
    order of pts may refer to frames before it and come out broken (open GOP), but is not asked for. If the first frame
    itself does not come out whole, as where pictures are refreshed little by little, decoding starts at earlier
    keyframes, at last at the beginning of the file: what is still broken then is damaged.
    """
    for entry in _entries(info, info.pts[first]):
        shots = dropwhile(lambda shot: shot.rank < first, _from(file, info, entry, info.pts[first], threads))
        shot = next(shots, None)
        if entry is None or (shot is not None and shot.rank == first and not shot.frame.is_corrupt):
            while shot is not None and shot.rank < end:
                yield shot
                shot = next(shots, None)
            return


def _entries(info: VideoInfo, pts: int) -> Iterator[int | None]:
    """Pts of keyframes to start at, the nearest first; None for the beginning of the file."""
    at = bisect_right(info.keyframes, pts) - 1
    for back in (0, 1, 4):
        if at - back > 0:
            yield info.keyframes[at - back]
    yield None


def _from(file: BinaryIO, info: VideoInfo, entry: int | None, latest: int, threads: int) -> Iterator[Shot]:
    """All frames from a keyframe on, as far as they can be decoded; none where the search ends behind `latest`, a pts.

    A container without an index (MPEG-TS) may be entered behind the keyframe that was asked for, at the next one.
    """
    file.seek(0)
    with opened(file) as (container, _):
        stream = next(stream for stream in container.streams.video if stream.index == info.stream)
        context = decoder(stream)
        context.thread_count = threads
        packets: Iterator[Packet[Any]] = container.demux(stream)
        if entry is not None:
            container.seek(entry, stream=stream)
            packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
            keyframe = next(packets, None)
            if keyframe is None or keyframe.pts is None or keyframe.pts > latest:
                return
            packets = chain([keyframe], packets)
        if info.codec == "h264":
            context.reorder_depth = max(context.reorder_depth, info.reorder)  # else it is guessed from the first frames
        yield from _ranked(_frames(packets, context), info)


def _frames(packets: "Iterator[Packet[Any]]", context: VideoCodecContext) -> Iterator[VideoFrame]:
    """What can be decoded: a broken packet gives nothing, and where packets end by an error, the video ends."""
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = Packet()  # flushes the decoder
            packets = iter(())
        if packet is None:
            return
        try:
            yield from context.decode(packet)
        except av.FFmpegError:
            continue


def _ranked(frames: Iterator[VideoFrame], info: VideoInfo) -> Iterator[Shot]:
    """Frames in the order of their ranks; one that has no place in it is left out."""
    last = -1
    for frame in frames:
        rank = last + 1
        if info.timed:
            if frame.pts is None:
                continue
            rank = bisect_left(info.pts, frame.pts)
        if last < rank < info.frames and (not info.timed or info.pts[rank] == frame.pts):
            last = rank
            yield Shot(rank, info.pts[rank], frame)
