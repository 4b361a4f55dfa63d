"""The steps of `pipeline/videos.py` as the graph of videos runs them. They share information through the ledger."""

import pickle
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Self

import ray

from pipeline.flow.prometheus import FRAMES_ENHANCED
from pipeline.flow.supervised_step import Handle
from pipeline.flow.time_limit import renew
from pipeline.records import Work, settling
from pipeline.segments import SegmentFolders, SegmentResult
from pipeline.video import Segment, VideoInfo
from pipeline.videos import OUT_OF_MEMORY, EnhanceSegment, Inspect, JoinSegments, PassOn

TELL_EVERY_S = 1.0  # how often a worker reports its frames
INFOS_KEPT = 4  # by each worker


@dataclass(slots=True)
class VideoWork(Work):
    """A video on its way to being inspected, or to being joined. Its outcome has a code if it ends here."""

    segments: list[Segment] = field(default_factory=list)
    """All segments, once the video is inspected."""
    results: list[SegmentResult] = field(default_factory=list)
    """Contents of the segments, in the same order, once they are enhanced."""

    def cut(self) -> "list[SegmentWork]":
        """Return the segments of an inspected video; none if it failed or was passed on."""
        count = len(self.segments)
        return [SegmentWork(self.record, self.outcome, segment, count) for segment in self.segments]

    @classmethod
    def whole(cls, enhanced: "Sequence[SegmentWork]") -> Self:
        """Return the video of all these segments, in order."""
        outcome = enhanced[0].outcome
        outcome.attempts = max(each.outcome.attempts for each in enhanced)
        results = [each.result for each in enhanced if each.result is not None]
        return cls(enhanced[0].record, outcome, [each.segment for each in enhanced], results)


@dataclass(slots=True)
class SegmentWork(Work):
    """A segment on its way to being enhanced.

    Record and outcome are those of the video, as far as it is known; the outcome has a code if this segment failed.
    """

    segment: Segment
    count: int
    """Number of segments of the video."""
    result: SegmentResult | None = None
    """None until the segment is enhanced; stays None if the video has failed at another segment."""

    @property
    def name(self) -> str:
        return f"{self.record.source} {self.segment.index}"


class InspectVideo:
    """Step that inspects a video and opens it in the ledger, unless it is bright and passed on."""

    def __init__(self, pass_on: PassOn, inspect: Inspect, ledger: Handle) -> None:
        self.pass_on, self.inspect, self.ledger = pass_on, inspect, ledger

    def __call__(self, work: VideoWork) -> VideoWork:
        info = None
        with settling(work.record, work.outcome, out_of_memory=OUT_OF_MEMORY):
            if not self.pass_on(work.record, work.outcome):
                info, work.segments = self.inspect(work.record, work.outcome)
        if info is not None:
            packed = zlib.compress(pickle.dumps(info))  # frame times at a steady rate compress very well
            ray.get(self.ledger.open.remote(work.record.source, packed, info.frames))
        return work


class EnhanceVideoSegment:
    """Step that enhances a segment, unless its video has failed. Its frames are counted in the ledger."""

    def __init__(self, enhance: EnhanceSegment, folders: SegmentFolders, ledger: Handle, time_limit_s: float) -> None:
        self.enhance, self.folders, self.ledger, self.time_limit_s = enhance, folders, ledger, time_limit_s
        self.info_of = lru_cache(INFOS_KEPT)(partial(info_of, ledger))

    def __call__(self, work: SegmentWork) -> SegmentWork:
        if not ray.get(self.ledger.is_open.remote(work.record.source)):
            return work
        info = self.info_of(work.record.source)
        frames = FrameCounter(self.ledger, work.record.source, work.segment.index)

        def on_frame() -> None:
            frames.count()
            renew(self.time_limit_s)

        with settling(work.record, work.outcome, out_of_memory=OUT_OF_MEMORY):
            url = self.folders.url_of(work.record, work.segment)
            work.result = self.enhance(work.record, info, work.segment, url, on_frame=on_frame)
            frames.end(work.segment.frames, reused=work.result.reused)
        return work


class JoinVideo:
    """Step that joins the segments of a video into its output."""

    def __init__(self, join: JoinSegments, folders: SegmentFolders, ledger: Handle) -> None:
        self.join, self.folders, self.ledger = join, folders, ledger

    def __call__(self, work: VideoWork) -> VideoWork:
        info = info_of(self.ledger, work.record.source)
        with settling(work.record, work.outcome, out_of_memory=OUT_OF_MEMORY):
            urls = [self.folders.url_of(work.record, segment) for segment in work.segments]
            self.join(work.record, info, urls, work.results, work.outcome)
        return work


class FrameCounter:
    """Counter of a segment's finished frames, which it reports to the ledger about once in `TELL_EVERY_S`."""

    def __init__(self, ledger: Handle, source: str, index: int) -> None:
        self.ledger, self.place = ledger, (source, index)
        self.frames = self._reported = 0
        self._reported_at = time.monotonic()

    def count(self) -> None:
        self.frames += 1
        if time.monotonic() - self._reported_at >= TELL_EVERY_S:
            self._report(self.frames)

    def end(self, frames: int, *, reused: bool) -> None:
        """Report that all `frames` are finished. `reused`: by an earlier run."""
        if reused:
            self.ledger.reuse.remote(*self.place, frames)
        else:
            self._report(frames)

    def _report(self, frames: int) -> None:
        self._reported_at = time.monotonic()
        if frames > self._reported:
            FRAMES_ENHANCED.inc(frames - self._reported)
        self._reported = frames
        self.ledger.count.remote(*self.place, frames)


def info_of(ledger: Handle, source: str) -> VideoInfo:
    """Return what was found in a video that is not closed yet."""
    info: VideoInfo = pickle.loads(zlib.decompress(ray.get(ledger.info.remote(source))))
    return info
