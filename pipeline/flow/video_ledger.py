"""What is known of the videos at work, in one place for all workers. `videos.py` makes a Ray actor of it."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.records import Outcome
from pipeline.video import Segment
from pipeline.videos import SegmentResult

WHOLE = -1  # the place of what concerns a video and no segment of it


@dataclass(slots=True)
class _Entry:
    """What the ledger knows of one video."""

    info: bytes
    segments: list[Segment]
    results: dict[int, SegmentResult] = field(default_factory=dict)
    frames: dict[int, int] = field(default_factory=dict)
    settler: int | None = None
    outcome: Outcome | None = None


class Ledger:
    """Attempts, frames, results and outcomes, by a video's source.

    Ray repeats work whose worker died, so that every call may come twice: a video's outcome is told by one segment, and
    that one tells it again.
    """

    def __init__(self) -> None:
        self._begun: Counter[tuple[str, int]] = Counter()
        self._timed_out: dict[tuple[str, int], int] = {}
        self._videos: dict[str, _Entry] = {}
        self._done = self._found = self._reused = 0

    def begin(self, source: str, index: int) -> int:
        """How often this has been begun and not finished, this time included."""
        self._begun[source, index] += 1
        return self._begun[source, index]

    def has_begun(self) -> bool:
        """Tell whether any worker has come up and begun a segment; videos are inspected without one."""
        return any(index != WHOLE for _, index in self._begun)

    def time_out(self, source: str, index: int) -> None:
        """The worker that has begun this will end, as it took too long."""
        self._timed_out[source, index] = self._begun[source, index]

    def timed_out(self, source: str, index: int) -> int:
        """How often it was tried, if it took too long; else 0."""
        return self._timed_out.get((source, index), 0)

    def open(self, source: str, info: bytes, segments: list[Segment]) -> None:
        self._begun[source, WHOLE] = 0
        if source not in self._videos:
            self._videos[source] = _Entry(info, segments)
            self._found += sum(segment.frames for segment in segments)

    def info(self, source: str) -> bytes:
        return self._videos[source].info

    def count(self, source: str, index: int, frames: int) -> None:
        """So many frames of the segment are finished by now."""
        counted = self._videos[source].frames
        self._done += frames - counted.get(index, 0)
        counted[index] = frames

    def reuse(self, source: str, index: int, frames: int) -> None:
        """The segment was there already, from an earlier run."""
        self._reused += frames - self._videos[source].frames.get(index, 0)
        self.count(source, index, frames)

    def progress(self) -> tuple[int, int, int]:
        """Frames that are finished, that are known of, and how many of the finished ones are of an earlier run."""
        return self._done, self._found, self._reused

    def finish(
        self, source: str, index: int, result: SegmentResult
    ) -> tuple[list[Segment], list[SegmentResult]] | None:
        """All segments and their results, for the one that completes them."""
        entry = self._videos[source]
        entry.results.setdefault(index, result)
        if len(entry.results) < len(entry.segments) or entry.settler not in (None, index):
            self._begun[source, index] = 0  # the join is an attempt, too
            return None
        entry.settler = index
        return entry.segments, [entry.results[segment.index] for segment in entry.segments]

    def settled(self, source: str, index: int) -> tuple[bool, Outcome | None]:
        """Whether the video has its outcome; and the outcome, if this segment told it."""
        entry = self._videos[source]
        return entry.outcome is not None, entry.outcome if entry.settler == index else None

    def settle(self, source: str, index: int, outcome: Outcome) -> bool:
        """Whether this becomes the video's outcome."""
        entry = self._videos[source]
        if entry.outcome is None and entry.settler in (None, index):
            entry.settler, entry.outcome = index, outcome
            # what a failure leaves undone is not waited for
            self._found -= sum(segment.frames - entry.frames.get(segment.index, 0) for segment in entry.segments)
            entry.info, entry.results = b"", {}
        return entry.settler == index
