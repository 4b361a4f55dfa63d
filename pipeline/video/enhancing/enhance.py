"""Enhancement of a segment's frames: decode, filter, estimate, smooth over time, lift. Few are held at once."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from av.video.frame import VideoFrame

from model import Coding, CurveMaps, Enhancer, Floor, reduction_factor
from model.full_size.over_time import RADIUS
from pipeline.luma import mean_luma
from pipeline.video.enhancing.averaging import averaged
from pipeline.video.enhancing.daylight import weighed
from pipeline.video.enhancing.deinterlacing import MARGIN, deinterlaced
from pipeline.video.enhancing.planes import coding, copied, lifted, mean_luma_of_planes, samples
from pipeline.video.enhancing.scenes import Copy
from pipeline.video.enhancing.smoothing import Window, smoothed
from pipeline.video.reading.decode import Shot, decoded
from pipeline.video.reading.probe import VideoInfo
from pipeline.video.reading.segments import Segment
from pipeline.video.signal.color import Conversion, Hdr
from pipeline.video.signal.levels import hand_on_beyond
from pipeline.video.signal.picture import Cutter
from pipeline.video.writing.encode import Encoding


class Clock:
    """Timer of seconds spent, by column of the outcome. A measurement excludes those made within it."""

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
        """Yield the same shots, counting the time it takes to get them."""
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
    """The decoded frame that it was made from."""
    frame: VideoFrame
    """Frame to encode."""
    luma_before: float
    """Mean luma in [0, 1] of a sample of the pixels before enhancement; `luma_after`: the same after it."""
    luma_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Enhancement:
    """Processing that is the same for all frames of all videos."""

    enhancer: Enhancer
    window: Window
    hdr: Hdr
    threads: int
    """Threads of the decoder."""
    bright_luma: float | None = None
    """Mean luma in [0, 1] from which frames are left as they are; None: none is."""

    def frames(
        self, source: BinaryIO, info: VideoInfo, segment: Segment, encoding: Encoding, clock: Clock
    ) -> Iterator[Enhanced]:
        """Yield the segment's frames that can be decoded, in order. They are the same however the video is cut."""
        conversion = Conversion(
            info.colours,
            encoding.colours,
            pixel_format=encoding.pixel_format,
            size=info.size,
            hdr=self.hdr,
            deep=info.is_deep,
            picture=info.picture,
        )
        coded = coding(encoding.colours, encoding.pixel_format, info.height_px)
        planes = coded if self.enhancer.is_fused else None
        below = info.beyond or not self.enhancer.look.iterations
        for shot, maps in self.maps(source, info, segment, conversion, clock, planes):
            with clock("seconds_enhance"):
                if not maps.passes:
                    enhanced = self._as_it_is(shot, conversion, planes)
                elif planes is not None and conversion.keeps(shot.frame):
                    enhanced = self._by_planes(shot, maps, conversion, planes)
                else:
                    enhanced = self._by_rgb(shot, maps, conversion)
                if maps.passes and coded is not None and not coded.full and conversion.keeps(shot.frame):
                    hand_on_beyond(conversion.part(shot.frame), enhanced.frame, below=below)
                enhanced = replace(enhanced, frame=conversion.whole(enhanced.frame, shot.frame))
            yield enhanced

    def maps(
        self,
        source: BinaryIO,
        info: VideoInfo,
        segment: Segment,
        conversion: Conversion,
        clock: Clock,
        planes: Coding | None,
    ) -> Iterator[tuple[Shot, CurveMaps]]:
        """Yield the segment's frames, deinterlaced, cropped and averaged over time, each with its smoothed curve maps.

        Maps of a frame that is left as it is have no passes.
        """
        seen = _widened(range(segment.first, segment.end), self.window.context, info)
        averages = _widened(seen, self.enhancer.look.smooths * RADIUS, info)
        around = 0 if self.bright_luma is None else self.window.reach + 1
        read = _widened(averages, MARGIN + around, info)
        shots = decoded(source, info, read.start, read.stop, threads=self.threads)
        cut = Cutter(info.crop)
        shots = (replace(shot, frame=cut(shot.frame)) for shot in deinterlaced(shots, info))
        shots = clock.through("seconds_decode", shots)
        if self.bright_luma is not None:
            shots = weighed(shots, conversion.small, self.bright_luma, self.window.reach, averages)
        shots = clock.through("seconds_enhance", averaged(shots, info, self.enhancer))
        shots = (shot for shot in shots if shot.rank in seen)
        estimator = _Estimator(self.enhancer, conversion, clock, planes)
        yield from smoothed(shots, estimator, self.window, range(segment.first, segment.end))

    def _as_it_is(self, shot: Shot, conversion: Conversion, planes: Coding | None) -> Enhanced:
        """Convert a frame to the format of the output, and leave its pixels alone."""
        if planes is not None and conversion.keeps(shot.frame):
            part = conversion.part(shot.frame)
            frame = conversion.tagged(copied(part, conversion.pixel_format))
            luma = mean_luma_of_planes(part, planes)
        else:
            rgb = conversion.rgb(shot.frame)
            frame, luma = conversion.frame(rgb, shot.frame), mean_luma(rgb)
        return Enhanced(shot, frame, luma, luma)

    def _by_planes(self, shot: Shot, maps: CurveMaps, conversion: Conversion, planes: Coding) -> Enhanced:
        part = conversion.part(shot.frame)
        frame = conversion.tagged(lifted(part, conversion.pixel_format, planes, self.enhancer, maps))
        return Enhanced(shot, frame, mean_luma_of_planes(part, planes), mean_luma_of_planes(frame, planes))

    def _by_rgb(self, shot: Shot, maps: CurveMaps, conversion: Conversion) -> Enhanced:
        rgb = conversion.rgb(shot.frame)
        enhanced = conversion.from_curves(self.enhancer.apply(conversion.for_curves(rgb), maps), rgb)
        return Enhanced(shot, conversion.frame(enhanced, shot.frame), mean_luma(rgb), mean_luma(enhanced))


def _widened(ranks: range, by: int, info: VideoInfo) -> range:
    return range(max(0, ranks.start - by), min(info.frames, ranks.stop + by))


@dataclass(frozen=True, slots=True)
class _Estimator:
    """Estimator of single frames, for use by `smoothed`."""

    enhancer: Enhancer
    conversion: Conversion
    clock: Clock
    planes: Coding | None
    """Coding of frames whose planes need no conversion; None if RGB is always used."""

    def follows(self, shot: Shot, before: Shot) -> bool:
        return shot.rank == before.rank + 1

    def estimate(self, shot: Shot) -> CurveMaps:
        """Estimate curve maps from a reduced copy of the size that the network sees.

        The noise floor is that of the frame itself. One frame at a time, as a batch may be rounded differently.
        """
        with self.clock("seconds_enhance"):
            width, height = self.conversion.width, self.conversion.height
            factor = reduction_factor(height, width, self.enhancer.estimate_size)
            copy = self.conversion.copy(shot.frame, -(-width // factor), -(-height // factor))
            shares = self.conversion.shares
            maps = self.enhancer.estimate([copy], [self._floor(shot)])[0]
            return replace(maps, factor=factor * maps.factor, shares=shares)

    def _floor(self, shot: Shot) -> Floor | None:
        if self.planes is not None and self.conversion.keeps(shot.frame):
            part = self.conversion.part(shot.frame)
            return self.enhancer.floor_of_planes(samples(part, self.planes)[:3], part.width, self.planes)
        rgb = self.conversion.for_curves(self.conversion.rgb(shot.frame))
        return self.enhancer.floor_of(rgb, self.conversion.shares, is_frame=True)

    def copy(self, shot: Shot) -> Copy:
        with self.clock("seconds_enhance"):
            return self.conversion.small(shot.frame)

    def luma(self, copy: Copy, maps: CurveMaps) -> float:
        with self.clock("seconds_enhance"):
            return self.enhancer.luma(copy, maps)
