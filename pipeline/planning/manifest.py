"""The manifest of what happened to every input: Parquet parts under `_nightlift/manifest/` at the destination.

Rows are appended as they come and are on storage within moments. The row of a source's latest run counts, whatever the
clocks of machines said. An input is done if that row did not fail, under the same fingerprint (weights and settings)
and for the same version of the source; anything else is work.
"""

import io
import itertools
import json
import logging
import posixpath
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import ManifestError, NotFound, StorageError, plural
from pipeline.planning.history import BATCH_ROWS, COLUMNS, History, hashes
from pipeline.records import OUTCOME_SCHEMA, Outcome
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, is_inside, join

log = logging.getLogger("nightlift")

MERGE_PARTS = 16  # parts of one level are merged into one part of the next
WHOLE_PART_BYTES = 8_000_000  # parts of this size (some 200,000 rows) are not merged any more
FLUSH_S = 0.2  # rows wait this long to be written, or longer on slow storage:
FLUSH_SHARE = 0.1  # so that writing takes no more than this share of the time
READ_ATTEMPTS, READ_PAUSE_S = 8, 0.3  # other runs merge parts away, and listings lag; each pause is longer
MOST_PENDING = 10_000  # rows waiting to be written, some 3 KB each
TIME_OF_RUN = "%Y%m%dT%H%M%S%f"  # UTC; begins a run's name, so that names sort by time
LATER = {"sha256": "", "night_s": None, "neighbours": ""}  # columns that older parts lack; a scalar would load pandas
KEY = ["source", "run", "started_at"]  # identifies a row


class Manifest:
    """The manifest of one destination folder, and the rows that this run adds to it.

    `root`: URL of the destination folder. `fingerprint`: hash of this run's weights and settings.
    `settings`: the same in readable form, kept as JSON in `_nightlift/runs/`. `variant`: what follows the fingerprint
    in rows of files that more settings decide, such as camera raw files.
    """

    def __init__(
        self, storage: Storage, root: str, fingerprint: str, settings: Mapping[str, Any], *, variant: str = ""
    ) -> None:
        self.url = join(root, FOLDER, "manifest")
        self.fingerprint, self.variant = fingerprint, variant
        self.run = _name_of_run(datetime.now(UTC))
        self._storage, self._root = storage, root
        self._settings = {"fingerprint": fingerprint, **settings}
        self._known = set[str]()  # URLs of the parts that were last read
        self._pending: list[dict[str, Any]] = []
        self._levels: list[list[str]] = [[]]
        self._written = 0
        self._flush_cost_s = 0.0
        self._failing = False  # whether the last write of rows failed
        self._merging = True  # until a merge fails
        self._lock = threading.Lock()  # guards `_pending`
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._flusher: threading.Thread | None = None

    def read(self, columns: Sequence[str] = OUTCOME_SCHEMA.names) -> pa.Table:
        """Read every row of every run, oldest first. `columns`: must include those of `KEY`.

        Raises ManifestError where a part is not readable.
        """
        schema = pa.schema([OUTCOME_SCHEMA.field(name) for name in columns])
        table = pa.concat_tables([schema.empty_table(), *self._tables(list(columns))], promote_options="default")
        places = _distinct(table)
        by = [("run", "ascending"), ("started_at", "ascending")]
        places = places[pc.sort_indices(table.select(KEY).take(places), sort_keys=by).to_numpy()]
        left = dict(zip(table.column_names, table.columns, strict=True))
        del table  # there may be millions of rows: they are copied column by column
        return pa.table({name: left.pop(name).take(places) for name in columns})

    def history(self) -> History:
        """Return what is done under this fingerprint, and what any run has written. Raises ManifestError."""
        return History.of(self._batches(COLUMNS), {self.fingerprint, self._with(self.variant)})

    def has_grown(self) -> bool:
        """Return whether rows were added since it was last read. Raises StorageError."""
        return not self._known.issuperset(part.url for part in self._parts())

    def outputs(self) -> set[str]:
        """Return every destination that any run has written. Raises ManifestError."""
        return {
            destination
            for table in self._tables(["destination", "bytes_out"])
            for destination in table.filter(pc.field("bytes_out") > 0)["destination"].to_pylist()
        }

    def may_list(self, urls: Iterable[str]) -> bool:
        """Return whether a run may have written any of these files, which lie below the destination.

        A large manifest is not read, and one that was moved names other places: both count. Raises ManifestError.
        """
        if sum(part.size_bytes for part in self._parts()) > WHOLE_PART_BYTES:
            return True
        outputs = self.outputs()
        moved = bool(outputs) and not any(is_inside(each, self._root) for each in outputs)
        return moved or not outputs.isdisjoint(urls)

    def begin(self) -> None:
        """Name and record the run, before any work is done. Raises StorageError where the destination is not writable.

        Its name is the current time or, if an earlier run's clock was ahead, the moment after that run's name.
        """
        files = (*self._files(join(self._root, FOLDER, "runs")), *self._parts())
        latest = max((_time_of_run(posixpath.basename(file.url)) for file in files), default=datetime.min)
        self.run = _name_of_run(max(datetime.now(UTC).replace(tzinfo=None), latest + timedelta(microseconds=1)))
        record = json.dumps({"run": self.run, "root": self._root, **self._settings}, default=str, indent=1)
        self._storage.write(join(self._root, FOLDER, "runs", f"{self.run}.json"), record.encode())

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """Add rows, which a thread writes within `FLUSH_S`; if too many are waiting, write them here."""
        left = iter(outcomes)
        while some := list(itertools.islice(left, MOST_PENDING)):
            rows = [replace(row, fingerprint=self._with(row.fingerprint), run=self.run).row() for row in some]
            with self._lock:
                self._pending += rows
            if self._flusher is None:
                self._flusher = threading.Thread(target=self._keep_flushing, name="manifest", daemon=True)
                self._flusher.start()
            if len(self._pending) >= MOST_PENDING and not self._failing:
                with suppress(StorageError):  # the thread logs it, and it may pass
                    self._flush()

    def _with(self, variant: str) -> str:
        return f"{self.fingerprint}-{variant}" if variant else self.fingerprint

    def close(self) -> None:
        """Write the rows that are waiting and merge this run's parts into one. Raises ManifestError."""
        self._closed.set()
        if self._flusher is not None:
            self._flusher.join()
        try:
            self._flush()
        except StorageError as error:
            rows = f"{plural(len(self._pending), 'row')} of the manifest could not be written: {error}"
            raise ManifestError(f"{rows}; run the same command again to redo those files") from error
        with suppress(StorageError):  # every row is there, only in more parts than necessary
            self._compact()

    def _keep_flushing(self) -> None:
        while not self._closed.wait(max(FLUSH_S, self._flush_cost_s / FLUSH_SHARE)):
            start = time.monotonic()
            try:
                self._flush()
                self._failing = False
            except Exception as error:  # whatever it is, the rows are kept for the next attempt
                if not self._failing:
                    kept = "the manifest cannot be written now; its rows are kept in memory and tried again: %s"
                    log.warning(kept, error)
                self._failing = True
            self._flush_cost_s = time.monotonic() - start

    def _flush(self) -> None:
        with self._writing:
            with self._lock:
                rows, self._pending = self._pending, []
            if not rows:
                return
            try:
                self._write(pa.Table.from_pylist(rows, schema=OUTCOME_SCHEMA), level=0)
            except BaseException:
                with self._lock:
                    self._pending = rows + self._pending
                raise
            level = 0
            while self._merging and level < len(self._levels):  # a merge may add a level
                if len(self._levels[level]) >= MERGE_PARTS:
                    self._try_to_merge(list(self._levels[level]), level + 1)
                level += 1

    def _write(self, table: pa.Table, level: int) -> None:
        content = _parquet(table)
        part = join(self.url, f"{self.run}-{self._written:05d}.parquet")
        self._written += 1  # counted first: a write reported as failed may have succeeded
        self._storage.write(part, content)
        if level == len(self._levels):
            self._levels.append([])
        if len(content) < WHOLE_PART_BYTES:
            self._levels[level].append(part)

    def _try_to_merge(self, parts: Sequence[str], level: int) -> None:
        """Merge parts into one; if that fails, as on a full disk, they stay, and no row is lost.

        The merged part is written first. A kill before the others are removed leaves rows twice, which does no harm.
        """
        tables: dict[str, pa.Table] = {}
        try:
            for part in parts:
                with suppress(NotFound):  # not visible yet, or merged by another run
                    tables[part] = self._read_part(part)
            if tables:
                table = pa.concat_tables(tables.values(), promote_options="default")
                self._write(table.take(_distinct(table)), level)
            self._levels = [[part for part in kept if part not in parts] for kept in self._levels]
            self._storage.remove(tables)
        except StorageError as error:
            log.warning("parts of the manifest cannot be merged, so they stay as they are; no row is lost: %s", error)
            self._merging = False

    def _compact(self) -> None:
        """Merge this run's parts, and also other runs' if there are many, as far as they fit into one part."""
        small = [part for part in self._parts() if part.size_bytes < WHOLE_PART_BYTES]
        ours = [part for part in small if posixpath.basename(part.url).startswith(self.run)]
        chosen = sorted(small if len(small) > MERGE_PARTS else ours, key=lambda part: part.size_bytes)
        total_bytes = itertools.accumulate(part.size_bytes for part in chosen)
        fitting = [part.url for part, total in zip(chosen, total_bytes, strict=True) if total <= WHOLE_PART_BYTES]
        if len(fitting) > 1:
            self._try_to_merge(fitting, len(self._levels))

    def _parts(self) -> list[Listed]:
        return [part for part in self._files(self.url) if part.url.endswith(".parquet")]

    def _files(self, folder: str) -> list[Listed]:
        with suppress(NotFound):
            return list(self._storage.walk(folder))
        return []

    def _tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the content of each part, in any order. Rows of parts that are merged meanwhile may come twice."""
        for url, content in self._contents():
            with _readable(url):
                table = _table(content, columns)
            yield table

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield what `_tables` yields, a few rows at a time, so that no part is in memory as a whole."""
        for url, content in self._contents():
            with _readable(url):
                file = pq.ParquetFile(io.BytesIO(content), pre_buffer=False)
                yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield URL and bytes of each part. Raises ManifestError where one stays away that is listed."""
        known = self._known = set[str]()
        for attempt in range(READ_ATTEMPTS):
            time.sleep(READ_PAUSE_S * attempt)
            missing = ""
            for part in self._parts():
                if part.url in known:
                    continue
                try:
                    content = self._storage.read(part.url)
                except NotFound:
                    missing = part.url
                    continue
                known.add(part.url)
                yield part.url, content
            if not missing:
                return
        raise ManifestError(
            f"{missing}: listed, but not found; if another run writes to this destination, run again later"
        )

    def _read_part(self, url: str) -> pa.Table:
        content = self._storage.read(url)
        with _readable(url):
            return _table(content)


def _name_of_run(moment: datetime) -> str:
    return f"{moment:{TIME_OF_RUN}}-{secrets.token_hex(2)}"


def _time_of_run(name: str) -> datetime:
    """Return the time in the name of a run or of one of its files; the earliest possible where it has none."""
    try:
        return datetime.strptime(name.partition("-")[0], TIME_OF_RUN)
    except ValueError:
        return datetime.min


@contextmanager
def _readable(url: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        problem = f"{url}: cannot be read as a part of the manifest ({error}); move it away to continue"
        raise ManifestError(problem) from error


def _table(content: bytes, columns: list[str] | None = None) -> pa.Table:
    there = pq.read_schema(io.BytesIO(content)).names
    lacking = [name for name in LATER if name not in there and name in (columns or LATER)]
    found = None if columns is None else [name for name in columns if name not in lacking]
    table = pq.read_table(io.BytesIO(content), columns=found, use_threads=False, pre_buffer=False)
    for name in lacking:
        table = table.append_column(name, pa.array([LATER[name]] * len(table), OUTCOME_SCHEMA.field(name).type))
    return table


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _distinct(table: pa.Table) -> NDArray[np.int64]:
    """Return the indices of all rows, each once: a run that was killed while it merged parts leaves rows twice."""
    batches = table.select(KEY).to_batches(BATCH_ROWS)  # few rows at a time become Python objects
    keys = (key for batch in batches for key in zip(*(column.to_pylist() for column in batch.columns), strict=True))
    _, first = np.unique(hashes(keys), return_index=True)
    return np.sort(first)
