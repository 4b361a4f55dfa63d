"""The Ray Data graphs: the place to start reading. Each joins the steps of `photos.py` in the order data moves.

    fused   records -> [read, decode, enhance, encode, write] -> outcomes         one pool of CPU actors
    split   records -> [read, decode] -> [enhance] -> [encode, write] -> outcomes  tasks, GPU actors, tasks

Fused passes references and no pixels: on CPUs nothing else pays. Split keeps a GPU fed by many decoding CPUs, at the
cost of carrying pixels between processes. Both call the same steps and give the same files.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import ray.data
import torch
from ray.data import ActorPoolStrategy, DataContext
from ray.data.exceptions import SystemException
from ray.exceptions import RayError

from model import Checkpoint
from pipeline.errors import ClusterError
from pipeline.photos import EncodeAndWrite, Enhance, PhotoSettings, PhotoSteps, ReadAndDecode
from pipeline.records import Outcome, Record
from pipeline.storage import Storage

RECORDS_PER_BLOCK = 16  # a block is what a worker takes at a time
SPLIT_BATCH = 4  # decoded photos that a GPU actor takes at a time

Batch = dict[str, Any]


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
        """Exactly one outcome for each record, as they come. Needs an initialised Ray. Raises ClusterError."""
        _quiet()
        blocks = _blocks(len(records), self.workers)
        dataset = ray.data.from_items([asdict(record) for record in records], override_num_blocks=blocks)
        graph = self._fused if self.topology == "fused" else self._split
        outcomes = graph(dataset, ActorPoolStrategy(size=min(self.workers, blocks)))
        try:
            for row in outcomes.iter_rows():
                yield Outcome(**row)
        except (RayError, SystemException) as error:
            last = str(error).strip().splitlines()[-1]
            raise ClusterError(f"Ray ended the job ({last}); run the same command again to go on from here") from error

    def _fused(self, records: ray.data.Dataset, pool: ActorPoolStrategy) -> ray.data.Dataset:
        return records.map_batches(
            FusedWorker,
            fn_constructor_args=(self,),
            batch_size=1,
            num_cpus=1,
            num_gpus=self._gpus_of_a_worker,
            compute=pool,
        )

    def _split(self, records: ray.data.Dataset, pool: ActorPoolStrategy) -> ray.data.Dataset:
        decoded = records.map_batches(DecodeTask(self.storage, self.settings), batch_size=1, num_cpus=1)
        enhanced = decoded.map_batches(
            EnhanceWorker,
            fn_constructor_args=(self,),
            batch_size=SPLIT_BATCH,
            num_gpus=self._gpus_of_a_worker,
            num_cpus=0,  # an actor pool that held every CPU would leave none for the tasks around it
            compute=pool,
        )
        return enhanced.map_batches(EncodeTask(self.storage, self.settings), batch_size=1, num_cpus=1)

    @property
    def _gpus_of_a_worker(self) -> int:
        return 1 if self.device.startswith("cuda") else 0


class FusedWorker:
    """All steps, one photo after the other, on one core."""

    def __init__(self, flow: PhotoFlow) -> None:
        torch.set_num_threads(1)  # several threads on shared cores are many times slower
        self.steps = PhotoSteps.of(flow.storage, flow.settings, flow.checkpoint, flow.device)

    def __call__(self, batch: Batch) -> Batch:
        return _outcomes([self.steps(record) for record in _records(batch)])


class DecodeTask:
    def __init__(self, storage: Storage, settings: PhotoSettings) -> None:
        self.decode = ReadAndDecode(storage, settings)

    def __call__(self, batch: Batch) -> Batch:
        return _objects([self.decode(record) for record in _records(batch)])


class EnhanceWorker:
    """The network alone, on a GPU where there is one."""

    def __init__(self, flow: PhotoFlow) -> None:
        self.enhance = Enhance(flow.checkpoint, flow.settings, flow.device)

    def __call__(self, batch: Batch) -> Batch:
        return _objects(self.enhance(list(batch["work"])))


class EncodeTask:
    def __init__(self, storage: Storage, settings: PhotoSettings) -> None:
        self.encode = EncodeAndWrite(storage, settings)

    def __call__(self, batch: Batch) -> Batch:
        return _outcomes([self.encode(work) for work in batch["work"]])


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


def _quiet() -> None:
    """Progress is drawn by the job from the outcomes; and each outcome is handed on as soon as it is there."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1
    for handler in logging.getLogger("ray.data").handlers:
        if handler.get_name() == "console":  # its log file keeps everything
            handler.setLevel(logging.CRITICAL)
