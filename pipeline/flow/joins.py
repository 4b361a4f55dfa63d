"""The last part of the graph of videos: the driver collects enhanced segments and has complete videos joined."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.flow.supervised_step import Watched
from pipeline.flow.video_steps import SegmentWork, VideoWork

LEAST_JOINS, CPUS_PER_JOIN = 2, 8  # joins at once on a node: they mostly copy, beside the workers
ASK_AGAIN_S = 1.0  # whether a node has room


class Joins:
    """Collector of enhanced segments, which starts a task to join each complete video, a few at once on each node.

    The tasks hold no CPU, as workers may have them all. They run on nodes that have CPUs: not on a head without any.
    """

    def __init__(self, join: Watched[VideoWork]) -> None:
        self._join = ray.put(join)
        # Ray restarts a task whose worker died; `Watched` counts the attempts
        self._task = ray.remote(num_cpus=0, max_retries=-1)(_joined)
        self._enhanced: dict[str, dict[int, SegmentWork]] = defaultdict(dict)
        self._complete: set[str] = set()
        self._waiting: deque[VideoWork] = deque()
        self._running: dict[Any, str] = {}
        """The node of each task."""

    def videos(self, works: Iterable[VideoWork | SegmentWork]) -> Iterator[VideoWork]:
        """Yield each video once, with its final outcome: when it was joined or passed on, or at its first failure.

        `works`: enhanced segments, and videos that were not cut. Any may come twice, as Ray repeats work.
        """
        try:
            for work in works:
                yield from self._add(work)
                yield from self._finished(timeout_s=0)
            while self._running or self._waiting:
                yield from self._finished(timeout_s=ASK_AGAIN_S)
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
        segments.setdefault(work.segment.index, work)  # repeated, it would count as reused from an earlier run
        if len(segments) == work.count:
            self._complete.add(source)
            self._waiting.append(VideoWork.whole([segments[index] for index in range(work.count)]))
            del self._enhanced[source]
        return []

    def _finished(self, timeout_s: float) -> list[VideoWork]:
        """Return joined videos, and start waiting ones. `timeout_s`: how long to wait for one."""
        self._start()
        if not self._running:
            time.sleep(timeout_s)
            return []
        ready, _ = ray.wait(list(self._running), timeout=timeout_s)
        for task in ready:
            del self._running[task]
        videos: list[VideoWork] = ray.get(ready)
        return videos

    def _start(self) -> None:
        """Start waiting joins where there is room, on the node with the most room."""
        while self._waiting:
            at_work = Counter(self._running.values())
            room = {node: most - at_work[node] for node, most in _most_joins().items()}
            node = max(room, key=room.__getitem__, default="")
            if not room or room[node] <= 0:
                return
            there = NodeAffinitySchedulingStrategy(node, soft=True)
            task = self._task.options(scheduling_strategy=there).remote(self._join, self._waiting.popleft())
            self._running[task] = node


def _most_joins() -> dict[str, int]:
    """Return how many joins may run at once on each node that has CPUs."""
    nodes = [(node["NodeID"], int(node["Resources"].get("CPU", 0))) for node in ray.nodes() if node["Alive"]]
    return {node: max(LEAST_JOINS, cpus // CPUS_PER_JOIN) for node, cpus in nodes if cpus}


def _joined(join: Watched[VideoWork], video: VideoWork) -> VideoWork:
    """Join a video. Returns only what the driver needs, so that the result is not lost with this node."""
    (video,) = join([video])
    return VideoWork(video.record, video.outcome)
