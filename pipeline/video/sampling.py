"""Still frames out of a video, evenly spread, as a player would show them. Reads around them, not through the file."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from pipeline.errors import Damaged, Unsupported
from pipeline.video.color import INTERPOLATION, matrix
from pipeline.video.opening import opened, reason
from pipeline.video.transfer import HDR

Pixels = npt.NDArray[np.uint8]  # HxWx3 RGB

MAX_PX = 100_000_000  # of a frame
STEP_BACK_S = 0.25
ROUNDED_S = 0.002  # by containers that count milliseconds
SQUAREST, WIDEST = 0.25, 4.0  # shapes of a pixel that are believed


class Still(NamedTuple):
    at_s: float
    """Seconds from the beginning of the video."""
    pixels: Pixels


def sample(file: BinaryIO, count: int) -> list[Pixels]:
    """At most `count` different frames, in order, upright, with square pixels.

    `file`: seekable, read where the frames are. From each of `count` equal parts of the video comes the keyframe before
    its middle, or, where that was taken already, the frame at the middle. A part that cannot be decoded gives none.
    Raises EmptyFile, NotMedia, TooLarge, Unsupported (no video in it, PQ or HLG), Damaged (no frame at all).
    """
    with opened(file, MAX_PX) as (container, stream):
        start, length = _extent(container, stream)
        middles = [start + length * (2 * part + 1) // (2 * count) for part in range(count)]
        return [still.pixels for still in _stills(container, stream, middles, start)]


def spread(file: BinaryIO, count: int) -> Iterator[Still]:
    """As `sample`, one after the other as they are asked for, from the beginnings of the parts: the first frame first."""
    with opened(file, MAX_PX) as (container, stream):
        start, length = _extent(container, stream)
        yield from _stills(container, stream, [start + length * part // count for part in range(count)], start)


def frame_after(file: BinaryIO, at_s: float) -> Pixels:
    """The frame that begins so many seconds after the beginning, or the next one. Raises as `sample`."""
    with opened(file, MAX_PX) as (container, stream):
        start, _ = _extent(container, stream)
        target = start + int(max(0.0, at_s - ROUNDED_S) / (stream.time_base or 1))
        frame = _frame_at(container, stream, target, target - 1, start)
        if frame is None:
            raise Damaged(f"there is no frame after {at_s:.1f} s; it may have been cut short since")
        return _shown(frame, stream, VideoReformatter())


def _stills(
    container: InputContainer, stream: VideoStream, targets: Sequence[int], start: int
) -> Iterator[Still]:
    """Different frames near ascending `targets`, in units of the time base. Raises Damaged where there is none."""
    reformatter, found = VideoReformatter(), 0
    problem: Exception | None = None
    last = -1 << 62
    for target in targets:
        try:
            frame = _frame_at(container, stream, target, last, start)
            if frame is None:
                continue
            pixels = _shown(frame, stream, reformatter)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            problem = error
            continue
        last, found = frame.pts or 0, found + 1
        yield Still(float((last - start) * (stream.time_base or 1)), pixels)
    if not found:
        raise Damaged(f"no frame of this video can be decoded ({reason(problem)}); try to play it, or convert it")


def _extent(container: InputContainer, stream: VideoStream) -> tuple[int, int]:
    """First pts and length, in units of the stream's time base. Without either in the header, all packets are read."""
    start = stream.start_time or 0
    if stream.duration:
        return start, stream.duration
    if container.duration and stream.time_base:
        return start, int(container.duration / av.time_base / stream.time_base)
    last = max((packet.pts for packet in container.demux(stream) if packet.pts is not None), default=start)
    return start, last - start + 1


def _frame_at(container: InputContainer, stream: VideoStream, target: int, last: int, start: int) -> VideoFrame | None:
    """The keyframe before `target`, or, where that is not after `last`, the frame at `target`; None at the end.

    A container without an index (MPEG-TS) is entered at any packet, and its decoder waits for the next keyframe, which
    may be behind `target` or not there at all: then it is entered earlier, by steps that grow, down to its beginning.
    """
    step = max(int(STEP_BACK_S / stream.time_base), 1) if stream.time_base else 1
    entry = target
    while True:
        at_start = entry < start
        container.seek(start - step if at_start else entry, backward=not at_start, stream=stream)
        late = True
        for number, frame in enumerate(container.decode(stream)):
            if frame.pts is None:
                continue
            late = late and frame.pts > target
            if late and not at_start:
                break
            if frame.pts > last and (number == 0 or frame.pts >= target):
                return frame
        if at_start or not late:
            return None
        entry, step = target - step, 4 * step


def _shown(frame: VideoFrame, stream: VideoStream, reformatter: VideoReformatter) -> Pixels:
    """The frame as RGB: matrix and range as the stream says, pixels made square, upright."""
    transfer = HDR.get(frame.color_trc)
    if transfer:
        raise Unsupported(f"{transfer} video (HDR) is not read; convert it to SDR")
    aspect = float(stream.sample_aspect_ratio or 1)
    rgb = reformatter.reformat(
        frame,
        width=round(frame.width * aspect) if SQUAREST <= aspect <= WIDEST else frame.width,
        format="rgb24",
        src_colorspace=matrix(frame.colorspace, frame.height),
        src_color_range=frame.color_range or ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=INTERPOLATION,
        threads=1,
    )
    pixels: npt.NDArray[Any] = rgb.to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
