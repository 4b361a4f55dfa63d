"""State of the videos in progress, in one place for all workers. `videos.py` makes a Ray actor of it."""

from collections import Counter

from pipeline.flow.attempts import Attempts


class Ledger(Attempts):
    """Counter of attempts and of finished frames, with what inspection found in each video, by source.

    Ray repeats work whose worker died, so every call may come twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self._infos: dict[str, bytes] = {}
        self._frames: dict[str, int] = {}
        self._finished: dict[str, Counter[int]] = {}
        self._reused: dict[tuple[str, int], int] = {}
        self._asked = False

    def has_begun(self) -> bool:
        """Return whether any worker has started and begun a segment. Inspections do not count: they run elsewhere."""
        return self._asked

    def open(self, source: str, info: bytes, frames: int) -> None:
        """Add a video, unless it is known already. `info`: returned to workers as it is."""
        if source not in self._infos:
            self._infos[source], self._frames[source], self._finished[source] = info, frames, Counter()

    def info(self, source: str) -> bytes:
        """Return the `info` that `open` was given; empty once the video is closed."""
        self._asked = True
        return self._infos[source]

    def close(self, source: str, *, done: bool) -> None:
        """End a video. If it is not done, its remaining frames are no longer expected."""
        if source in self._infos:
            self._infos[source] = b""
            if not done:
                self._frames[source] = self._finished[source].total()
            self._finished[source] = Counter({0: self._frames[source]})

    def count(self, source: str, index: int, frames: int) -> None:
        """Set how many frames of the segment are finished by now. Ignored once the video is closed."""
        if self._infos[source]:
            self._finished[source][index] = frames

    def reuse(self, source: str, index: int, frames: int) -> None:
        """Count the segment's frames as finished by an earlier run, except those that this run has finished."""
        self._reused.setdefault((source, index), frames - self._finished[source][index])
        self.count(source, index, frames)

    def progress(self) -> tuple[int, int, int]:
        """Return the numbers of frames that are finished, known so far, and finished by an earlier run."""
        finished = sum(each.total() for each in self._finished.values())
        return finished, sum(self._frames.values()), sum(self._reused.values())
