"""The Ray Data graph that reads what a network is trained on.

    records -> [read, decode, make small] -> blocks of images, kept   tasks

They stay in Ray's object store, where every worker of the training finds every image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray

from pipeline.flow.ray_data import Batch, blocks_of, configure_ray_data, dataset_of, patience_s, ray_errors, records_of
from pipeline.flow.supervised_step import Handle, Watched, has_begun, new_attempts
from pipeline.flow.time_limit import TIME_LIMIT_S
from pipeline.records import Record
from pipeline.training.samples import PICTURES_SCHEMA, Reading, ReadPictures

PICTURES_BLOCK_BYTES = 1 << 20  # a block of images: what is fetched for one of them, from elsewhere or from disk

BlockRef = Any  # ray.ObjectRef of a pa.Table by PICTURES_SCHEMA


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
        configure_ray_data(block_bytes=PICTURES_BLOCK_BYTES, patience_s=patience_s(blocks, self.time_limit_s))
        task = PicturesTask(self.read, self.attempts, self.time_limit_s)
        pictures = dataset_of(blocks).map_batches(task, batch_size=None, num_cpus=1)
        describe = ray.remote(num_cpus=0)(_without_pixels)
        with ray_errors():
            for bundle in pictures.iter_internal_ref_bundles():
                for reference in bundle.block_refs:
                    yield reference, ray.get(describe.remote(reference))


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
