"""A manifest as columns: the newest row of each file, and what each run did. No Python object for each row."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import UsageError, printable
from pipeline.planning.history import BATCH_ROWS, hashes
from pipeline.planning.manifest import Manifest
from pipeline.storage.errors import without_secrets
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, shown
from pipeline.video import is_video

STAGES = ("read", "decode", "enhance", "encode", "write")
COLUMNS = ["source", "destination", "outcome", "code", "message", "started_at", *(f"seconds_{each}" for each in STAGES)]
COLUMNS += ["bytes_in", "bytes_out", "width_px", "height_px", "frames", "luma_before", "luma_after", "notes", "run"]

PROTOCOL = r"(?s)^([A-Za-z][A-Za-z0-9+.-]*://)?.*$"

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a manifest, oldest first. A `place` is that of a row, from 0."""

    table: pa.Table = field(repr=False)
    """With `COLUMNS`."""
    is_video: Flags = field(repr=False)
    """Of each row, by the name of its source."""

    @classmethod
    def of(cls, table: pa.Table) -> "Rows":
        kinds = [np.fromiter(map(is_video, some), bool) for some in _texts(table["source"])]
        return cls(table, np.concatenate(kinds) if kinds else np.empty(0, bool))

    def __len__(self) -> int:
        return len(self.table)

    def between(self, start: int, end: int) -> "Rows":
        return Rows(self.table.slice(start, end - start), self.is_video[start:end])

    def newest(self) -> "Rows":
        """The last one of each source."""
        sources = np.concatenate([hashes((name,) for name in some) for some in _texts(self.table["source"])])
        _, back = np.unique(sources[::-1], return_index=True)
        places = np.sort(len(self) - 1 - back)
        return self if len(places) == len(self) else Rows(self.table.take(places), self.is_video[places])

    def numbers(self, column: str) -> Floats:
        """NaN where a row has none."""
        return np.asarray(self.table[column].cast(pa.float64()).to_numpy(), np.float64)

    def ended(self, outcome: str) -> Flags:
        """Which rows are `done`, `skipped` or `failed`."""
        found: Flags = pc.equal(self.table["outcome"], outcome).to_numpy()
        return found

    @property
    def pixels(self) -> Floats:
        """All frames together."""
        return self.numbers("width_px") * self.numbers("height_px") * self.numbers("frames")

    @property
    def lumas(self) -> tuple[Floats, Floats]:
        """Before and after, of those that are done and have both."""
        before, after = self.numbers("luma_before"), self.numbers("luma_after")
        seen = self.ended("done") & np.isfinite(before) & np.isfinite(after)
        return before[seen], after[seen]

    @property
    def starts(self) -> Floats:
        """Seconds since 1970, UTC."""
        return np.asarray(self.table["started_at"].cast(pa.int64()).to_numpy() / 1e6, np.float64)

    @property
    def ends(self) -> Floats:
        """The same, after the work of all stages. Not true of videos, whose segments are worked side by side."""
        return np.asarray(self.starts + np.sum([self.numbers(f"seconds_{stage}") for stage in STAGES], axis=0))

    def grouped(self, *columns: str) -> tuple[NDArray[np.int64], pa.Array]:
        """The number of each row's value, and the values. Those of several columns are joined by a space."""
        values = [self.table[column] for column in columns]
        return numbered(pc.binary_join_element_wise(*values, " ") if len(values) > 1 else values[0])

    def raw(self, column: str, places: Iterable[int]) -> list[str]:
        """Texts of a few rows, as the manifest has them."""
        found: list[str] = self.table[column].take(pa.array(places, pa.int64())).to_pylist()
        return found

    def texts(self, column: str, places: Iterable[int]) -> list[str]:
        """The same, as they may be shown."""
        return [printable(without_secrets(text)) for text in self.raw(column, places)]

    def names(self, places: Iterable[int]) -> list[str]:
        """Sources of a few rows, without the folder that all have in common."""
        folder = self.folder
        return [name.removeprefix(folder) for name in self.texts("source", places)]

    @property
    def protocols(self) -> list[str]:
        """Of all sources: `s3://`, `https://`; "" for files."""
        found: list[str] = pc.unique(pc.replace_substring_regex(self.table["source"], PROTOCOL, r"\1")).to_pylist()
        return found

    @property
    def folder(self) -> str:
        """What all sources have in common, up to and with a slash."""
        ends = pc.min_max(self.table["source"]).as_py()  # if these two begin alike, so do those between them
        first, last = (printable(without_secrets(ends[end])) for end in ("min", "max"))
        pairs = enumerate(zip(first, last, strict=False))
        alike = next((at for at, (one, other) in pairs if one != other), min(len(first), len(last)))
        return first[: first.rfind("/", 0, alike) + 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """All that the manifest at `root` says."""

    root: str
    rows: Rows
    """Of every run."""
    files: Rows
    """The newest one of each file: what counts."""

    @classmethod
    def read(cls, storage: Storage, root: str) -> "Results":
        """Raises UsageError where there is no manifest; ManifestError, StorageError."""
        rows = Rows.of(Manifest(storage, root, "", {}).read(COLUMNS))
        if not len(rows):
            raise UsageError(
                f"{shown(root)}: no job has left a manifest there ({FOLDER}/manifest); give the DST of images, videos "
                "or enhance, or the OUT of train"
            )
        return cls(root=root, rows=rows, files=rows.newest())


def numbered(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """The number of each row's value, by its first occurrence, and the values."""
    found = column.combine_chunks().dictionary_encode()
    return found.indices.to_numpy().astype(np.int64), found.dictionary


def _texts(column: pa.ChunkedArray) -> Iterator[Sequence[str]]:
    """Few at a time: as Python's own they are large."""
    for chunk in column.chunks:
        for start in range(0, len(chunk), BATCH_ROWS):
            yield chunk.slice(start, BATCH_ROWS).to_pylist()
