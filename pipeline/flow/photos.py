"""The Ray Data graphs: the place to start reading. Each joins the steps of `photos.py` in the order data moves. That of
videos has a file of its own, `video_flow.py`.

    fused   records -> [read, decode, enhance, encode, write] -> outcomes         one pool of CPU actors
    split   records -> [read, decode] -> [enhance] -> [encode, write] -> outcomes  tasks, GPU actors, tasks
    training   records -> [read, decode, make small] -> blocks of pictures, kept   tasks

Fused passes references and no pixels: on CPUs nothing else pays. Split keeps a GPU fed by many decoding CPUs, at the
cost of carrying pixels between processes. Both call the same steps and give the same files. What training sees stays in
Ray's object store, where every worker of the training finds every picture.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext, ExecutionResources
from ray.data.exceptions import ExecutionTimeoutError, SystemException
from ray.exceptions import RayError, RayTaskError

from model import Checkpoint
from pipeline.errors import ClusterError, failed_import
from pipeline.flow.attempts import ATTEMPTS
from pipeline.flow.prometheus import watch_batches
from pipeline.flow.supervised_step import Handle, Watched, has_begun, new_attempts
from pipeline.flow.time_limit import TIME_LIMIT_S
from pipeline.photos import Development, EncodeAndWrite, Enhance, PhotoSettings, PhotoSteps, ReadAndDecode
from pipeline.process import keep_freed_memory, use_one_core
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from pipeline.training.samples import PICTURES_SCHEMA, Reading, ReadPictures

# A block is what a worker takes at a time, and what Ray Data spends 20 ms on, 7 of them the driver's own: a few photos,
# or many small ones; and more where each worker gets many blocks, or where workers are so many that it would lag behind
RECORDS_PER_BLOCK, BLOCK_BYTES = 32, 4_000_000
BLOCKS_OF_PLENTY, PLENTY_BYTES = 64, 64_000_000
BYTES_PER_WORKER = 300_000  # which it enhances in about 7 ms
DECODED_PER_BLOCK = 8  # photos whose pixels travel together
BLOCKS_IN_FLIGHT = 4  # of a worker: Ray Data looks ten times a second whether one is needed
SPLIT_BATCH = 4  # decoded photos that a GPU actor takes at a time
UNDIVIDED_BYTES = 1 << 50  # never reached: what a task gives stays together, the same whenever the task is repeated
PICTURES_BLOCK_BYTES = 1 << 20  # a block of pictures: what is fetched for one of them, from elsewhere or from disk
NO_PROGRESS_S, RESTART_S = 1800.0, 60.0  # at the least, until Ray ends the job; until a dead worker is replaced

Batch = dict[str, Any]
BlockRef = Any  # ray.ObjectRef of a pa.Table by PICTURES_SCHEMA


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoFlow:
    """What the graphs need to enhance photos. Made with an initialised Ray."""

    storage: Storage
    settings: PhotoSettings
    checkpoint: Checkpoint
    device: str
    workers: int
    grows: bool = False
    """Workers beyond these are started as nodes join the cluster."""
    workers_per_core: int = 1
    """That share it, one of which works while others wait for storage; where steps are split, tasks beside workers."""
    gpus_per_worker: float = 0
    """Share of a GPU that each worker takes; 0: it needs none."""
    topology: Literal["fused", "split"]
    time_limit_s: float = TIME_LIMIT_S
    """For all steps of a photo; where they are split, for each; and a second more for each megabyte."""
    attempts: Handle = field(default_factory=new_attempts)

    def run(self, records: Sequence[Record]) -> Iterator[Outcome]:
        """Exactly one outcome for each record, as they come. Needs an initialised Ray. Raises ClusterError.

        Ray repeats a block whose worker died (a crash in a codec, want of memory, a lost node) until it is done; then
        each of its photos is watched, and one at which workers died `ATTEMPTS` times is left out, as failed with the
        code `worker_died`; one that took too long is not tried again, and has the code `timed_out`.
        """
        if self.topology == "fused":
            graph, blocks = self._fused, blocks_of(records, self.workers, *limits_of_blocks(records, self.workers))
        else:  # every processor of the cluster may decode
            tasks = int(ray.cluster_resources().get("CPU", 1)) * self.workers_per_core
            graph, blocks = self._split, blocks_of(records, max(self.workers, tasks), DECODED_PER_BLOCK)
        patience_s = _patience_s(blocks, self.time_limit_s)
        configure_ray_data(block_bytes=UNDIVIDED_BYTES, patience_s=patience_s, on_gpus=self.gpus_per_worker > 0)
        grows = self.grows and (self.topology == "fused" or self.gpus_per_worker > 0)
        pool = pool_of(min(self.workers, len(blocks)), BLOCKS_IN_FLIGHT, grows=grows)
        outcomes = graph(dataset_of(blocks), pool)
        with ray_errors():
            for row in outcomes.iter_rows():
                yield Outcome(**row)

    def has_begun(self) -> bool:
        """Tell whether a worker has come up and begun a photo."""
        return has_begun(self.attempts)

    def _fused(self, records: ray.data.Dataset, pool: ActorPoolStrategy) -> ray.data.Dataset:
        return records.map_batches(
            FusedWorker,
            fn_constructor_args=(self,),
            batch_size=1 if self.gpus_per_worker else None,  # None: a block; Ray Data asks for a number with GPUs
            num_cpus=1 / self.workers_per_core,
            num_gpus=self.gpus_per_worker,
            compute=pool,
        )

    def _split(self, records: ray.data.Dataset, pool: ActorPoolStrategy) -> ray.data.Dataset:
        decoded = records.map_batches(DecodeTask(self), batch_size=None, num_cpus=1 / self.workers_per_core)
        enhanced = decoded.map_batches(
            EnhanceWorker,
            fn_constructor_args=(self,),
            batch_size=SPLIT_BATCH,
            num_gpus=self.gpus_per_worker,
            num_cpus=0,  # an actor pool that held every CPU would leave none for the tasks around it
            compute=pool,
        )
        return enhanced.map_batches(EncodeTask(self), batch_size=None, num_cpus=1 / self.workers_per_core)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPhotoFlow:
    """What the graph needs to read what a network is trained on."""

    read: ReadPictures
    cpus: int
    time_limit_s: float = TIME_LIMIT_S
    """For a file, and a second more for each megabyte."""
    attempts: Handle = field(default_factory=new_attempts)

    def has_begun(self) -> bool:
        """Tell whether a worker has come up and begun a file."""
        return has_begun(self.attempts)

    def run(self, records: Sequence[Record]) -> Iterator[tuple[BlockRef, pa.Table]]:
        """Blocks of read files as they come: a reference to keep, and the same without the pixels.

        One row for each record, in any order. The pixels stay in the object store as long as the reference lives; Ray
        moves them to disk where memory is short. Needs an initialised Ray. Raises ClusterError.
        """
        blocks = blocks_of(records, self.cpus)
        configure_ray_data(block_bytes=PICTURES_BLOCK_BYTES, patience_s=_patience_s(blocks, self.time_limit_s))
        task = PicturesTask(self.read, self.attempts, self.time_limit_s)
        pictures = dataset_of(blocks).map_batches(task, batch_size=None, num_cpus=1)
        describe = ray.remote(num_cpus=0)(_without_pixels)
        with ray_errors():
            for bundle in pictures.iter_internal_ref_bundles():
                for reference in bundle.block_refs:
                    yield reference, ray.get(describe.remote(reference))


class FusedWorker:
    """All steps, one photo after the other, on one core."""

    def __init__(self, flow: PhotoFlow) -> None:
        use_one_core()
        steps = PhotoSteps.of(flow.storage, flow.settings, flow.checkpoint, flow.device)
        watch_batches(steps.enhance.enhancer, flow.device)
        self.develop: Watched[Development] = Watched(steps, flow.attempts, flow.time_limit_s)

    def __call__(self, batch: Batch) -> Batch:
        return _outcomes(self.develop(_works(batch)))


class DecodeTask:
    def __init__(self, flow: PhotoFlow) -> None:
        self.decode = Watched(ReadAndDecode(flow.storage, flow.settings), flow.attempts, flow.time_limit_s)

    def __call__(self, batch: Batch) -> Batch:
        keep_freed_memory()
        return _objects(list(self.decode(_works(batch))))


class EnhanceWorker:
    """The network alone, on a GPU where there is one; there it sees photos of one shape together.

    On a CPU that would gain nothing, and the sums of fp32 would be others than in the fused graph.
    """

    def __init__(self, flow: PhotoFlow) -> None:
        keep_freed_memory()
        enhance = Enhance(flow.checkpoint, flow.settings, flow.device)
        watch_batches(enhance.enhancer, flow.device)
        together = enhance.estimate_together if flow.gpus_per_worker else None
        self.enhance = Watched(enhance, flow.attempts, flow.time_limit_s, together)

    def __call__(self, batch: Batch) -> Batch:
        return _objects(list(self.enhance(batch["work"])))


class EncodeTask:
    def __init__(self, flow: PhotoFlow) -> None:
        self.encode = Watched(EncodeAndWrite(flow.storage, flow.settings), flow.attempts, flow.time_limit_s)

    def __call__(self, batch: Batch) -> Batch:
        keep_freed_memory()
        return _outcomes(self.encode(batch["work"]))


class PicturesTask:
    """Reads photos and videos into small pictures."""

    def __init__(self, read: ReadPictures, attempts: Handle, time_limit_s: float) -> None:
        self.read = Watched(read, attempts, time_limit_s)

    def __call__(self, batch: Batch) -> pa.Table:
        readings = [Reading.of(record) for record in records_of(batch)]
        return pa.Table.from_pylist([each.row() for each in self.read(readings)], schema=PICTURES_SCHEMA)


def _without_pixels(block: pa.Table) -> pa.Table:
    """Only this travels to the driver."""
    return block.drop_columns(["pictures"])


def limits_of_blocks(records: Sequence[Record], workers: int) -> tuple[int, int]:
    """Photos and bytes of a block at most, so that the driver keeps up with the workers, and with those that join."""
    share_bytes = sum(record.size_bytes for record in records) // (BLOCKS_OF_PLENTY * workers)
    most_bytes = max(BLOCK_BYTES, min(share_bytes, PLENTY_BYTES), workers * BYTES_PER_WORKER)
    return max(RECORDS_PER_BLOCK, workers), most_bytes


def blocks_of(
    records: Sequence[Record], workers: int, most: int = RECORDS_PER_BLOCK, most_bytes: int = BLOCK_BYTES
) -> list[list[Record]]:
    """Records in their order, up to `most` a block: fewer where there is little to do, so that no worker idles."""
    most = min(most, max(1, -(-len(records) // (4 * workers))))
    blocks: list[list[Record]] = []
    room_bytes = 0
    for record in records:
        if not blocks or len(blocks[-1]) == most or room_bytes < record.size_bytes:
            blocks.append([])
            room_bytes = most_bytes
        blocks[-1].append(record)
        room_bytes -= record.size_bytes
    return blocks


def pool_of(workers: int, blocks_in_flight: int, *, grows: bool) -> ActorPoolStrategy:
    """`blocks_in_flight`: of a worker. `grows`: wherever nodes that join have room for a worker, one is started."""
    most = None if grows else workers
    return ActorPoolStrategy(min_size=workers, max_size=most, max_tasks_in_flight_per_actor=blocks_in_flight)


def dataset_of(blocks: Sequence[Sequence[Record]]) -> ray.data.Dataset:
    """Read by nobody: `from_arrow` would send a task to a worker for each block, to learn how large it is."""
    tables = [pa.Table.from_pylist([asdict(record) for record in block]) for block in blocks]
    dataset: ray.data.Dataset = ray.data.from_blocks(tables)
    return dataset


def records_of(batch: Batch) -> list[Record]:
    columns = [batch[name].tolist() for name in Record.__slots__]
    return [Record(**dict(zip(Record.__slots__, row, strict=True))) for row in zip(*columns, strict=True)]


def _works(batch: Batch) -> list[Development]:
    """The photos that a batch of records refers to."""
    return [Development.of(record) for record in records_of(batch)]


def _objects(works: Sequence[Development]) -> Batch:
    column = np.empty(len(works), dtype=object)
    column[:] = works
    return {"work": column}


def _outcomes(works: Iterable[Development]) -> Batch:
    rows = [work.outcome.row() for work in works]
    return {name: [row[name] for row in rows] for name in rows[0]}


@contextmanager
def ray_errors() -> Iterator[None]:
    """Raise ClusterError for what Ray raises in the body."""
    try:
        yield
    except (ExecutionTimeoutError, RayError, SystemException) as error:
        cause = next((each for each in _causes(error) if isinstance(each, RayTaskError)), error)
        if lacking := failed_import(cause):
            raise lacking from error
        told = str(getattr(cause, "cause", None) or cause).strip().splitlines()
        raise ClusterError(f"Ray ended the job ({told[-1]}); run the same command again to go on from here") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _patience_s(blocks: Sequence[Sequence[Record]], time_limit_s: float) -> float:
    """Seconds until a block, or a batch of small ones, is done, each of whose photos kills workers only at the end of
    its time: once together, and then in its attempts.
    """
    most = max([SPLIT_BATCH, *map(len, blocks)])
    return max(NO_PROGRESS_S, (1 + ATTEMPTS) * most * (time_limit_s + RESTART_S))


def configure_ray_data(*, block_bytes: int, patience_s: float, on_gpus: bool = False) -> None:
    """`block_bytes`: what a task gives is handed on whenever it is so much, and at its end.

    `patience_s`: that no task may end for, or Ray ends the job; -1: for ever. `on_gpus`: else a cluster that grows is
    asked for no GPUs; Ray Data would ask for a node of each kind that there is.
    """
    context = DataContext.get_current()
    context.execution_no_progress_timeout_s = patience_s
    context.enable_progress_bars = False  # the job draws its own, from the outcomes
    context.target_max_block_size = block_bytes
    gpus = None if on_gpus else ray.cluster_resources().get("GPU", 0)
    context.execution_options.resource_limits = ExecutionResources.for_limits(gpu=gpus)
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0  # a pool that grows does so once all are busy
    for handler in logging.getLogger("ray.data").handlers:
        if handler.get_name() == "console":  # its log file keeps everything
            handler.setLevel(logging.CRITICAL)
