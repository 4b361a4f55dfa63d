"""Decoding of a range of frames, each with its rank, from any place in a file."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from typing import BinaryIO

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from pipeline.video.reading.opening import decoder, entered, frames
from pipeline.video.reading.probe import VideoInfo


@dataclass(frozen=True, slots=True)
class Shot:
    """A decoded frame."""

    rank: int
    pts: int
    """Time of the frame, in units of the stream's time base."""
    frame: VideoFrame
    aspect: Fraction | None = None
    """Pixel aspect ratio that the frame's coding states."""
    night: float = 1.0
    """Share of the enhancement that the frame gets, 0 (it is bright enough) to 1."""


def decoded(file: BinaryIO, info: VideoInfo, first: int, end: int, *, threads: int = 1) -> Iterator[Shot]:
    """Yield the frames of ranks `first` up to but not including `end`, in order. Undecodable frames are missing.

    Decoding starts at the nearest intact keyframe, and gives the same frames as decoding from the beginning of the
    file. Only broken frames may be concealed differently, as the decoder uses older frames that it happens to hold.
    """
    if info.recordings:
        yield from _of_recordings(file, info, first, end, threads)
        return
    for at in _entries(info, info.pts[first]):
        shots = _from(file, info, at, threads)
        entry = next(shots, None)
        if at < 0 or (entry is not None and entry.rank <= first and _is_whole(entry, info)):
            for shot in chain([entry] if entry else [], shots):
                if shot.rank >= end:
                    return
                if shot.rank >= first:
                    yield shot
            return


def _of_recordings(file: BinaryIO, info: VideoInfo, first: int, end: int, threads: int) -> Iterator[Shot]:
    """Do what `decoded` does with a video that is made of several recordings, each read as a file of its own."""
    for each in info.recordings:
        begins, ends = max(0, first - each.first), min(end - each.first, each.info.frames)
        if begins < ends:
            for shot in decoded(each.stretch.of(file), each.info, begins, ends, threads=threads):
                rank = each.first + shot.rank
                yield replace(shot, rank=rank, pts=info.pts[rank])


def _is_whole(entry: Shot, info: VideoInfo) -> bool:
    """Return whether the first decoded frame is a good one to continue from.

    If frames are refreshed gradually, H.264's decoder gives none before all is refreshed.
    """
    return not entry.frame.is_corrupt and (info.codec == "h264" or entry.pts in info.keyframes)


def _entries(info: VideoInfo, pts: int) -> Iterator[int]:
    """Yield indices of keyframes to start at: the nearest, then in growing steps back; -1: the start of the file."""
    at, back = bisect_right(info.keyframes, pts) - 1, 0
    while at - back > 0:
        yield at - back
        back = 2 * back + 1
    yield -1


def _from(file: BinaryIO, info: VideoInfo, at: int, threads: int) -> Iterator[Shot]:
    """Yield all frames from a keyframe on that can be decoded.

    Frames shown before that keyframe are dropped: they may refer to older frames and come out broken (open GOP).
    """
    with entered(file, info.stream, info.keyframes, at, info.max_pixels) as (stream, packets):
        context = decoder(stream)
        context.thread_count = threads
        keyframe = next(packets, None)
        if keyframe is None:
            return
        start = info.pts[0] if at < 0 or keyframe.pts is None else keyframe.pts
        if info.codec == "h264":
            context.reorder_depth = max(context.reorder_depth, info.reorder)  # otherwise guessed from the first frames
        packets = info.shift.through(chain([keyframe], packets))
        if info.mended:
            packets = info.mended.through(packets, stream.codec_context)
        yield from (shot for shot in _ranked(frames(packets, context), info, context) if shot.pts >= start)


def _ranked(found: Iterator[VideoFrame], info: VideoInfo, context: VideoCodecContext) -> Iterator[Shot]:
    """Yield the frames with their ranks, in order; a frame that has no place in it is left out."""
    last = -1
    for frame in found:
        if frame.pts is None:
            continue
        rank = bisect_left(info.pts, frame.pts)
        if last < rank < info.frames and info.pts[rank] == frame.pts:
            last = rank
            if info.unflagged_full:
                frame.color_range = ColorRange.JPEG
            yield Shot(rank, info.pts[rank], frame, context.sample_aspect_ratio)
