"""What happened to every input: Parquet parts under `_nightlift/manifest/` at the destination.

Rows are appended as they come and are on storage within moments. The newest row of a source counts. An
input is done when that row ended well under the same fingerprint (weights and settings), for the same version of the
source; anything else is work.
"""

import io
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ManifestError, NotFound, StorageError
from pipeline.records import OUTCOME_SCHEMA, Outcome
from pipeline.storage import Storage, join

log = logging.getLogger("nightlift")

FOLDER = "_nightlift"
MERGE_PARTS = 16  # parts of one level become one part of the next
FLUSH_S = 0.2  # rows wait at most this long, or on slow storage
FLUSH_SHARE = 0.1  # until writing them takes no more than this share of the time
OTHER_KIND = "not_a_"  # begins the codes of files that are not of the kind that a job enhances
READ_ATTEMPTS = 5  # another run may merge parts away while they are read


@dataclass(frozen=True, slots=True)
class History:
    """What a manifest says of earlier runs."""

    done: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """source -> (version, destination, or "" where none was written) of all that this fingerprint has done."""
    written: frozenset[str] = frozenset()
    """Every destination that any run has written."""
    known: Mapping[str, str] = field(default_factory=dict)
    """source -> version in its newest row, under whatever fingerprint."""


class Manifest:
    """The manifest of one destination folder, and the rows that this run adds to it.

    `root`: URL of the destination folder. `fingerprint`: of this run's weights and settings, as hashed.
    `settings`: the same in readable form, kept as JSON in `_nightlift/runs/`.
    """

    def __init__(self, storage: Storage, root: str, fingerprint: str, settings: Mapping[str, Any]) -> None:
        self.url = join(root, FOLDER, "manifest")
        self.fingerprint = fingerprint
        self.run = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(2)}"
        self._storage = storage
        self._settings = {"run": self.run, "fingerprint": fingerprint, **settings}
        self._root = root
        self._pending: list[dict[str, Any]] = []
        self._levels: list[list[str]] = [[]]
        self._written = 0
        self._flush_cost_s = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._flusher: threading.Thread | None = None

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Every row of every run, oldest first. Raises ManifestError where a part is not readable."""
        for _ in range(READ_ATTEMPTS):
            try:
                parts = [file.url for file in self._storage.list_files(self.url) if file.url.endswith(".parquet")]
            except NotFound:
                parts = []
            if not parts:
                return OUTCOME_SCHEMA.empty_table()
            with suppress(NotFound):
                tables = [self._read_part(part, columns) for part in parts]
                table = pa.concat_tables(tables, promote_options="default")
                return table.sort_by([("run", "ascending"), ("started_at", "ascending")])
        raise ManifestError(f"{self.url}: its parts keep changing while they are read; is another run at work there?")

    def history(self) -> History:
        """What is done under this fingerprint, and what any run has written."""
        wanted = [
            "source",
            "version",
            "destination",
            "outcome",
            "code",
            "bytes_out",
            "fingerprint",
            "run",
            "started_at",
        ]
        done: dict[str, tuple[str, str]] = {}
        source_of: dict[str, str] = {}
        known: dict[str, str] = {}
        for batch in self.read(wanted).to_batches():
            for row in batch.to_pylist():
                source, written = row["source"], row["destination"] if row["bytes_out"] else ""
                known[source] = row["version"]
                if written and source_of.setdefault(written, source) != source:
                    done.pop(source_of[written], None)  # another source's output took its place
                    source_of[written] = source
                if row["fingerprint"] != self.fingerprint and row["code"].startswith(OTHER_KIND):
                    continue  # the job of another kind of media came by
                if row["outcome"] == "failed" or row["fingerprint"] != self.fingerprint:
                    done.pop(source, None)
                else:
                    done[source] = (row["version"], written)
        return History(done, frozenset(source_of), known)

    def begin(self) -> None:
        """Record the run. Raises StorageError where the destination cannot be written: before any work is done."""
        record = json.dumps(self._settings, default=str, indent=1)
        self._storage.write(join(self._root, FOLDER, "runs", f"{self.run}.json"), record.encode())

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """Add rows. A thread writes them within `FLUSH_S`, until `close`."""
        rows = [replace(row, fingerprint=self.fingerprint, run=self.run).row() for row in outcomes]
        with self._lock:
            self._pending += rows
        if self._flusher is None and rows:
            self._flusher = threading.Thread(target=self._keep_flushing, name="manifest", daemon=True)
            self._flusher.start()

    def close(self) -> None:
        """Write what is pending and merge this run's parts into one. Raises ManifestError."""
        self._closed.set()
        if self._flusher is not None:
            self._flusher.join()
        try:
            with self._lock:
                self._flush()
                parts = [part for level in self._levels for part in level]
                if len(parts) > 1:
                    self._merge(parts, level=len(self._levels))
        except StorageError as error:
            if self._pending:
                rows = f"{len(self._pending)} rows of the manifest could not be written: {error}"
                raise ManifestError(f"{rows}; run again to do those photos once more") from error
            log.warning("the manifest stays in several parts, in which nothing is missing: %s", error)

    def _keep_flushing(self) -> None:
        told = False
        while not self._closed.wait(max(FLUSH_S, self._flush_cost_s / FLUSH_SHARE)):
            start = time.monotonic()
            try:
                with self._lock:
                    self._flush()
                told = False
            except StorageError as error:
                if not told:
                    log.warning("the manifest cannot be written for now, its rows wait: %s", error)
                told = True
            self._flush_cost_s = time.monotonic() - start

    def _flush(self) -> None:
        if self._pending:
            self._write(pa.Table.from_pylist(self._pending, schema=OUTCOME_SCHEMA), level=0)
            self._pending.clear()
            self._merge_full()

    def _write(self, table: pa.Table, level: int) -> None:
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        part = join(self.url, f"{self.run}-{self._written:05d}.parquet")
        self._storage.write(part, sink.getvalue())
        self._written += 1
        while len(self._levels) <= level:
            self._levels.append([])
        self._levels[level].append(part)

    def _merge_full(self) -> None:
        """Parts of a level become one of the next wherever there are enough."""
        for level, parts in enumerate(self._levels):
            if len(parts) >= MERGE_PARTS:
                self._merge(parts, level + 1)

    def _merge(self, parts: list[str], level: int) -> None:
        """The merged part is written first: a kill between the two leaves rows twice, which harms nobody."""
        merged = pa.concat_tables([self._read_part(part) for part in parts])
        self._write(merged, level)
        self._levels = [[part for part in kept if part not in parts] for kept in self._levels]
        self._storage.remove(parts)

    def _read_part(self, url: str, columns: list[str] | None = None) -> pa.Table:
        content = self._storage.read(url)
        try:
            return pq.read_table(io.BytesIO(content), columns=columns, use_threads=False, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise ManifestError(f"{url}: not a readable manifest part ({error}); move it away to go on") from error
