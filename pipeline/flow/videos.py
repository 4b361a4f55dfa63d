"""The Ray Data graph of videos, which are cut into segments that any worker can take.

    records -> [inspect] -> segments -> [enhance; with the last segment of a video: join] -> outcomes

What travels are references; decoded frames never leave the worker that enhances them. Segments lie at the destination
until they are joined: so nothing asks for a shared disk, and a run that was killed goes on at the segment.
"""

import hashlib
import pickle
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import ray
import ray.data
from ray.data import TaskPoolStrategy

from model import Checkpoint
from pipeline.errors import StorageError
from pipeline.flow.attempts import ATTEMPTS, timed_out, worker_died
from pipeline.flow.gpu_failure import ending_with_its_gpu
from pipeline.flow.prometheus import FRAMES_ENHANCED, watch_batches
from pipeline.flow.ray_data import Batch, blocks_of, configure_ray_data, dataset_of, pool_of, ray_errors, records_of
from pipeline.flow.supervised_step import ANSWER_S, beside_the_driver, has_begun
from pipeline.flow.time_limit import TELL_S, TIME_LIMIT_S, More, allowed_s, time_limit
from pipeline.flow.video_ledger import WHOLE, Ledger
from pipeline.process import use_one_core
from pipeline.records import Outcome, Record, settling
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join, shown
from pipeline.video import Segment, VideoInfo
from pipeline.videos import OUT_OF_MEMORY, EnhanceSegment, Inspect, JoinSegments, VideoSettings

INSPECTIONS = 4  # at once: they wait for storage more than they work
TELL_EVERY_S = 1.0  # how often a worker tells of frames
INFOS_KEPT = 4  # by a worker

Handle = Any  # of the `Ledger` actor


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFlow:
    """What the graph needs to enhance videos."""

    storage: Storage
    settings: VideoSettings
    checkpoint: Checkpoint
    device: str
    workers: int
    grows: bool = False
    """Workers beyond these are started as nodes join the cluster."""
    gpus_per_worker: float = 0
    """Share of a GPU that each worker takes; 0: it needs none."""
    threads: int
    """That each worker decodes and encodes with."""
    folder: str
    """URL of the folder that segments lie in until they are joined."""
    ledger: Handle
    """Made by `new_ledger`."""
    time_limit_s: float = TIME_LIMIT_S
    """For each frame of a segment; for the first, for inspecting a video and for joining it, a second more for each
    megabyte of it."""

    def run(self, records: Sequence[Record]) -> Iterator[Outcome]:
        """Exactly one outcome for each record, as they come. Needs an initialised Ray. Raises ClusterError.

        A segment at which workers died `ATTEMPTS` times fails its video with the code `worker_died`, and one that took
        too long with `timed_out`, at once.
        """
        # every segment by itself, and one may take long
        configure_ray_data(block_bytes=1, patience_s=-1, on_gpus=self.gpus_per_worker > 0)
        # a video of fewer segments than there are workers is nothing to warn of
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
        """Tell whether a worker has come up and begun a segment."""
        return has_begun(self.ledger)

    def progress(self) -> tuple[int, int, int]:
        """Frames that are finished, that are known of by now, and how many of the finished ones are of an earlier run.

        Raises ClusterError.
        """
        with ray_errors():
            done, found, reused = ray.get(self.ledger.progress.remote(), timeout=ANSWER_S)
        return done, found, reused

    def segment_url(self, record: Record, segment: Segment) -> str:
        return join(self._folder_of(record), f"{segment.index:05d}")

    def clear(self, record: Record) -> None:
        """Remove the segments of one video; what cannot be removed stays."""
        with suppress(StorageError):
            self.storage.remove_below(self._folder_of(record))

    def limited(self, record: Record, index: int) -> AbstractContextManager[More]:
        """The time that this place of a video may take: see `time_limit`."""

        def tell() -> None:
            ray.get(self.ledger.time_out.remote(record.source, index), timeout=TELL_S)

        return time_limit(allowed_s(self.time_limit_s, record.size_bytes), tell)

    def timed_out(self, record: Record, index: int, outcome: Outcome) -> bool:
        """Whether workers ended as this took too long: then it is the outcome."""
        attempts = ray.get(self.ledger.timed_out.remote(record.source, index))
        if attempts:
            timed_out(outcome, attempts, self.time_limit_s)
        return bool(attempts)

    def _folder_of(self, record: Record) -> str:
        video = hashlib.sha256(f"{shown(record.source)}\n{record.version}".encode()).hexdigest()[:16]
        return join(self.folder, video)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoWork:
    """What travels: a segment to enhance and what is known of its video, or what became of a video."""

    record: Record
    outcome: Outcome
    segment: Segment | None = None
    """None: the outcome is the video's last."""


class InspectTask:
    """Videos into segments."""

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
    """Enhances segments, and joins those of a video with the last of them."""

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
        """Of the video, if it is this segment's to tell. `outcome`: what is known of it."""
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
        """Enhance the segment, and join the video unless others are missing."""
        info = self.info(record.source)
        told = Telling(self.ledger, record.source, segment.index)
        with self.flow.limited(record, segment.index) as more:

            def on_frame() -> None:
                told.frame()
                more(self.flow.time_limit_s)

            with ending_with_its_gpu():
                result = self.enhance(record, info, segment, self.flow.segment_url(record, segment), on_frame=on_frame)
        told.end(segment.frames, reused=result.reused)
        whole = ray.get(self.ledger.finish.remote(record.source, segment.index, result))
        if whole is None:
            return False
        segments, results = whole
        urls = [self.flow.segment_url(record, each) for each in segments]
        with self.flow.limited(record, segment.index):
            self.join(record, info, urls, results, outcome)
        return True

    def _settle(self, record: Record, segment: Segment, outcome: Outcome) -> bool:
        """Whether this is the video's outcome: the first one is. Segments that have served are removed."""
        first = ray.get(self.ledger.settle.remote(record.source, segment.index, outcome))
        if first and outcome.outcome == "done":
            self.flow.clear(record)
        return bool(first)

    def _info(self, source: str) -> VideoInfo:
        info: VideoInfo = pickle.loads(zlib.decompress(ray.get(self.ledger.info.remote(source))))
        return info


class Telling:
    """Tells the ledger of frames, now and then."""

    def __init__(self, ledger: Handle, source: str, index: int) -> None:
        self.ledger, self.place = ledger, (source, index)
        self.frames = self._counted = 0
        self._told_at = time.monotonic()

    def frame(self) -> None:
        self.frames += 1
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._tell(self.frames)

    def end(self, frames: int, *, reused: bool) -> None:
        """All `frames` are there. `reused`: from an earlier run."""
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
    """It must live as long as the job: without it, Ray ends the job, and the next run goes on."""
    return ray.remote(num_cpus=0)(Ledger).options(scheduling_strategy=beside_the_driver()).remote()


def _packed(info: VideoInfo) -> bytes:
    return zlib.compress(pickle.dumps(info))  # times of frames at a steady rate become very small


def _row(work: VideoWork) -> Batch:
    column = np.empty(1, dtype=object)
    column[0] = work
    return {"work": column}
