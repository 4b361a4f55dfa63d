"""The Ray Data graph that reads the photos and videos a network is trained on.

    records -> [read, decode, make small] -> blocks of images, kept   tasks

The blocks stay in Ray's object store, where every worker of the training can fetch every image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray

from pipeline.flow.ray_data import Batch, blocks_of, dataset_of, patience_s, ray_errors, records_of
from pipeline.flow.supervised_step import Handle, Watched, has_begun, new_attempts
from pipeline.flow.time_limit import TIME_LIMIT_S
from pipeline.records import Record
from pipeline.training.samples import IMAGES_SCHEMA, ReadImages, Reading

IMAGES_BLOCK_BYTES = 1 << 20  # whoever needs one image fetches its whole block, from another node or disk

BlockRef = Any  # ray.ObjectRef of a pa.Table by IMAGES_SCHEMA


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPhotoFlow:
    """Reading step and limits of the graph that reads training files."""

    read: ReadImages
    cpus: int
    time_limit_s: float = TIME_LIMIT_S
    """Time limit for each file, plus one second for each megabyte."""
    attempts: Handle = field(default_factory=new_attempts)

    def has_begun(self) -> bool:
        """Return whether a worker has started and begun a file."""
        return has_begun(self.attempts)

    def run(self, records: Sequence[Record]) -> Iterator[tuple[BlockRef, pa.Table]]:
        """Yield blocks of read files as they come: a reference to keep, and the block without its pixels.

        One row for each record, in any order. The pixels stay in the object store as long as the reference lives; Ray
        moves them to disk when memory is short. Needs an initialised Ray. Raises ClusterError.
        """
        blocks = blocks_of(records, self.cpus)
        dataset = dataset_of(blocks, block_bytes=IMAGES_BLOCK_BYTES, patience_s=patience_s(blocks, self.time_limit_s))
        task = ImagesTask(self.read, self.attempts, self.time_limit_s)
        images = dataset.map_batches(task, batch_size=None, num_cpus=1)
        describe = ray.remote(num_cpus=0)(_without_pixels)
        with ray_errors():
            for bundle in images.iter_internal_ref_bundles():
                for reference in bundle.block_refs:
                    yield reference, ray.get(describe.remote(reference))


class ImagesTask:
    """Task that reads photos and videos into small images."""

    def __init__(self, read: ReadImages, attempts: Handle, time_limit_s: float) -> None:
        self.read = Watched(read, attempts, time_limit_s)

    def __call__(self, batch: Batch) -> pa.Table:
        readings = [Reading.of(record) for record in records_of(batch)]
        return pa.Table.from_pylist([each.row() for each in self.read(readings)], schema=IMAGES_SCHEMA)


def _without_pixels(block: pa.Table) -> pa.Table:
    """Return the block without its pixels, which is all that the driver needs."""
    return block.drop_columns(["images"])
