"""Outputs that a manifest lists, and what is found in their place."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import NotFound, StorageError
from pipeline.planning.history import BATCH_ROWS, hashes
from pipeline.planning.manifest import Manifest
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, is_inside, join

PIECE_BYTES = 8_000_000  # read at a time by each thread
COLUMNS = ["source", "run", "started_at", "destination", "bytes_out", "sha256"]

State = Literal["as written", "without checksum", "missing", "changed", "unreadable"]


@dataclass(frozen=True, slots=True)
class Output:
    """An output as its manifest records it."""

    url: str
    size_bytes: int
    sha256: str
    """In hexadecimal digits; "" if an earlier version of nightlift wrote it."""


class Outputs:
    """What every output of a destination was last written as. Kept in Arrow: there may be millions."""

    def __init__(self, storage: Storage, root: str) -> None:
        self._storage, self._root = storage, root
        table = Manifest(storage, root, "", {}).read(COLUMNS)
        table = table.filter((pc.field("bytes_out") > 0) | (pc.field("sha256") != ""))
        places = (hashes((each,) for each in some.to_pylist()) for some in _batches(table["destination"]))
        names = np.concatenate([np.empty(0, np.int64), *places])
        _, back = np.unique(names[::-1], return_index=True)  # the last row of each
        self._table = table.take(np.sort(len(names) - 1 - back))
        self._roots = _roots_of_runs(storage, root)

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Output]:
        """Yield each output where it is now: the whole destination may have been moved."""
        for batch in self._table.to_batches(BATCH_ROWS):
            columns = (batch[name].to_pylist() for name in ("destination", "bytes_out", "sha256", "run"))
            for destination, size_bytes, sha256, run in zip(*columns, strict=True):
                root = self._roots.get(run, self._root)
                inside = is_inside(destination, root)
                url = join(self._root, destination.removeprefix(join(root, ""))) if inside else destination
                yield Output(url, size_bytes, sha256)


def state_of(storage: Storage, check: Callable[[], None], output: Output, found_bytes: int | None) -> tuple[State, str]:
    """Read an output and compare it. Returns what it is, and more about it in words.

    `check`: called before each piece that is read; what it raises ends the reading. `found_bytes`: the size of the
    file, as listed; None: it was not listed.
    """
    try:
        if found_bytes is None and not storage.exists(output.url):  # a disk may list a name in another Unicode form
            return "missing", ""
        if found_bytes not in (None, output.size_bytes):
            return "changed", f"{found_bytes:,} bytes instead of {output.size_bytes:,}"
        if not output.sha256:
            return "without checksum", ""
        is_same = _sha256(storage, check, output) == output.sha256
        return ("as written", "") if is_same else ("changed", "its content differs")
    except NotFound:
        return "missing", ""
    except StorageError as error:
        return "unreadable", str(error).removeprefix(f"{output.url}: ")


def _sha256(storage: Storage, check: Callable[[], None], output: Output) -> str:
    digest = hashlib.sha256()
    for start in range(0, output.size_bytes, PIECE_BYTES):
        check()
        digest.update(storage.read_part(output.url, start, min(start + PIECE_BYTES, output.size_bytes)))
    return digest.hexdigest()


def _batches(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    for chunk in column.chunks:
        yield from (chunk.slice(start, BATCH_ROWS) for start in range(0, len(chunk), BATCH_ROWS))


def _roots_of_runs(storage: Storage, root: str) -> dict[str, str]:
    """Return where the destination was at each run, by the name of the run, as far as runs have recorded it."""
    roots = {}
    with suppress(NotFound):
        for file in storage.list_files(join(root, FOLDER, "runs")):
            with suppress(ValueError, KeyError, TypeError):  # not a record of a run
                record = json.loads(storage.read(file.url))
                roots[str(record["run"])] = str(record["root"])
    return roots
