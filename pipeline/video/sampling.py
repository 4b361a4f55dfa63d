"""Still frames out of a video, evenly spread, as a player would show them. Reads around them, not through the file."""

from typing import Any, BinaryIO

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
SQUAREST, WIDEST = 0.25, 4.0  # shapes of a pixel that are believed


def sample(file: BinaryIO, count: int) -> list[Pixels]:
    """At most `count` different frames, in order, upright, with square pixels.

    `file`: seekable, read where the frames are. From each of `count` equal parts of the video comes the keyframe before
    its middle, or, where that was taken already, the frame at the middle. A part that cannot be decoded gives none.
    Raises EmptyFile, NotMedia, TooLarge, Unsupported (no video in it, PQ or HLG), Damaged (no frame at all).
    """
    with opened(file, MAX_PX) as (container, stream):
        reformatter = VideoReformatter()
        frames: list[Pixels] = []
        problem: Exception | None = None
        start, length = _extent(container, stream)
        last = -1 << 62
        for part in range(count):
            target = start + length * (2 * part + 1) // (2 * count)
            try:
                frame = _frame_at(container, stream, target, last, start)
                if frame is not None:
                    frames.append(_shown(frame, stream, reformatter))
                    last = frame.pts or 0
            except MemoryError:
                raise
            except av.FFmpegError as error:
                problem = error
        if not frames:
            raise Damaged(f"no frame of this video can be decoded ({reason(problem)}); try to play it, or convert it")
        return frames


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
