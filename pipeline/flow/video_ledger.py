"""State of the videos in progress, in one place for all workers. `videos.py` makes a Ray actor of it."""

from collections import Counter

from pipeline.flow.attempts import Attempts


class Ledger(Attempts):
    """Attempts at all steps; what is known of each video in progress, and how many of its frames are finished.

    Ray repeats work whose worker died, so every call may come twice, and also after the video was closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[str, _Video] = {}
        self._closed: set[str] = set()
        self._done = self._reused = 0  # frames of closed videos
        self._asked = False

    def has_begun(self) -> bool:
        """Return whether any worker has started and begun a segment; inspecting a video needs no worker."""
        return self._asked

    def open(self, source: str, info: bytes, frames: int) -> None:
        """Add a video. `info`: of any form, for the workers."""
        if source not in self._open and source not in self._closed:
            self._open[source] = _Video(info, frames)

    def is_open(self, source: str) -> bool:
        """Return whether the segments of the video are still needed."""
        self._asked = True
        return source in self._open

    def info(self, source: str) -> bytes:
        """Return the `info` that `open` was given; empty once the video is closed."""
        return self._open[source].info if source in self._open else b""

    def close(self, source: str, *, done: bool) -> None:
        """End a video. If it is not done, its remaining frames are no longer expected."""
        self._closed.add(source)
        video = self._open.pop(source, None)
        if video is not None:
            self._done += video.frames if done else video.finished.total()
            self._reused += video.reused.total()

    def count(self, source: str, index: int, frames: int) -> None:
        """Set how many frames of the segment are finished by now."""
        if source in self._open:
            self._open[source].finished[index] = frames

    def reuse(self, source: str, index: int, frames: int) -> None:
        """Count the segment's frames as finished by an earlier run, except those that this run has finished."""
        if source in self._open:
            video = self._open[source]
            video.reused.setdefault(index, frames - video.finished[index])
            video.finished[index] = frames

    def progress(self) -> tuple[int, int, int]:
        """Return the numbers of frames that are finished, known so far, and finished by an earlier run."""
        videos = self._open.values()
        return (
            self._done + sum(video.finished.total() for video in videos),
            self._done + sum(video.frames for video in videos),
            self._reused + sum(video.reused.total() for video in videos),
        )


class _Video:
    """A video in progress. `finished`, `reused`: numbers of frames by segment."""

    def __init__(self, info: bytes, frames: int) -> None:
        self.info, self.frames = info, frames
        self.finished, self.reused = Counter[int](), Counter[int]()
