"""Still frames, evenly spread over a video, as a player would show them. Seeks to them instead of reading it all."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from pipeline.errors import Damaged, Unsupported
from pipeline.video.reading.decode import decoded
from pipeline.video.reading.fields import Shows
from pipeline.video.reading.opening import demuxed, frames, opened, reason
from pipeline.video.reading.probe import probe
from pipeline.video.reading.times import ASSUMED, has_no_times, stated_rate
from pipeline.video.signal.color import INTERPOLATION, matrix
from pipeline.video.signal.picture import Crop, Cutter
from pipeline.video.signal.transfer import HDR
from pipeline.video.structure.facts import crop_of

Pixels = npt.NDArray[np.uint8]  # HxWx3 RGB

MAX_PX = 100_000_000  # limit for one frame
STEP_BACK_S = 0.25
ROUNDED_S = 0.002  # rounding error of containers that count milliseconds
SQUAREST, WIDEST = 0.25, 4.0  # range of plausible pixel aspect ratios


class Still(NamedTuple):
    at_s: float
    """Seconds from the beginning of the video."""
    pixels: Pixels


def sample(file: BinaryIO, count: int) -> list[Pixels]:
    """Return at most `count` different frames, in order, upright, with square pixels.

    `file`: seekable, read where the frames are. Each of `count` equal parts of the video gives the keyframe before its
    middle or, if that was taken already, the frame at the middle. A part that cannot be decoded gives none.
    Raises EmptyFile, NotMedia, TooLarge, Unsupported (no video in it, PQ or HLG), Damaged (no frame at all).
    """
    with opened(file, MAX_PX) as (container, stream):
        video = _video(file, container, stream)
        start, length = video.extent
        middles = [start + length * (2 * part + 1) // (2 * count) for part in range(count)]
        return [still.pixels for still in video.stills(middles)]


def spread(file: BinaryIO, count: int) -> Iterator[Still]:
    """Yield stills as `sample` does, but lazily, and from the beginning of each part: the first frame is among them."""
    with opened(file, MAX_PX) as (container, stream):
        video = _video(file, container, stream)
        start, length = video.extent
        yield from video.stills([start + length * part // count for part in range(count)])


def every(file: BinaryIO) -> Iterator[Still]:
    """Yield all frames as `sample` shows them, each at the time that a job gives it. Raises as `sample` and `probe`."""
    info = probe(file, MAX_PX)
    shown = _Shown(info.crop, info.sample_aspect)
    for shot in decoded(file, info, 0, info.frames):
        yield Still(float((shot.pts - info.pts[0]) * info.time_base), shown(shot.frame))


def frame_after(file: BinaryIO, at_s: float) -> Pixels:
    """Return the first frame that appears `at_s` seconds from the beginning or later. Raises as `sample`."""
    with opened(file, MAX_PX) as (container, stream):
        video = _video(file, container, stream)
        target = video.start + int(max(0.0, at_s - ROUNDED_S) / video.time_base)
        frame = video.frame(target, last=target - 1)
        if frame is None:
            raise Damaged(f"no frame after {at_s:.1f} s can be decoded; check whether it plays")
        return video.shown(frame)


class _Shown:
    """Converter of what shows of frames to upright RGB with square pixels, by the matrix and range that each states."""

    def __init__(self, crop: Crop | None, aspect: Fraction | None) -> None:
        stated = float(aspect or 1)
        self._aspect = stated if SQUAREST <= stated <= WIDEST else 1.0
        self._reformatter, self._cut = VideoReformatter(), Cutter(crop)

    def __call__(self, frame: VideoFrame) -> Pixels:
        """Convert a frame. Raises Unsupported (PQ or HLG)."""
        transfer = HDR.get(frame.color_trc)
        if transfer:
            raise Unsupported(f"frames of HDR video ({transfer}) are not supported here; convert it to SDR first")
        frame = self._cut(frame)
        rgb = self._reformatter.reformat(
            frame,
            width=round(frame.width * self._aspect),
            format="rgb24",
            src_colorspace=matrix(frame.colorspace, frame.height),
            src_color_range=frame.color_range or ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=INTERPOLATION,
            threads=1,
        )
        pixels: npt.NDArray[Any] = rgb.to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


class _Video:
    """An open video, decoded from wherever frames are wanted. Times are in units of the stream's time base."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream = container, stream
        self.shown = _Shown(crop_of(stream), stream.sample_aspect_ratio)
        self._decoding: Iterator[VideoFrame] = iter(())
        self._given: int | None = None  # pts of the frame that `frame` returned last
        self.time_base = stream.time_base or Fraction(1)

    @cached_property
    def extent(self) -> tuple[int, int]:
        """Return the first pts and the length in units of the time base.

        Reads all packets if the header has no length.
        """
        return extent(self._container, self._stream)

    @property
    def start(self) -> int:
        return self.extent[0]

    def stills(self, targets: Sequence[int]) -> Iterator[Still]:
        """Yield different frames near ascending `targets`. Raises Unsupported; Damaged if no frame can be decoded."""
        problem: Exception | None = None
        last = none = -1 << 62
        for target in targets:
            try:
                frame = self.frame(target, last)
                if frame is None:
                    continue
                still = Still(float(((frame.pts or 0) - self.start) * self.time_base), self.shown(frame))
            except MemoryError:
                raise
            except av.FFmpegError as error:
                problem = error
                continue
            last = frame.pts or 0
            yield still
        if last == none:
            raise Damaged(
                f"no frame of this video can be decoded ({reason(problem)}); check whether it plays, or convert it"
            )

    def frame(self, target: int, last: int) -> VideoFrame | None:
        """Return the keyframe before `target` or, if that is not after `last`, the frame at `target`; None at the end.

        `last`: pts of the frame returned last, or any time before `target`. If the container's index has no keyframe
        between the two, decoding continues from there.

        A container without an index (MPEG-TS) is entered at an arbitrary packet, and its decoder waits for the next
        keyframe, which may come after `target` or not at all. It is then entered earlier, in growing steps, down to
        its beginning.
        """
        goes_on, self._given = self._goes_on(target, last), None
        if goes_on:
            found = (frame for frame in self._decoding if frame.pts is not None and frame.pts >= max(target, last + 1))
            return self._noted(next(found, None))
        step = max(int(STEP_BACK_S / self.time_base), 1)
        entry = target
        while True:
            at_start = entry < self.start
            self._container.seek(self.start - step if at_start else entry, backward=not at_start, stream=self._stream)
            packets = demuxed(self._container, self._stream)
            self._decoding = (frame for packet in packets for frame in self._stream.decode(packet))
            late = True
            for number, frame in enumerate(self._decoding):
                if frame.pts is None:
                    continue
                late = late and frame.pts > target
                if late and not at_start:
                    break
                if frame.pts > last and (number == 0 or frame.pts >= target):
                    return self._noted(frame)
            if at_start or not late:
                return None
            entry, step = target - step, 4 * step

    def _goes_on(self, target: int, last: int) -> bool:
        """Return whether the decoder is at `last`, with no keyframe between it and `target`."""
        index = self._stream.index_entries
        place = index.search_timestamp(target) if len(index) else -1
        return self._given == last and place >= 0 and index[place].timestamp <= last

    def _noted(self, frame: VideoFrame | None) -> VideoFrame | None:
        self._given = None if frame is None else frame.pts
        return frame


class _Counted(_Video):
    """A stream without times: frames are counted from its beginning on, and none can be sought."""

    def __init__(self, file: BinaryIO, container: InputContainer, stream: VideoStream) -> None:
        super().__init__(container, stream)
        self._file = file
        self._step = round(1 / (stated_rate(stream) or ASSUMED) / self.time_base)
        self._decoding = self._numbered()

    @cached_property
    def extent(self) -> tuple[int, int]:
        at = self._file.tell()
        self._file.seek(0)
        with opened(self._file, MAX_PX) as (container, stream):
            shows = Shows(stream.codec_context)
            count = sum(map(shows, demuxed(container, stream)))
        self._file.seek(at)
        return 0, count * self._step

    @property
    def start(self) -> int:
        return 0

    def _numbered(self) -> Iterator[VideoFrame]:
        for number, frame in enumerate(frames(demuxed(self._container, self._stream), self._stream.codec_context)):
            frame.pts = number * self._step
            yield frame

    def frame(self, target: int, last: int) -> VideoFrame | None:
        return next((frame for frame in self._decoding if (frame.pts or 0) > max(target - self._step, last)), None)


def _video(file: BinaryIO, container: InputContainer, stream: VideoStream) -> _Video:
    return _Counted(file, container, stream) if has_no_times(stream) else _Video(container, stream)


def extent(container: InputContainer, stream: VideoStream) -> tuple[int, int]:
    start = stream.start_time or 0
    if stream.duration:
        return start, stream.duration
    if container.duration and stream.time_base:
        return start, int(container.duration / av.time_base / stream.time_base)
    last = max((packet.pts for packet in demuxed(container, stream) if packet.pts is not None), default=start)
    return start, last - start + 1
