"""History of earlier runs from a manifest, in a few bytes for each of its rows: there may be millions.

Only 64-bit hashes are kept, valid in this process only. A chance collision would make a file that needs work count as
done: the odds are one in twenty million, with a million files against a million rows.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import SoundOnly
from pipeline.planning.raw_pairs import PAIRED
from pipeline.storage.urls import canonical_url

OTHER_KIND = "not_a_"  # prefix of the codes of files that are not of the job's kind
COPIED = "copied"  # code of files that were copied as they were; one of 0 bytes is an output, too
FACTS = ["outcome", "code", "bytes_out", "fingerprint", "run", "started_at", "neighbours"]
COLUMNS = ["source", "version", "destination", *FACTS]
BATCH_ROWS = 16_384  # rows that become Python objects at a time


def _none() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """Sorted hashes of what the newest rows of each source say."""

    done: NDArray[np.int64] = field(default_factory=_none)
    """(source, version, destination) of all files done under one fingerprint; destination "": nothing was written."""
    skipped: NDArray[np.int64] = field(default_factory=_none)
    """The same of those among them that were skipped."""
    beside: NDArray[np.int64] = field(default_factory=_none)
    """(source, neighbours) of the same files, where they have neighbours."""
    written: NDArray[np.int64] = field(default_factory=_none)
    """(destination,) of every output of every run."""
    written_bytes: NDArray[np.int64] = field(default_factory=_none)
    """Size of what was last written to each of `written`."""
    writers: NDArray[np.int64] = field(default_factory=_none)
    """(source,) that each of `written` was last written from."""
    failed: NDArray[np.int64] = field(default_factory=_none)
    """(source, version) of all files that failed under one fingerprint."""
    known: NDArray[np.int64] = field(default_factory=_none)
    """(source, version) of each source's newest row, under any fingerprint, unless this job wrote an output."""
    sound: NDArray[np.int64] = field(default_factory=_none)
    """(source, version) of all files in which any run has found sound without video."""
    elsewhere: NDArray[np.int64] = field(default_factory=_none)
    """(source, version) of all files whose newest row says that an output was written, under another fingerprint."""

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch], fingerprints: Collection[str]) -> "History":
        """Build a history from batches with the `COLUMNS` of a manifest, with rows in any order.

        `fingerprints`: those that count as one.
        """
        rows = _in_order(_Rows.of(batch, fingerprints) for batch in batches)
        if rows is None:
            return cls()
        writers = np.flatnonzero(rows.bytes_out)
        writers = writers[_last(rows.destination[writers])]  # by ascending destination
        counting = np.flatnonzero(rows.counting)
        newest = counting[_last(rows.source[counting])]
        well, last = newest[rows.well[newest]], _last(rows.source)
        place = np.searchsorted(rows.destination[writers], rows.destination[well]).clip(max=max(0, len(writers) - 1))
        replaced = rows.bytes_out[well] > 0  # overwritten by another source's output
        if len(writers):
            replaced &= rows.source[writers][place] != rows.source[well]
        return cls(
            done=np.sort(rows.as_done[well[~replaced]]),
            skipped=np.sort(rows.as_done[well[~replaced & rows.skipped[well]]]),
            beside=np.sort(rows.as_beside[well[rows.as_beside[well] != 0]]),
            written=rows.destination[writers],
            written_bytes=rows.bytes_out[writers],
            writers=rows.source[writers],
            failed=np.sort(rows.as_known[newest[rows.ours[newest] & ~rows.well[newest]]]),
            sound=np.sort(rows.as_known[rows.sound]),
            known=np.sort(rows.as_known[last[~rows.ours[last] | (rows.bytes_out[last] == 0)]]),
            elsewhere=np.sort(rows.as_known[newest[~rows.ours[newest] & (rows.bytes_out[newest] > 0)]]),
        )

    def is_done(self, source: str, version: str, destination: str) -> bool:
        """Return whether this version of the source was done, into this destination. "": skipped, nothing written."""
        return holds(self.done, hash((source, version, destination)))

    def was_skipped(self, source: str, version: str, destination: str) -> bool:
        """Return whether a file that is done was skipped, although something may have been written."""
        return holds(self.skipped, hash((source, version, destination)))

    def is_beside(self, source: str, neighbours: str) -> bool:
        """Return whether a source that is done had these photos around it in its sequence."""
        return holds(self.beside, hash((source, neighbours)))

    def is_known(self, source: str, version: str) -> bool:
        """Return whether the newest row of a source is of this version. It is for sources that this job leaves out."""
        return holds(self.known, hash((source, version)))

    def is_done_elsewhere(self, source: str, version: str) -> bool:
        """Return whether another job, or the same under other settings, has written what this version became."""
        return holds(self.elsewhere, hash((source, version)))

    def is_sound(self, source: str, version: str) -> bool:
        """Return whether this version of the source holds sound without video, although it is named like a video."""
        return holds(self.sound, hash((source, version)))

    def has_failed(self, source: str, version: str) -> bool:
        """Return whether this version of the source failed."""
        return holds(self.failed, hash((source, version)))

    def known_bytes(self, destination: str) -> int:
        """Return the size of what a run last wrote to this file; 0 if none did."""
        place = self._place(destination)
        return 0 if place is None else int(self.written_bytes[place])

    def is_of_another(self, destination: str, source: str) -> bool:
        """Return whether a run last wrote this file, from another source."""
        place = self._place(destination)
        return place is not None and bool(self.writers[place] != hash((source,)))

    def _place(self, destination: str) -> int | None:
        """Return the index of a file in `written`; None if no run wrote it."""
        return _index(self.written, hash((destination,)))

    def without_done(self) -> "History":
        """Return a copy in which nothing counts as done."""
        return replace(self, done=_none())


@dataclass(kw_only=True, slots=True)
class _Rows:
    """Columns of equal length: hashes, and facts about each row."""

    source: NDArray[np.int64]
    destination: NDArray[np.int64]
    as_known: NDArray[np.int64]
    as_done: NDArray[np.int64]
    as_beside: NDArray[np.int64]
    """0 for rows without neighbours."""
    bytes_out: NDArray[np.int64]
    """Bytes written to the destination; 0: nothing was."""
    ours: NDArray[np.bool_]
    """Whether the row is of this fingerprint."""
    well: NDArray[np.bool_]
    """Whether the file did not fail, nor was left out for its twin, under this fingerprint."""
    skipped: NDArray[np.bool_]
    sound: NDArray[np.bool_]
    counting: NDArray[np.bool_]
    """False where another fingerprint's job only found the file not to be of its kind of media."""
    run: NDArray[np.object_]
    started_at: NDArray[np.int64]

    @classmethod
    def of(cls, batch: pa.RecordBatch, fingerprints: Collection[str]) -> "_Rows":
        source, version, destination, outcome, code = (batch[name].to_pylist() for name in COLUMNS[:5])
        source, destination = [canonical_url(each) for each in source], [canonical_url(each) for each in destination]
        neighbours = batch["neighbours"].to_pylist()
        ours = np.asarray([each in fingerprints for each in batch["fingerprint"].to_pylist()], bool)
        bytes_out = batch["bytes_out"].to_numpy()
        written = zip(destination, bytes_out, code, strict=True)
        targets = [name if size or code == COPIED else "" for name, size, code in written]
        names: dict[str, str] = {}
        skipped = np.asarray([each == "skipped" for each in outcome], bool)
        return cls(
            source=hashes(zip(source, strict=True)),
            destination=hashes(zip(destination, strict=True)),
            as_known=hashes(zip(source, version, strict=True)),
            as_done=hashes(zip(source, version, targets, strict=True)),
            as_beside=np.where([*map(bool, neighbours)], hashes(zip(source, neighbours, strict=True)), 0),
            bytes_out=bytes_out,
            ours=ours,
            well=ours
            & np.asarray([each != "failed" and why != PAIRED for each, why in zip(outcome, code, strict=True)]),
            skipped=skipped,
            sound=skipped & np.asarray([each == SoundOnly.code for each in code], bool),
            counting=ours | np.asarray([not each.startswith(OTHER_KIND) for each in code], bool),
            run=np.asarray([names.setdefault(each, each) for each in batch["run"].to_pylist()], object),
            started_at=batch["started_at"].cast(pa.int64()).to_numpy(),
        )


def hashes(rows: Iterable[tuple[str, ...]]) -> NDArray[np.int64]:
    """Return the hash of each row, in order."""
    return np.fromiter(map(hash, rows), np.int64)


def _in_order(parts: Iterable[_Rows]) -> _Rows | None:
    """Join all rows, oldest first; None if there are none."""
    columns = list(zip(*([getattr(part, name) for name in _Rows.__slots__] for part in parts), strict=True))
    if not columns:
        return None
    joined = [np.concatenate(columns.pop(0)) for _ in _Rows.__slots__]  # popped, so that its parts' memory is free
    rows = _Rows(**dict(zip(_Rows.__slots__, joined, strict=True)))
    order = np.lexsort((rows.started_at, np.unique(rows.run, return_inverse=True)[1]))
    return _Rows(**dict(zip(_Rows.__slots__, (column[order] for column in joined), strict=True)))


def _last(keys: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the index of each key's last occurrence, by ascending key."""
    _, back = np.unique(keys[::-1], return_index=True)
    return np.asarray(len(keys) - 1 - back)


def holds(ascending: NDArray[np.int64], value: int) -> bool:
    """Return whether a sorted array contains a hash. It takes a tenth of the memory of a set."""
    return _index(ascending, value) is not None


def _index(ascending: NDArray[np.int64], value: int) -> int | None:
    """Return the index of a hash in a sorted array; None if it is not there."""
    place = int(np.searchsorted(ascending, value))
    return place if place < len(ascending) and ascending[place] == value else None
