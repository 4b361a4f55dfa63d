"""A manifest as columns: the rows of all runs, and the newest row of each file, without a Python object for each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import UsageError, printable
from pipeline.planning.history import BATCH_ROWS, COPIED, hashes
from pipeline.planning.manifest import Manifest
from pipeline.storage.errors import without_secrets
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, redacted
from pipeline.video import is_video

STAGES = ("read", "decode", "enhance", "encode", "write")
COLUMNS = ["source", "destination", "outcome", "code", "message", "started_at", *(f"seconds_{each}" for each in STAGES)]
COLUMNS += ["bytes_in", "bytes_out", "width_px", "height_px", "frames", "luma_before", "luma_after", "notes", "run"]

PROTOCOL = r"(?s)^([A-Za-z][A-Za-z0-9+.-]*://)?.*$"

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a manifest, oldest first. A `place` is the index of a row, from 0."""

    table: pa.Table = field(repr=False)
    """Table with the columns `COLUMNS`."""
    is_video: Flags = field(repr=False)
    """Whether each row is of a video that was not merely copied, by the names of its source and its output."""

    @classmethod
    def of(cls, table: pa.Table) -> "Rows":
        named = _videos(table, "source") | _videos(table, "destination")  # a name that tells nothing gets an extension
        return cls(table, named & ~cls(table, named).copied)

    def __len__(self) -> int:
        return len(self.table)

    def between(self, start: int, end: int) -> "Rows":
        return Rows(self.table.slice(start, end - start), self.is_video[start:end])

    def newest(self) -> "Rows":
        """Return the last row of each source."""
        sources = np.concatenate([hashes((name,) for name in some) for some in _texts(self.table["source"])])
        _, back = np.unique(sources[::-1], return_index=True)
        places = np.sort(len(self) - 1 - back)
        return self if len(places) == len(self) else Rows(self.table.take(places), self.is_video[places])

    def numbers(self, column: str) -> Floats:
        """Return a column as floats; NaN where a row has no value."""
        return np.asarray(self.table[column].cast(pa.float64()).to_numpy(), np.float64)

    def ended(self, outcome: str) -> Flags:
        """Return which rows have this outcome: `done`, `skipped` or `failed`."""
        found: Flags = pc.equal(self.table["outcome"], outcome).to_numpy()
        return found

    @property
    def copied(self) -> Flags:
        """Return which rows are of other files, copied as they were."""
        found: Flags = pc.equal(self.table["code"], COPIED).to_numpy()
        return found

    @property
    def pixels(self) -> Floats:
        """Return the pixels of each row, all frames together."""
        return self.numbers("width_px") * self.numbers("height_px") * self.numbers("frames")

    @property
    def lumas(self) -> tuple[Floats, Floats]:
        """Return mean luma before and after, of the rows that are done and have both."""
        before, after = self.numbers("luma_before"), self.numbers("luma_after")
        seen = self.ended("done") & np.isfinite(before) & np.isfinite(after)
        return before[seen], after[seen]

    @property
    def starts(self) -> Floats:
        """Return when the work on each row began, in seconds since 1970, UTC."""
        return np.asarray(self.table["started_at"].cast(pa.int64()).to_numpy() / 1e6, np.float64)

    @property
    def ends(self) -> Floats:
        """Return `starts` plus the time of all stages. Not the end of videos, whose segments are done in parallel."""
        return np.asarray(self.starts + np.sum([self.numbers(f"seconds_{stage}") for stage in STAGES], axis=0))

    def grouped(self, *columns: str) -> tuple[NDArray[np.int64], pa.Array]:
        """Return the number of each row's value, and the values. Those of several columns are joined by a space."""
        values = [self.table[column] for column in columns]
        return numbered(pc.binary_join_element_wise(*values, " ") if len(values) > 1 else values[0])

    def raw(self, column: str, places: Iterable[int]) -> list[str]:
        """Return the texts of a few rows, as they are in the manifest."""
        found: list[str] = self.table[column].take(pa.array(places, pa.int64())).to_pylist()
        return found

    def texts(self, column: str, places: Iterable[int]) -> list[str]:
        """Return the texts of a few rows, printable and without secrets."""
        return [printable(without_secrets(text)) for text in self.raw(column, places)]

    def names(self, places: Iterable[int]) -> list[str]:
        """Return the sources of a few rows, without the folder that all rows have in common."""
        folder = self.folder
        return [name.removeprefix(folder) for name in self.texts("source", places)]

    @property
    def protocols(self) -> list[str]:
        """Return the protocols of all sources: `s3://`, `https://`; "" for files."""
        found: list[str] = pc.unique(pc.replace_substring_regex(self.table["source"], PROTOCOL, r"\1")).to_pylist()
        return found

    @property
    def folder(self) -> str:
        """Return the beginning that all sources have in common, up to and including its last slash."""
        ends = pc.min_max(self.table["source"]).as_py()  # what these two begin with, all between them begin with
        first, last = (printable(without_secrets(ends[end])) for end in ("min", "max"))
        pairs = enumerate(zip(first, last, strict=False))
        alike = next((at for at, (one, other) in pairs if one != other), min(len(first), len(last)))
        return first[: first.rfind("/", 0, alike) + 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """Contents of the manifest at `root`."""

    root: str
    rows: Rows
    """Rows of every run."""
    files: Rows
    """Newest row of each file, the one that counts."""

    @classmethod
    def read(cls, storage: Storage, root: str) -> "Results":
        """Read the manifest. Raises UsageError if there is none; ManifestError, StorageError."""
        rows = Rows.of(Manifest(storage, root, "", {}).read(COLUMNS))
        if not len(rows):
            raise UsageError(
                f"{redacted(root)}: no manifest of a job there ({FOLDER}/manifest); give the DST of images, "
                "videos or enhance, or the OUT of train"
            )
        return cls(root=root, rows=rows, files=rows.newest())


def numbered(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """Return the number of each row's value, by its first occurrence, and the values."""
    found = column.combine_chunks().dictionary_encode()
    return found.indices.to_numpy().astype(np.int64), found.dictionary


def _videos(table: pa.Table, column: str) -> Flags:
    """Return which names of a column are those of videos."""
    named = [np.fromiter(map(is_video, some), bool) for some in _texts(table[column])]
    return np.concatenate(named) if named else np.empty(0, bool)


def _texts(column: pa.ChunkedArray) -> Iterator[Sequence[str]]:
    """Yield the texts in batches, as Python strings take much memory."""
    for chunk in column.chunks:
        for start in range(0, len(chunk), BATCH_ROWS):
            yield chunk.slice(start, BATCH_ROWS).to_pylist()
