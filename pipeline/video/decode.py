"""Decoded frames of a segment, each with its rank, from any place of a file."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from av.video.frame import VideoFrame

from pipeline.video.opening import decoder, entered, frames
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

    They are what decoding from the beginning of the file gives, damage included. Once one frame has come out whole, a
    decoder holds what it would hold if it had begun there: so the nearest keyframe will do that leads to a whole frame
    at or before the first one. That frame is the keyframe's own, or, where pictures are refreshed little by little, one
    that follows.
    """
    for at in _entries(info, info.pts[first]):
        whole = at < 0
        shots = _from(file, info, at, threads)
        for shot in shots:
            whole = whole or (shot.rank <= first and not shot.frame.is_corrupt)
            if shot.rank < first:
                continue
            if whole:
                yield from _before(chain([shot], shots), end)
            break
        if whole:
            return


def _entries(info: VideoInfo, pts: int) -> Iterator[int]:
    """Keyframes to start at, by index: the nearest first, then by steps that grow; -1 for the beginning of the file."""
    at, back = bisect_right(info.keyframes, pts) - 1, 0
    while at - back > 0:
        yield at - back
        back = 2 * back + 1
    yield -1


def _before(shots: Iterator[Shot], end: int) -> Iterator[Shot]:
    for shot in shots:
        if shot.rank >= end:
            return
        yield shot


def _from(file: BinaryIO, info: VideoInfo, at: int, threads: int) -> Iterator[Shot]:
    """All frames from a keyframe on, as far as they can be decoded.

    What leads the keyframe in the order of pts may refer to frames before it and come out broken (open GOP).
    """
    with entered(file, info.stream, info.keyframes, at) as (stream, packets):
        context = decoder(stream)
        context.thread_count = threads
        keyframe = next(packets, None)
        if keyframe is None:
            return
        start = info.pts[0] if at < 0 or keyframe.pts is None else keyframe.pts
        if info.codec == "h264":
            context.reorder_depth = max(context.reorder_depth, info.reorder)  # else it is guessed from the first frames
        packets = chain([keyframe], packets)
        if info.mended:
            packets = info.mended.through(packets, stream.codec_context)
        yield from (shot for shot in _ranked(frames(packets, context), info) if shot.pts >= start)


def _ranked(found: Iterator[VideoFrame], info: VideoInfo) -> Iterator[Shot]:
    """Frames in the order of their ranks; one that has no place in it is left out."""
    last = -1
    for frame in found:
        if frame.pts is None:
            continue
        rank = bisect_left(info.pts, frame.pts)
        if last < rank < info.frames and info.pts[rank] == frame.pts:
            last = rank
            yield Shot(rank, info.pts[rank], frame)
