"""What happened to every input: Parquet parts under `_nightlift/manifest/` at the destination.

Rows are appended as they come and are on storage within moments. The newest row of a source counts. An input is
done when that row ended well under the same fingerprint (weights and settings), for the same version of the
source; anything else is work.
"""

import io
import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import NotFound, StorageError
from pipeline.records import OUTCOME_SCHEMA, Outcome
from pipeline.storage import Storage, join

FOLDER = "_nightlift"
MERGE_PARTS = 16  # parts of one level become one part of the next
FLUSH_SHARE = 0.1  # of the run's time at most goes into writing rows


class Manifest:
    """The manifest of one destination folder, and the rows that this run adds to it.

    `root`: URL of the destination folder. `fingerprint`: of this run's weights and settings, as hashed.
    `settings`: the same in readable form, kept in each part's metadata.
    """

    def __init__(self, storage: Storage, root: str, fingerprint: str, settings: Mapping[str, Any]) -> None:
        self.url = join(root, FOLDER, "manifest")
        self.fingerprint = fingerprint
        self.run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._storage = storage
        self._schema = OUTCOME_SCHEMA.with_metadata({"nightlift": json.dumps(settings, default=str)})
        self._pending: list[dict[str, Any]] = []
        self._levels: list[list[str]] = [[]]
        self._written = 0
        self._flushed_at = 0.0
        self._flush_cost_s = 0.0

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Every row of every run, oldest first. Raises StorageError where a part is not readable."""
        try:
            parts = self._storage.list_files(self.url)
        except NotFound:
            return OUTCOME_SCHEMA.empty_table()
        tables = [self._read_part(part.url, columns) for part in parts if part.url.endswith(".parquet")]
        if not tables:
            return OUTCOME_SCHEMA.empty_table()
        return pa.concat_tables(tables, promote_options="default").sort_by("started_at")

    def done(self) -> dict[str, tuple[str, str]]:
        """source -> (version, destination or "" if none was written), of all that this fingerprint has done."""
        wanted = ["source", "version", "destination", "outcome", "bytes_out", "fingerprint", "started_at"]
        found: dict[str, tuple[str, str]] = {}
        for batch in self.read(wanted).to_batches():
            for row in batch.to_pylist():
                if row["outcome"] == "failed" or row["fingerprint"] != self.fingerprint:
                    found.pop(row["source"], None)
                else:
                    found[row["source"]] = (row["version"], row["destination"] if row["bytes_out"] else "")
        return found

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """Add rows. They are written at once, or within ten times what the last write took."""
        self._pending += [replace(row, fingerprint=self.fingerprint, run=self.run).row() for row in outcomes]
        if time.monotonic() - self._flushed_at > self._flush_cost_s / FLUSH_SHARE:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        if not self._pending:
            return
        start = time.monotonic()
        self._write(pa.Table.from_pylist(self._pending, schema=self._schema), level=0)
        self._pending.clear()
        self._flushed_at = time.monotonic()
        self._flush_cost_s = self._flushed_at - start

    def close(self) -> None:
        """Write what is pending and merge this run's parts into one."""
        self.flush()
        parts = [part for level in self._levels for part in level]
        if len(parts) > 1:
            self._merge(parts, level=len(self._levels))

    def _write(self, table: pa.Table, level: int) -> None:
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        part = join(self.url, f"{self.run}-{self._written:05d}.parquet")
        self._storage.write(part, sink.getvalue())
        self._written += 1
        while len(self._levels) <= level:
            self._levels.append([])
        self._levels[level].append(part)
        if len(self._levels[level]) >= MERGE_PARTS:
            self._merge(list(self._levels[level]), level + 1)

    def _merge(self, parts: list[str], level: int) -> None:
        """The merged part is written first: a kill between the two leaves rows twice, which harms nobody."""
        merged = pa.concat_tables([self._read_part(part) for part in parts])
        self._levels = [[part for part in kept if part not in parts] for kept in self._levels]
        self._write(merged, level)
        self._storage.remove(parts)

    def _read_part(self, url: str, columns: list[str] | None = None) -> pa.Table:
        try:
            return pq.read_table(io.BytesIO(self._storage.read(url)), columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise StorageError(f"{url}: not a readable manifest part ({error}); move it away to go on") from error
