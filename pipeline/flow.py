"""The Ray Data graphs: the place to start reading. Each joins the steps of `photos.py` in the order data moves.

    fused   records -> [read, decode, enhance, encode, write] -> outcomes         one pool of CPU actors
    split   records -> [read, decode] -> [enhance] -> [encode, write] -> outcomes  tasks, GPU actors, tasks

Fused passes references and no pixels: on CPUs nothing else pays. Split keeps a GPU fed by many decoding CPUs, at the
cost of carrying pixels between processes. Both call the same steps and give the same files.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import ray.data
import torch
from ray.data import ActorPoolStrategy, DataContext
from ray.data.exceptions import SystemException
from ray.exceptions import RayError

from model import Checkpoint
from pipeline.errors import ClusterError
from pipeline.photos import Development, EncodeAndWrite, Enhance, PhotoSettings, PhotoSteps, ReadAndDecode
from pipeline.records import Outcome, Record
from pipeline.storage import Storage

RECORDS_PER_BLOCK = 16  # a block is what a worker takes at a time
SPLIT_BATCH = 4  # decoded photos that a GPU actor takes at a time
ATTEMPTS = 2  # at a photo whose worker dies; then it is named, and the job goes on without it

Batch = dict[str, Any]
Handle = Any  # of the `Attempts` actor


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoFlow:
    """What the graphs need to enhance photos."""

    storage: Storage
    settings: PhotoSettings
    checkpoint: Checkpoint
    device: str
    workers: int
    topology: Literal["fused", "split"]

    def run(self, records: Sequence[Record]) -> Iterator[Outcome]:
        """Exactly one outcome for each record, as they come. Needs an initialised Ray. Raises ClusterError.

        Ray repeats a block whose worker died (a crash in a codec, want of memory, a lost node) until it is done; a
        photo at which workers died `ATTEMPTS` times is left out of that, as failed with the code `worker_died`.
        """
        _configure_ray_data()
        blocks = _blocks(len(records), self.workers)
        dataset = ray.data.from_items([asdict(record) for record in records], override_num_blocks=blocks)
        graph = self._fused if self.topology == "fused" else self._split
        attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()
        outcomes = graph(dataset, ActorPoolStrategy(size=min(self.workers, blocks)), attempts)
        try:
            for row in outcomes.iter_rows():
                yield Outcome(**row)
        except (RayError, SystemException) as error:
            last = str(error).strip().splitlines()[-1]
            raise ClusterError(f"Ray ended the job ({last}); run the same command again to go on from here") from error

    def _fused(self, records: ray.data.Dataset, pool: ActorPoolStrategy, attempts: Handle) -> ray.data.Dataset:
        return records.map_batches(
            FusedWorker,
            fn_constructor_args=(self, attempts),
            batch_size=1,
            num_cpus=1,
            num_gpus=self._gpus_of_a_worker,
            compute=pool,
        )

    def _split(self, records: ray.data.Dataset, pool: ActorPoolStrategy, attempts: Handle) -> ray.data.Dataset:
        decoded = records.map_batches(DecodeTask(self, attempts), batch_size=1, num_cpus=1)
        enhanced = decoded.map_batches(
            EnhanceWorker,
            fn_constructor_args=(self, attempts),
            batch_size=SPLIT_BATCH,
            num_gpus=self._gpus_of_a_worker,
            num_cpus=0,  # an actor pool that held every CPU would leave none for the tasks around it
            compute=pool,
        )
        return enhanced.map_batches(EncodeTask(self, attempts), batch_size=1, num_cpus=1)

    @property
    def _gpus_of_a_worker(self) -> int:
        return 1 if self.device.startswith("cuda") else 0


class Attempts:
    """Which photos workers have begun and not finished: where a worker died, its photo is begun again."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, source: str) -> int:
        """How often this step of this photo has been begun, this time included."""
        self._begun[source] += 1
        return self._begun[source]

    def finish(self, source: str) -> None:
        del self._begun[source]


class FusedWorker:
    """All steps, one photo after the other, on one core."""

    def __init__(self, flow: PhotoFlow, attempts: Handle) -> None:
        torch.set_num_threads(1)  # several threads on shared cores are many times slower
        self.steps = PhotoSteps.of(flow.storage, flow.settings, flow.checkpoint, flow.device)
        self.attempts = attempts

    def __call__(self, batch: Batch) -> Batch:
        return _outcomes([self._developed(record) for record in _records(batch)])

    def _developed(self, record: Record) -> Outcome:
        with _attempt(self.attempts, record) as count:
            return _counted(self.steps(record), count) if count <= ATTEMPTS else _lost(record)


class DecodeTask:
    def __init__(self, flow: PhotoFlow, attempts: Handle) -> None:
        self.decode = ReadAndDecode(flow.storage, flow.settings)
        self.attempts = attempts

    def __call__(self, batch: Batch) -> Batch:
        return _objects([self._decoded(record) for record in _records(batch)])

    def _decoded(self, record: Record) -> Development:
        with _attempt(self.attempts, record) as count:
            return self.decode(record) if count <= ATTEMPTS else Development(record, _lost(record))


class EnhanceWorker:
    """The network alone, on a GPU where there is one."""

    def __init__(self, flow: PhotoFlow, attempts: Handle) -> None:
        self.enhance = Enhance(flow.checkpoint, flow.settings, flow.device)
        self.attempts = attempts

    def __call__(self, batch: Batch) -> Batch:
        return _objects([self._enhanced(work) for work in batch["work"]])

    def _enhanced(self, work: Development) -> Development:
        with _attempt(self.attempts, work.record) as count:
            return self.enhance(work) if count <= ATTEMPTS else Development(work.record, _lost(work.record))


class EncodeTask:
    def __init__(self, flow: PhotoFlow, attempts: Handle) -> None:
        self.encode = EncodeAndWrite(flow.storage, flow.settings)
        self.attempts = attempts

    def __call__(self, batch: Batch) -> Batch:
        return _outcomes([self._encoded(work) for work in batch["work"]])

    def _encoded(self, work: Development) -> Outcome:
        with _attempt(self.attempts, work.record) as count:
            return _counted(self.encode(work), count) if count <= ATTEMPTS else _lost(work.record)


@contextmanager
def _attempt(attempts: Handle, record: Record) -> Iterator[int]:
    """The number of this attempt at a photo; counted as long as the body has not come to its end."""
    yield ray.get(attempts.begin.remote(record.source))
    attempts.finish.remote(record.source)


def _counted(outcome: Outcome, count: int) -> Outcome:
    return replace(outcome, attempts=max(outcome.attempts, count))


def _lost(record: Record) -> Outcome:
    lost = Outcome.of(record)
    message = f"{lost.source}: {ATTEMPTS} workers died at it, of a crash or for want of memory; leave it out"
    return replace(lost, code="worker_died", message=message, attempts=ATTEMPTS)


def _blocks(records: int, workers: int) -> int:
    """How many blocks: small ones where there is little to do, so that every worker gets some of it."""
    rows = min(RECORDS_PER_BLOCK, -(-records // (4 * workers)))
    return max(1, -(-records // max(1, rows)))


def _records(batch: Batch) -> list[Record]:
    columns = [batch[name].tolist() for name in Record.__slots__]
    return [Record(**dict(zip(Record.__slots__, row, strict=True))) for row in zip(*columns, strict=True)]


def _objects(works: Sequence[Any]) -> Batch:
    column = np.empty(len(works), dtype=object)
    column[:] = works
    return {"work": column}


def _outcomes(outcomes: Sequence[Outcome]) -> Batch:
    rows = [outcome.row() for outcome in outcomes]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _configure_ray_data() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False  # the job draws its own, from the outcomes
    context.target_max_block_size = 1  # hand each outcome on as soon as it is there
    for handler in logging.getLogger("ray.data").handlers:
        if handler.get_name() == "console":  # its log file keeps everything
            handler.setLevel(logging.CRITICAL)
