"""The Ray Data graphs of photos: the place to start reading. They join the steps of `pipeline/photos.py`.

    fused   records -> [read, decode, enhance, encode, write] -> outcomes         one pool of CPU actors
    split   records -> [read, decode] -> [enhance] -> [encode, write] -> outcomes  tasks, GPU actors, tasks

Fused passes references and no pixels: on CPUs nothing else pays off. Split keeps a GPU fed by many decoding CPUs, at
the cost of carrying pixels between processes. Both call the same steps and give the same files.

Sequences are always fused: a worker takes photos in a row, and also looks at those before and after them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import ray.data
from ray.data import ActorPoolStrategy

from model import Checkpoint
from pipeline.flow.gpu_failure import ending_with_its_gpu
from pipeline.flow.prometheus import watch_batches
from pipeline.flow.ray_data import (
    BLOCK_BYTES,
    RECORDS_PER_BLOCK,
    Batch,
    blocks_of,
    dataset_of,
    patience_s,
    pool_of,
    ray_errors,
    records_of,
)
from pipeline.flow.supervised_step import Handle, Watched, has_begun, new_attempts
from pipeline.flow.time_limit import TIME_LIMIT_S
from pipeline.photos import EncodeAndWrite, Enhance, PhotoSettings, PhotoSteps, PhotoWork, ReadAndDecode
from pipeline.process import keep_freed_memory, use_one_core
from pipeline.records import Outcome, Place, Record
from pipeline.sequences.light_over_time import REACH
from pipeline.sequences.steps import EstimateLight, LightWork, SequenceSteps
from pipeline.storage.storage import Storage

# Blocks are larger when each worker gets many of them, or when the driver could not keep up with so many workers
BLOCKS_OF_PLENTY, PLENTY_BYTES = 64, 64_000_000
BYTES_PER_WORKER = 300_000  # a worker enhances these in about 7 ms
DECODED_PER_BLOCK = 8  # photos whose pixels travel together
BLOCKS_IN_FLIGHT = 4  # per worker: Ray Data checks only ten times a second whether a worker needs a block
SPLIT_BATCH = 4  # decoded photos that a GPU actor takes at a time
SEQUENCE_BLOCK = 128  # photos of a sequence; the worker only looks at up to `REACH` more on either side
UNDIVIDED_BYTES = 1 << 50  # effectively unlimited: a task's output stays in one block, so a retry yields the same block


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoFlow:
    """Storage, settings, weights and workers of the graphs that enhance photos. Needs an initialised Ray."""

    storage: Storage
    settings: PhotoSettings
    checkpoint: Checkpoint
    device: str
    workers: int
    grows: bool = False
    """Whether to start more workers as nodes join the cluster."""
    workers_per_core: int = 1
    """Workers that share a core: one works while others wait for storage. In the split graph: tasks that share it."""
    gpus_per_worker: float = 0
    """Share of a GPU that each worker takes; 0: it needs none."""
    topology: Literal["fused", "split"]
    time_limit_s: float = TIME_LIMIT_S
    """Time limit for all steps of a photo (in the split graph: for each step), plus one second for each megabyte."""
    attempts: Handle = field(default_factory=new_attempts)

    def run(self, records: Sequence[Record]) -> Iterator[Outcome]:
        """Yield exactly one outcome for each record, as they come. Needs an initialised Ray. Raises ClusterError.

        Ray repeats a block whose worker died (a crash in a codec, lack of memory, a lost node) until it is done. From
        then on each of its photos is counted: one at which `ATTEMPTS` workers died fails with the code `worker_died`.
        A photo that took too long is not tried again, and fails with the code `timed_out`.
        """
        if self.settings.sequence != "no":
            graph, blocks = self._fused, blocks_of_sequences(records, self.workers)
        elif self.topology == "fused":
            graph, blocks = self._fused, blocks_of(records, self.workers, *limits_of_blocks(records, self.workers))
        else:  # every processor of the cluster may decode
            tasks = int(ray.cluster_resources().get("CPU", 1)) * self.workers_per_core
            graph, blocks = self._split, blocks_of(records, max(self.workers, tasks), DECODED_PER_BLOCK)
        waits_s = patience_s(blocks, self.time_limit_s, SPLIT_BATCH if self.settings.sequence == "no" else 2 * REACH)
        grows = self.grows and (self.topology == "fused" or self.gpus_per_worker > 0)
        pool = pool_of(min(self.workers, len(blocks)), BLOCKS_IN_FLIGHT, grows=grows)
        dataset = dataset_of(blocks, block_bytes=UNDIVIDED_BYTES, patience_s=waits_s, on_gpus=self.gpus_per_worker > 0)
        with ray_errors():
            for row in graph(dataset, pool).iter_rows():
                yield Outcome(**row)

    def has_begun(self) -> bool:
        """Return whether a worker has started and begun a photo."""
        return has_begun(self.attempts)

    def _fused(self, records: ray.data.Dataset, pool: ActorPoolStrategy) -> ray.data.Dataset:
        return records.map_batches(
            FusedWorker,
            fn_constructor_args=(self,),
            batch_size=1 if self.gpus_per_worker else None,  # None: a whole block; with GPUs, Ray Data needs a number
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


class FusedWorker:
    """Worker that runs all steps on one core, one photo after the other."""

    def __init__(self, flow: PhotoFlow) -> None:
        use_one_core()
        steps = PhotoSteps.of(flow.storage, flow.settings, flow.checkpoint, flow.device)
        watch_batches(steps.enhance.enhancer, flow.device)
        watched: Watched[PhotoWork] = Watched(steps, flow.attempts, flow.time_limit_s)
        self.develop: Callable[[Sequence[PhotoWork]], Iterator[PhotoWork]] = watched
        if flow.settings.sequence != "no":
            estimate: Watched[LightWork] = Watched(EstimateLight(steps), flow.attempts, flow.time_limit_s)
            self.develop = partial(map, SequenceSteps(steps, estimate.alone, watched.alone))

    def __call__(self, batch: Batch) -> Batch:
        with ending_with_its_gpu():  # of sequences, it also smooths maps
            return _outcomes(self.develop(_works(batch)))


class DecodeTask:
    def __init__(self, flow: PhotoFlow) -> None:
        self.decode = Watched(ReadAndDecode(flow.storage, flow.settings), flow.attempts, flow.time_limit_s)

    def __call__(self, batch: Batch) -> Batch:
        keep_freed_memory()
        return _objects(list(self.decode(_works(batch))))


class EnhanceWorker:
    """Worker that runs only the network. On a GPU, photos of one shape go through it together.

    On a CPU that would gain nothing, and fp32 sums would differ from those of the fused graph.
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


def limits_of_blocks(records: Sequence[Record], workers: int) -> tuple[int, int]:
    """Return the most photos and bytes per block, so that the driver keeps up with the workers and those that join."""
    share_bytes = sum(record.size_bytes for record in records) // (BLOCKS_OF_PLENTY * workers)
    most_bytes = max(BLOCK_BYTES, min(share_bytes, PLENTY_BYTES), workers * BYTES_PER_WORKER)
    return max(RECORDS_PER_BLOCK, workers), most_bytes


def blocks_of_sequences(records: Sequence[Record], workers: int) -> list[list[Record]]:
    """Return blocks of photos of sequences: few, as each takes looks at the photos around it."""
    most = min(SEQUENCE_BLOCK, -(-len(records) // workers))
    return [_sharing(records[start : start + most]) for start in range(0, len(records), most)]


def _sharing(block: Sequence[Record]) -> list[Record]:
    """Return records of a block, those of one sequence with only the URLs that any of them depends on."""
    places = [record.place or Place((record.source,), 0) for record in block]
    shared: dict[int, tuple[int, tuple[str, ...]]] = {}  # by identity: a sequence may have millions of URLs
    for key, urls in {id(place.urls): place.urls for place in places}.items():
        ranks = [place.rank for place in places if place.urls is urls]
        first = max(0, min(ranks) - REACH)
        shared[key] = first, urls[first : max(ranks) + REACH + 1]
    records = []
    for record, place in zip(block, places, strict=True):
        first, urls = shared[id(place.urls)]
        records.append(replace(record, place=Place(urls, place.rank - first)))
    return records


def _works(batch: Batch) -> list[PhotoWork]:
    """Return the photos that a batch of records refers to."""
    return [PhotoWork.of(record) for record in records_of(batch)]


def _objects(works: Sequence[PhotoWork]) -> Batch:
    column = np.empty(len(works), dtype=object)
    column[:] = works
    return {"work": column}


def _outcomes(works: Iterable[PhotoWork]) -> Batch:
    rows = [work.outcome.row() for work in works]
    return {name: [row[name] for row in rows] for name in rows[0]}
