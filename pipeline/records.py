"""The only schema: a `Record` goes into a flow, an `Outcome` comes out."""

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self

import pyarrow as pa
import torch

from pipeline.errors import Changed, NightliftError, SoundOnly, is_want_of_memory, printable
from pipeline.storage.attributes import Attributes
from pipeline.storage.errors import SAID, without_secrets
from pipeline.storage.ownership import Claim
from pipeline.storage.storage import Storage
from pipeline.storage.urls import BUCKETS, WEB, protocol_of, redacted

Ending = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Place:
    """Position of a photo in its sequence."""

    urls: tuple[str, ...]
    """URLs of photos in their order, of which it is one. Its records share them, as there may be many; "" is passed
    over."""
    rank: int
    """Which one of them it is, counted from 0."""

    def within(self, reach: int) -> Self:
        """Return the same place among only the URLs that are at most `reach` away."""
        first = max(0, self.rank - reach)
        return replace(self, urls=self.urls[first : self.rank + reach + 1], rank=self.rank - first)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One input: a reference, never its content."""

    source: str
    """URL or absolute path to read from."""
    version: str
    """Identifies the content: the store's ETag or time of last change, and size. "" if it was never listed."""
    size_bytes: int
    destination: str
    """URL or absolute path of the output."""
    known_bytes: int = 0
    """Size of the output that the manifest records at the destination; 0 if none."""
    modified_s: float = 0.0
    """When a source in a bucket was last changed, in seconds since 1970; 0 if that is not known, or on a disk."""
    place: Place | None = None
    """Its place among the photos of its sequence; None: it is part of none."""
    neighbours: str = ""
    """Hash of the photos around it in its sequence that decide its light; "" without a sequence."""

    @property
    def claim(self) -> Claim:
        """Return what the output may replace."""
        return Claim(known_bytes=self.known_bytes)

    def attributes(self) -> Attributes:
        """Return what the output keeps of the source beside its content. Raises StorageError."""
        return Attributes.of(self.source, self.modified_s)

    def content(self, storage: Storage) -> bytes:
        """Read the whole source. Raises StorageError; Changed where somebody still writes to it, as on disks."""
        data = storage.read(self.source)
        whole = protocol_of(self.source) in BUCKETS | WEB  # objects appear whole
        if self.version and not whole and storage.version(self.source) != self.version:
            raise Changed(f"{redacted(self.source)}: {SAID[Changed]}")
        return data


@dataclass(kw_only=True, slots=True)
class Outcome:
    """Result of one input: one row of the manifest. Filled in on the way through the flow."""

    source: str
    """URL or absolute path, without the query of a web address, which may be a signature."""
    version: str
    destination: str
    outcome: Ending = "failed"
    code: str = ""
    """Why it was skipped or failed: a word to search for (see `pipeline/errors.py`); empty when done, or `copied`."""
    message: str = ""
    """The reason in words: which file, what was found, what to do."""
    attempts: int = 1
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds_read: float = 0.0
    seconds_decode: float = 0.0
    seconds_enhance: float = 0.0
    seconds_encode: float = 0.0
    seconds_write: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    sha256: str = ""
    """SHA-256 of the output in hexadecimal digits; "" if nothing was written."""
    width_px: int = 0
    height_px: int = 0
    frames: int = 0
    luma_before: float | None = None
    """Mean BT.601 luma in [0, 1] of the decoded pixels; None where nothing was decoded."""
    luma_after: float | None = None
    night_s: float | None = None
    """Seconds of a video that were dark enough to be enhanced; None without --skip-bright, and for photos."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what was lost or changed on the way."""
    neighbours: str = ""
    """With --sequence, hash of the photos around it that decide its light."""
    fingerprint: str = ""
    """Hash of the weights and of every setting that decides the output. Until it is in the manifest: what tells this
    outcome's from others' of the run, such as how a camera raw file was read."""
    run: str = ""
    """Name of the run that wrote this row: its start in UTC and a random word. Names of later runs sort after it."""

    @classmethod
    def of(cls, record: Record) -> "Outcome":
        return cls(
            source=redacted(record.source),
            version=record.version,
            destination=record.destination,
            bytes_in=record.size_bytes,
            neighbours=record.neighbours,
        )

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add seconds to columns, by their names."""
        for column, more in seconds.items():
            setattr(self, column, getattr(self, column) + more)

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Work:
    """A record on its way through the steps of a flow, or a part of one."""

    record: Record
    outcome: Outcome

    @classmethod
    def of(cls, record: Record) -> Self:
        return cls(record, Outcome.of(record))

    @property
    def name(self) -> str:
        """Return the name that its attempts are counted under."""
        return self.record.source

    def unfinished(self) -> Self:
        """Return this work without what steps have made of it, to record in its outcome why it failed."""
        return self


_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    float | None: pa.float64(),
    list[str]: pa.list_(pa.string()),
    datetime: pa.timestamp("us", tz="UTC"),
    Ending: pa.string(),
}
OUTCOME_SCHEMA = pa.schema([(column.name, _ARROW[column.type]) for column in fields(Outcome)])


@contextmanager
def settling(record: Record, outcome: Outcome, *, out_of_memory: str) -> Iterator[None]:
    """Turn whatever goes wrong with a file into a failed outcome, so that one bad file never ends a job.

    Sound that is named like a video is skipped. `out_of_memory`: the message if memory runs out. Raises
    torch.AcceleratorError where a GPU failed, which is not the file's fault.
    """
    try:
        yield
    except NightliftError as error:
        _fail(record, outcome, error.code, str(error))
        if isinstance(error, SoundOnly):
            outcome.outcome = "skipped"
    except Exception as error:
        if is_want_of_memory(error):
            _fail(record, outcome, "out_of_memory", out_of_memory)
        elif isinstance(error, torch.AcceleratorError):
            raise
        else:
            _fail(record, outcome, "internal", f"{type(error).__name__}: {error}")


def _fail(record: Record, outcome: Outcome, code: str, message: str) -> None:
    message = without_secrets(message.replace(record.source, outcome.source))
    named = message if outcome.source in message else f"{posixpath.basename(outcome.source)}: {message}"
    outcome.outcome, outcome.code, outcome.message = "failed", code, printable(named)
