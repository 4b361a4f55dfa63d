"""The frames of a segment, enhanced: decoded, filtered, estimated, smoothed over time, lifted. Few are held at once."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from av.video.frame import VideoFrame

from model import CurveMaps, Enhancer
from pipeline.video.color import Conversion, Hdr, Pixels
from pipeline.video.decode import Shot, decoded
from pipeline.video.encode import Encoding
from pipeline.video.filters import Filters, filtered
from pipeline.video.probe import VideoInfo
from pipeline.video.scenes import Copy
from pipeline.video.segments import Segment
from pipeline.video.smoothing import Window, smoothed


class Clock:
    """Seconds spent, by column of the outcome. What is timed within something else counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within_s = 0.0

    @contextmanager
    def __call__(self, column: str) -> Iterator[None]:
        start, before, self._within_s = time.perf_counter(), self._within_s, 0.0
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[column] += elapsed - self._within_s
            self._within_s = before + elapsed

    def through(self, column: str, shots: Iterator[Shot]) -> Iterator[Shot]:
        """The same shots; the time it takes to get them counts."""
        while True:
            with self(column):
                shot = next(shots, None)
            if shot is None:
                return
            yield shot


@dataclass(frozen=True, slots=True)
class Enhanced:
    """A frame of the output."""

    shot: Shot
    """What it was made from."""
    before: Pixels
    """Coded RGB, and after the curves."""
    after: Pixels
    frame: VideoFrame
    """To encode."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Enhancement:
    """What is done to every frame, whatever the video."""

    enhancer: Enhancer
    window: Window
    temporal_denoise: float
    hdr: Hdr
    threads: int
    """Of the decoder."""

    def frames(
        self, source: BinaryIO, info: VideoInfo, segment: Segment, encoding: Encoding, clock: Clock
    ) -> Iterator[Enhanced]:
        """Those of the segment that can be decoded, in order. They are the same however the video was cut."""
        conversion = Conversion(
            info.colours,
            encoding.colours,
            pixel_format=encoding.pixel_format,
            size=info.size,
            hdr=self.hdr,
            deep=info.depth > 8 or info.colours.hdr is not None,
        )
        filters = Filters(deinterlace=info.interlaced, denoise=self.temporal_denoise)
        seen = _widened(range(segment.first, segment.end), self.window.context, info)
        read = _widened(seen, filters.margin, info)
        shots = filtered(decoded(source, info, read.start, read.stop, threads=self.threads), info, filters)
        shots = (shot for shot in clock.through("seconds_decode", shots) if shot.rank in seen)
        estimator = _Estimator(self.enhancer, conversion, clock)
        for shot, maps in smoothed(shots, estimator, self.window, range(segment.first, segment.end)):
            with clock("seconds_enhance"):
                rgb = conversion.rgb(shot.frame)
                enhanced = conversion.from_curves(self.enhancer.apply(conversion.for_curves(rgb), maps), rgb)
                frame = conversion.frame(enhanced, shot.frame)
            yield Enhanced(shot, rgb, enhanced, frame)


def _widened(ranks: range, by: int, info: VideoInfo) -> range:
    return range(max(0, ranks.start - by), min(info.frames, ranks.stop + by))


@dataclass(frozen=True, slots=True)
class _Estimator:
    """What is known of single frames, as `smoothed` asks for it."""

    enhancer: Enhancer
    conversion: Conversion
    clock: Clock

    def estimate(self, shot: Shot) -> CurveMaps:
        """One frame at a time: a batch may be rounded otherwise."""
        with self.clock("seconds_enhance"):
            return self.enhancer.estimate([self.conversion.for_curves(self.conversion.rgb(shot.frame))])[0]

    def copy(self, shot: Shot) -> Copy:
        with self.clock("seconds_enhance"):
            return self.conversion.small(shot.frame)

    def luma(self, copy: Copy, maps: CurveMaps) -> float:
        with self.clock("seconds_enhance"):
            return self.enhancer.luma(copy, maps)
