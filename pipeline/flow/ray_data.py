"""What the graphs share of Ray Data: blocks of records, pools of workers, timeouts, and errors turned into ours."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, ExecutionResources
from ray.data.exceptions import ExecutionTimeoutError, SystemException
from ray.exceptions import RayError, RayTaskError

from pipeline.errors import ClusterError, failed_import
from pipeline.flow.attempts import ATTEMPTS
from pipeline.records import Place, Record

# A block is what a worker takes at a time: a few photos, or many small ones. Each costs Ray Data 20 ms, of which 7 ms
# are the driver's own
RECORDS_PER_BLOCK, BLOCK_BYTES = 32, 4_000_000
COLUMNS = [name for name in Record.__slots__ if name != "place"]
NO_PROGRESS_S, RESTART_S = 1800.0, 60.0  # least wait without progress until Ray ends the job; time to replace a worker

Batch = dict[str, Any]


def blocks_of(
    records: Sequence[Record], workers: int, most: int = RECORDS_PER_BLOCK, most_bytes: int = BLOCK_BYTES
) -> list[list[Record]]:
    """Split records, in their order, into blocks of up to `most` records and `most_bytes` bytes.

    Blocks are smaller when there is little to do, so that no worker idles.
    """
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
    """Return a pool of workers. `blocks_in_flight`: per worker. `grows`: start more where joining nodes have room."""
    most = None if grows else workers
    return ActorPoolStrategy(min_size=workers, max_size=most, max_tasks_in_flight_per_actor=blocks_in_flight)


def dataset_of(
    blocks: Sequence[Sequence[Record]], *, block_bytes: int, patience_s: float, on_gpus: bool = False
) -> ray.data.Dataset:
    """Build a dataset without running tasks: `from_arrow` would start one for each block, to learn its size.

    `block_bytes`: a task hands its output on whenever it has this size, and at its end. `patience_s`: Ray ends the job
    when no task has ended for so long; -1: never. `on_gpus`: if false, no GPUs are requested of a cluster that grows;
    Ray Data would request a node of each kind that exists. The caller's own settings of Ray Data stay as they are.
    """
    dataset: ray.data.Dataset = ray.data.from_blocks([_table(block) for block in blocks])
    context = dataset.context
    context.execution_no_progress_timeout_s = patience_s
    context.enable_progress_bars = False  # the job draws its own, from the outcomes
    context.target_max_block_size = block_bytes
    gpus = None if on_gpus else ray.cluster_resources().get("GPU", 0)
    context.execution_options.resource_limits = ExecutionResources.for_limits(gpu=gpus)
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0  # a pool grows only once all workers are busy
    return dataset


def records_of(batch: Batch) -> list[Record]:
    columns = [batch[name].tolist() for name in COLUMNS]
    sequences = {text: tuple(json.loads(text)) for text in {*batch["urls"].tolist()}}
    places = (
        Place(sequences[text], rank) if rank >= 0 else None
        for text, rank in zip(batch["urls"].tolist(), batch["rank"].tolist(), strict=True)
    )
    rows = zip(zip(*columns, strict=True), places, strict=True)
    return [Record(**dict(zip(COLUMNS, row, strict=True)), place=place) for row, place in rows]


def _table(block: Sequence[Record]) -> pa.Table:
    """Return a table with a row for each record. Long lists of URLs are in it once for all records that share them."""
    places = [record.place or Place((), -1) for record in block]
    sequences = list({place.urls: None for place in places})
    indices = pa.array([sequences.index(place.urls) for place in places], pa.int32())
    urls = pa.DictionaryArray.from_arrays(indices, pa.array([json.dumps(each) for each in sequences]))
    columns = {name: [getattr(record, name) for record in block] for name in COLUMNS}
    return pa.table({**columns, "urls": urls, "rank": [place.rank for place in places]})


def patience_s(blocks: Sequence[Sequence[Record]], time_limit_s: float, least: int = 1) -> float:
    """Return how many seconds a block may take at worst, but at least `NO_PROGRESS_S`.

    At worst, each file kills its worker at the end of its time limit: once with its block, then in `ATTEMPTS` tries of
    its own. `least`: number of files that are handed on together even if blocks are smaller.
    """
    most = max([least, *map(len, blocks)])
    return max(NO_PROGRESS_S, (1 + ATTEMPTS) * most * (time_limit_s + RESTART_S))


@contextmanager
def ray_errors() -> Iterator[None]:
    """Raise ClusterError in place of what Ray raises in the body; Ray Data logs to its file only meanwhile."""
    consoles = [each for each in logging.getLogger("ray.data").handlers if each.get_name() == "console"]
    levels = [console.level for console in consoles]
    for console in consoles:
        console.setLevel(logging.CRITICAL)
    try:
        yield
    except (ExecutionTimeoutError, RayError, SystemException) as error:
        cause = next((each for each in _causes(error) if isinstance(each, RayTaskError)), error)
        if lacking := failed_import(cause):
            raise lacking from error
        lines = str(getattr(cause, "cause", None) or cause).strip().splitlines()
        raise ClusterError(f"Ray ended the job ({lines[-1]}); run the same command again to go on from here") from error
    finally:
        for console, level in zip(consoles, levels, strict=True):
            console.setLevel(level)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
