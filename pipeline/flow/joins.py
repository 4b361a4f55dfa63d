"""The last part of the graph of videos: the driver collects enhanced segments and has complete videos joined."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any

import ray

from pipeline.flow.supervised_step import Watched
from pipeline.flow.video_steps import SegmentWork, VideoWork


class Joins:
    """Collector of enhanced segments, which starts a task to join each complete video: at most `most` at once."""

    def __init__(self, join: Watched[VideoWork], *, most: int) -> None:
        self._join, self._most = ray.put(join), most
        # Ray restarts a task whose worker died; `Watched` counts the attempts
        self._task = ray.remote(num_cpus=0, max_retries=-1, scheduling_strategy="SPREAD")(_joined)
        self._enhanced: dict[str, dict[int, SegmentWork]] = defaultdict(dict)
        self._complete: set[str] = set()
        self._waiting: deque[VideoWork] = deque()
        self._running: list[Any] = []

    def videos(self, works: Iterable[VideoWork | SegmentWork]) -> Iterator[VideoWork]:
        """Yield each video once, with its final outcome: when it was joined, or at its first failure.

        `works`: enhanced segments, and videos that could not be inspected. Any may come twice, as Ray repeats work.
        """
        try:
            for work in works:
                yield from self._add(work)
                yield from self._finished(timeout_s=0)
            while self._running:
                yield from self._finished(timeout_s=None)
        finally:  # none are running unless the job was stopped
            for task in self._running:
                ray.cancel(task, force=True)

    def _add(self, work: VideoWork | SegmentWork) -> list[VideoWork]:
        """Collect a segment; if its video is now complete, have it joined. Returns the video if it failed just now."""
        source = work.record.source
        if source in self._complete:
            return []
        if isinstance(work, VideoWork) or work.outcome.code:
            self._complete.add(source)
            self._enhanced.pop(source, None)
            return [VideoWork(work.record, work.outcome)]
        segments = self._enhanced[source]
        segments[work.segment.index] = work
        if len(segments) == work.count:
            self._complete.add(source)
            self._waiting.append(VideoWork.of([segments[index] for index in range(work.count)]))
            del self._enhanced[source]
            self._start()
        return []

    def _finished(self, timeout_s: float | None) -> list[VideoWork]:
        """Return joined videos, and start waiting ones. `timeout_s`: how long to wait for one; None: no limit."""
        if not self._running:
            return []
        ready, self._running = ray.wait(self._running, timeout=timeout_s)
        videos: list[VideoWork] = ray.get(ready)
        self._start()
        return videos

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._most:
            self._running.append(self._task.remote(self._join, self._waiting.popleft()))


def _joined(join: Watched[VideoWork], video: VideoWork) -> VideoWork:
    (video,) = join([video])
    return video
