"""The Ray Data graph of videos, which are cut into segments that any worker can take.

    records -> [inspect] -> segments -> [enhance] -> enhanced segments     tasks, then one pool of actors
    all enhanced segments of a video -> [join] -> outcome                  tasks, which the driver starts

Only references travel; decoded frames never leave the worker that enhances them. Segments are stored at the destination
until they are joined, so no shared disk is needed, and a run that was killed continues with the missing segments.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import ray
import ray.data
from ray.data import TaskPoolStrategy

from model import Checkpoint
from pipeline.errors import ClusterError, plural
from pipeline.flow.joins import Joins
from pipeline.flow.prometheus import watch_batches
from pipeline.flow.ray_data import Batch, blocks_of, dataset_of, pool_of, ray_errors, records_of
from pipeline.flow.supervised_step import ANSWER_S, Handle, Watched, actor_of, has_begun
from pipeline.flow.time_limit import TIME_LIMIT_S
from pipeline.flow.video_ledger import Ledger
from pipeline.flow.video_steps import EnhanceVideoSegment, InspectVideo, JoinVideo, SegmentWork, VideoWork
from pipeline.process import use_one_core
from pipeline.records import Outcome, Record
from pipeline.segments import SegmentFolders
from pipeline.storage.storage import Storage
from pipeline.videos import EnhanceSegment, Inspect, JoinSegments, PassOn, VideoSettings

INSPECTIONS = 4  # at once: they mostly wait for storage


def new_ledger() -> Handle:
    """Start a `Ledger` actor. It must live as long as the job: else Ray ends the job, and the next run continues it."""
    return actor_of(Ledger, restarts=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFlow:
    """Storage, settings, weights and workers of the graph that enhances videos. Needs an initialised Ray."""

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
    time_limit_s: float = TIME_LIMIT_S
    """Time limit for each frame of a segment. The first frame of a segment, inspecting a video and joining it get one
    second more for each megabyte of the video."""
    ledger: Handle = field(default_factory=new_ledger)

    def run(self, records: Sequence[Record]) -> Iterator[Outcome]:
        """Yield exactly one outcome for each record, as they come. Raises ClusterError.

        A video fails with the code `worker_died` if `ATTEMPTS` workers died at one of its segments, while it was
        inspected or while it was joined. It fails with `timed_out` at once if any of that takes too long.
        """
        # a video may well have fewer segments than there are workers
        warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
        blocks = blocks_of(records, INSPECTIONS)
        # each segment is a block of its own; no limit on the time without progress, as a segment may take long
        dataset = dataset_of(blocks, block_bytes=1, patience_s=-1, on_gpus=self.gpus_per_worker > 0)
        segments = dataset.map_batches(
            InspectTask(self), batch_size=1, num_cpus=0, compute=TaskPoolStrategy(size=min(INSPECTIONS, len(blocks)))
        )
        enhanced = segments.map_batches(
            SegmentWorker,
            fn_constructor_args=(self,),
            batch_size=1,
            num_cpus=1,
            num_gpus=self.gpus_per_worker,
            compute=pool_of(self.workers, 1, grows=self.grows),
        )
        with ray_errors():
            join = JoinVideo(JoinSegments(self.storage, self.settings), self.segments, self.ledger)
            joins = Joins(Watched(join, self.ledger, self.time_limit_s))
            remove = ray.remote(num_cpus=0)(SegmentFolders.clear)
            count, removals = 0, []
            for video in joins.videos(row["work"] for row in enhanced.iter_rows()):
                done = video.outcome.outcome == "done"
                self.ledger.close.remote(video.record.source, done=done)
                count += 1
                yield video.outcome
                if done:  # and recorded: from here on no run needs the segments
                    removals.append(remove.remote(self.segments, video.record))
            ray.get(removals)
        if count < len(records):
            raise ClusterError(
                f"Ray lost track of {plural(len(records) - count, 'video')}, perhaps with a node; "
                "run the same command again to continue"
            )

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


class InspectTask:
    """Task that inspects videos and cuts them into segments."""

    def __init__(self, flow: VideoFlow) -> None:
        steps = PassOn(flow.storage, flow.settings), Inspect(flow.storage, flow.settings)
        self.step = Watched(InspectVideo(*steps, flow.ledger), flow.ledger, flow.time_limit_s)

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        for record in records_of(batch):
            for video in self.step([VideoWork.of(record)]):
                segments = video.cut()
                yield from map(_row, segments) if segments else [_row(video)]


class SegmentWorker:
    """Worker that enhances segments. Videos that were not cut pass untouched."""

    def __init__(self, flow: VideoFlow) -> None:
        use_one_core()
        enhance = EnhanceSegment(flow.storage, flow.settings, flow.checkpoint, flow.device, threads=flow.threads)
        watch_batches(enhance.enhancement.enhancer, flow.device)
        self.step = Watched(
            EnhanceVideoSegment(enhance, flow.segments, flow.ledger, flow.time_limit_s), flow.ledger, flow.time_limit_s
        )

    def __call__(self, batch: Batch) -> Batch:
        (work,) = batch["work"]
        if isinstance(work, SegmentWork):
            (work,) = self.step([work])
        return _row(work)


def _row(work: VideoWork | SegmentWork) -> Batch:
    column = np.empty(1, dtype=object)
    column[0] = work
    return {"work": column}
