"""State of the videos in progress, in one place for all workers. `videos.py` makes a Ray actor of it."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.records import Outcome
from pipeline.segments import SegmentResult
from pipeline.video import Segment

WHOLE = -1  # in place of a segment's index: the video as a whole


@dataclass(slots=True)
class _Entry:
    """State of one video."""

    info: bytes
    segments: list[Segment]
    results: dict[int, SegmentResult] = field(default_factory=dict)
    frames: dict[int, int] = field(default_factory=dict)
    settler: int | None = None
    outcome: Outcome | None = None


class Ledger:
    """Attempts, frames, results and outcomes of all videos, by source.

    Ray repeats work whose worker died, so every call may come twice: one segment reports a video's outcome, and reports
    it again when repeated.
    """

    def __init__(self) -> None:
        self._begun: Counter[tuple[str, int]] = Counter()
        self._timed_out: dict[tuple[str, int], int] = {}
        self._videos: dict[str, _Entry] = {}
        self._done = self._found = self._reused = 0

    def begin(self, source: str, index: int) -> int:
        """Count one more attempt. Returns how many are unfinished, this one included."""
        self._begun[source, index] += 1
        return self._begun[source, index]

    def has_begun(self) -> bool:
        """Return whether any worker has started and begun a segment; inspecting a video needs no worker."""
        return any(index != WHOLE for _, index in self._begun)

    def time_out(self, source: str, index: int) -> None:
        """Record that this took too long, so that its worker is about to end."""
        self._timed_out[source, index] = self._begun[source, index]

    def timed_out(self, source: str, index: int) -> int:
        """Return how often this was tried if it took too long, else 0."""
        return self._timed_out.get((source, index), 0)

    def open(self, source: str, info: bytes, segments: list[Segment]) -> None:
        self._begun[source, WHOLE] = 0
        if source not in self._videos:
            self._videos[source] = _Entry(info, segments)
            self._found += sum(segment.frames for segment in segments)

    def info(self, source: str) -> bytes:
        return self._videos[source].info

    def count(self, source: str, index: int, frames: int) -> None:
        """Set how many frames of the segment are finished by now."""
        counted = self._videos[source].frames
        self._done += frames - counted.get(index, 0)
        counted[index] = frames

    def reuse(self, source: str, index: int, frames: int) -> None:
        """Count the segment's frames as finished by an earlier run."""
        self._reused += frames - self._videos[source].frames.get(index, 0)
        self.count(source, index, frames)

    def progress(self) -> tuple[int, int, int]:
        """Return the numbers of frames that are finished, known so far, and finished by an earlier run."""
        return self._done, self._found, self._reused

    def finish(
        self, source: str, index: int, result: SegmentResult
    ) -> tuple[list[Segment], list[SegmentResult]] | None:
        """Store a segment's result. Returns all segments and results if this segment has to join them, else None."""
        entry = self._videos[source]
        entry.results.setdefault(index, result)
        if len(entry.results) < len(entry.segments) or entry.settler not in (None, index):
            self._begun[source, index] = 0  # the segment that joins keeps its count: the join is an attempt, too
            return None
        entry.settler = index
        return entry.segments, [entry.results[segment.index] for segment in entry.segments]

    def settled(self, source: str, index: int) -> tuple[bool, Outcome | None]:
        """Return whether the video has an outcome, and that outcome if this segment reports it, else None."""
        entry = self._videos[source]
        return entry.outcome is not None, entry.outcome if entry.settler == index else None

    def settle(self, source: str, index: int, outcome: Outcome) -> bool:
        """Set the video's outcome, unless another segment reports it. Returns whether this segment does."""
        entry = self._videos[source]
        if entry.outcome is None and entry.settler in (None, index):
            entry.settler, entry.outcome = index, outcome
            # after a failure, the remaining frames are no longer expected
            self._found -= sum(segment.frames - entry.frames.get(segment.index, 0) for segment in entry.segments)
            entry.info, entry.results = b"", {}
        return entry.settler == index
