"""The Ray Data graph of videos, which are cut into segments that any worker can take.

    records -> [inspect] -> segments -> [enhance; with the last segment of a video: join] -> outcomes

Only references travel; decoded frames never leave the worker that enhances them. Segments are stored at the destination
until they are joined, so no shared disk is needed, and a run that was killed continues with the missing segments.
"""

import pickle
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import ray
import ray.data
from ray.data import TaskPoolStrategy

from model import Checkpoint
from pipeline.flow.attempts import ATTEMPTS, timed_out, worker_died
from pipeline.flow.gpu_failure import ending_with_its_gpu
from pipeline.flow.prometheus import FRAMES_ENHANCED, watch_batches
from pipeline.flow.ray_data import Batch, blocks_of, configure_ray_data, dataset_of, pool_of, ray_errors, records_of
from pipeline.flow.supervised_step import ANSWER_S, beside_the_driver, has_begun
from pipeline.flow.time_limit import TELL_S, TIME_LIMIT_S, More, allowed_s, time_limit
from pipeline.flow.video_ledger import WHOLE, Ledger
from pipeline.process import use_one_core
from pipeline.records import Outcome, Record, settling
from pipeline.segments import SegmentFolders
from pipeline.storage.storage import Storage
from pipeline.video import Segment, VideoInfo
from pipeline.videos import OUT_OF_MEMORY, EnhanceSegment, Inspect, JoinSegments, VideoSettings

INSPECTIONS = 4  # at once: they mostly wait for storage
TELL_EVERY_S = 1.0  # how often a worker reports its frames
INFOS_KEPT = 4  # cached by each worker

Handle = Any  # of the `Ledger` actor


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFlow:
    """Storage, settings, weights and workers of the graph that enhances videos."""

    storage: Storage
    settings: VideoSettings
    checkpoint: Checkpoint
    device: str
    workers: int
    grows: bool = False
    """Whether to start more workers as nodes join the cluster."""
    gpus_per_worker: float = 0
    """Share of a GPU that each worker takes; 0: it needs none."""
    threads: int
    """Threads that each worker decodes and encodes with."""
    segments: SegmentFolders
    ledger: Handle
    """Made by `new_ledger`."""
    time_limit_s: float = TIME_LIMIT_S
    """Time limit for each frame of a segment. The first frame of a segment, inspecting a video and joining it get one
    second more for each megabyte of the video."""

    def run(self, records: Sequence[Record]) -> Iterator[Outcome]:
        """Yield exactly one outcome for each record, as they come. Needs an initialised Ray. Raises ClusterError.

        A segment at which workers died `ATTEMPTS` times fails its video with the code `worker_died`. A segment that
        takes too long fails its video at once, with `timed_out`.
        """
        # each segment is a block of its own; no limit on the time without progress, as a segment may take long
        configure_ray_data(block_bytes=1, patience_s=-1, on_gpus=self.gpus_per_worker > 0)
        # a video may well have fewer segments than there are workers
        warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
        blocks = blocks_of(records, INSPECTIONS)
        segments = dataset_of(blocks).map_batches(
            InspectTask(self), batch_size=1, num_cpus=0, compute=TaskPoolStrategy(size=min(INSPECTIONS, len(blocks)))
        )
        outcomes = segments.map_batches(
            SegmentWorker,
            fn_constructor_args=(self,),
            batch_size=1,
            num_cpus=1,
            num_gpus=self.gpus_per_worker,
            compute=pool_of(self.workers, 1, grows=self.grows),
        )
        with ray_errors():
            for row in outcomes.iter_rows():
                if row["work"].segment is None:
                    yield row["work"].outcome

    def has_begun(self) -> bool:
        """Return whether a worker has started and begun a segment."""
        return has_begun(self.ledger)

    def progress(self) -> tuple[int, int, int]:
        """Return the numbers of frames that are finished, known so far, and finished by an earlier run.

        Raises ClusterError.
        """
        with ray_errors():
            done, found, reused = ray.get(self.ledger.progress.remote(), timeout=ANSWER_S)
        return done, found, reused

    def limited(self, record: Record, index: int) -> AbstractContextManager[More]:
        """Return a `time_limit` for one part of a video. `index`: of a segment, or `WHOLE`."""

        def tell() -> None:
            ray.get(self.ledger.time_out.remote(record.source, index), timeout=TELL_S)

        return time_limit(allowed_s(self.time_limit_s, record.size_bytes), tell)

    def timed_out(self, record: Record, index: int, outcome: Outcome) -> bool:
        """Return whether an earlier attempt took too long; if so, write that into the outcome."""
        attempts = ray.get(self.ledger.timed_out.remote(record.source, index))
        if attempts:
            timed_out(outcome, attempts, self.time_limit_s)
        return bool(attempts)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoWork:
    """A row of the graph: a segment to enhance with what is known of its video, or the final outcome of a video."""

    record: Record
    outcome: Outcome
    segment: Segment | None = None
    """None: the outcome is final."""


class InspectTask:
    """Task that inspects videos and cuts them into segments."""

    def __init__(self, flow: VideoFlow) -> None:
        self.flow = flow
        self.ledger = flow.ledger
        self.inspect = Inspect(flow.storage, flow.settings)

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        for record in records_of(batch):
            yield from (_row(work) for work in self._works(record))

    def _works(self, record: Record) -> list[VideoWork]:
        outcome = Outcome.of(record)
        if self.flow.timed_out(record, WHOLE, outcome):
            return [VideoWork(record=record, outcome=outcome)]
        outcome.attempts = ray.get(self.ledger.begin.remote(record.source, WHOLE))
        if outcome.attempts > ATTEMPTS:
            return [VideoWork(record=record, outcome=worker_died(outcome))]
        segments: list[Segment] = []
        with settling(record, outcome, out_of_memory=OUT_OF_MEMORY), self.flow.limited(record, WHOLE):
            info, segments = self.inspect(record, outcome)
        if not segments:
            return [VideoWork(record=record, outcome=outcome)]
        ray.get(self.ledger.open.remote(record.source, _packed(info), segments))
        return [VideoWork(record=record, outcome=outcome, segment=segment) for segment in segments]


class SegmentWorker:
    """Worker that enhances segments, and joins a video when its last segment is finished."""

    def __init__(self, flow: VideoFlow) -> None:
        use_one_core()
        self.flow = flow
        self.ledger = flow.ledger
        self.enhance = EnhanceSegment(flow.storage, flow.settings, flow.checkpoint, flow.device, threads=flow.threads)
        watch_batches(self.enhance.enhancement.enhancer, flow.device)
        self.join = JoinSegments(flow.storage, flow.settings)
        self.info = lru_cache(INFOS_KEPT)(self._info)

    def __call__(self, batch: Batch) -> Batch:
        (work,) = batch["work"]
        outcome = work.outcome if work.segment is None else self._outcome(work.record, work.segment, work.outcome)
        return _row(work if outcome is None else VideoWork(record=work.record, outcome=outcome))

    def _outcome(self, record: Record, segment: Segment, outcome: Outcome) -> Outcome | None:
        """Return the video's outcome if this segment has to report it, else None. `outcome`: what is known so far."""
        attempt = ray.get(self.ledger.begin.remote(record.source, segment.index))
        settled, told = ray.get(self.ledger.settled.remote(record.source, segment.index))
        if settled:
            return told  # type: ignore[no-any-return]
        if self.flow.timed_out(record, segment.index, outcome):
            attempt = outcome.attempts
        elif attempt > ATTEMPTS:
            worker_died(outcome)
        else:
            with settling(record, outcome, out_of_memory=OUT_OF_MEMORY):
                if not self._joined(record, segment, outcome):
                    return None
        outcome.attempts = min(attempt, ATTEMPTS)
        return outcome if self._settle(record, segment, outcome) else None

    def _joined(self, record: Record, segment: Segment, outcome: Outcome) -> bool:
        """Enhance the segment, and join the video unless other segments are missing. Returns whether it was joined."""
        info = self.info(record.source)
        told = Telling(self.ledger, record.source, segment.index)
        with self.flow.limited(record, segment.index) as more:

            def on_frame() -> None:
                told.frame()
                more(self.flow.time_limit_s)

            with ending_with_its_gpu():
                result = self.enhance(
                    record, info, segment, self.flow.segments.url_of(record, segment), on_frame=on_frame
                )
        told.end(segment.frames, reused=result.reused)
        whole = ray.get(self.ledger.finish.remote(record.source, segment.index, result))
        if whole is None:
            return False
        segments, results = whole
        urls = [self.flow.segments.url_of(record, each) for each in segments]
        with self.flow.limited(record, segment.index):
            self.join(record, info, urls, results, outcome)
        return True

    def _settle(self, record: Record, segment: Segment, outcome: Outcome) -> bool:
        """Set the video's outcome unless it has one; remove the segments of a finished video.

        Returns whether this segment reports the outcome.
        """
        first = ray.get(self.ledger.settle.remote(record.source, segment.index, outcome))
        if first and outcome.outcome == "done":
            self.flow.segments.clear(record)
        return bool(first)

    def _info(self, source: str) -> VideoInfo:
        info: VideoInfo = pickle.loads(zlib.decompress(ray.get(self.ledger.info.remote(source))))
        return info


class Telling:
    """Reporter of a segment's finished frames to the ledger, about once in `TELL_EVERY_S`."""

    def __init__(self, ledger: Handle, source: str, index: int) -> None:
        self.ledger, self.place = ledger, (source, index)
        self.frames = self._counted = 0
        self._told_at = time.monotonic()

    def frame(self) -> None:
        self.frames += 1
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._tell(self.frames)

    def end(self, frames: int, *, reused: bool) -> None:
        """Report that all `frames` are finished. `reused`: by an earlier run."""
        if reused:
            self.ledger.reuse.remote(*self.place, frames)
        else:
            self._tell(frames)

    def _tell(self, frames: int) -> None:
        self._told_at = time.monotonic()
        if frames > self._counted:
            FRAMES_ENHANCED.inc(frames - self._counted)
        self._counted = frames
        self.ledger.count.remote(*self.place, frames)


def new_ledger() -> Handle:
    """Start a `Ledger` actor. It must live as long as the job: else Ray ends the job, and the next run continues it."""
    return ray.remote(num_cpus=0)(Ledger).options(scheduling_strategy=beside_the_driver()).remote()


def _packed(info: VideoInfo) -> bytes:
    return zlib.compress(pickle.dumps(info))  # frame times at a steady rate compress very well


def _row(work: VideoWork) -> Batch:
    column = np.empty(1, dtype=object)
    column[0] = work
    return {"work": column}
