"""Totals of a manifest, as rows of tables. Where there may be many items, they are counted and a few are named."""

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.report.results import STAGES, Rows, numbered
from pipeline.errors import NotFound, decimal, plural, printable
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, join

SHOWN_FILES = 20  # files of each code
SHOWN_NOTES, SHOWN_NAMES = 15, 3
SHOWN_RUNS = 12
SHOWN_SETTINGS = 80
NO_SETTINGS = {"run", "root", "price"}  # of what a run has recorded: the page says it elsewhere
ON_CORES = ("decode", "enhance", "encode")  # stages in which a worker does not wait for storage
LOOKED_AT = 8  # newest run records that are searched for the settings of each kind of job
RUN_STARTED = "%Y%m%dT%H%M%S%f"  # start time in the name of a run
MOST_CHARACTERS = 400  # of a message, a note or a setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Files with one outcome and code."""

    outcome: str
    code: str
    count: int
    files: Sequence[tuple[str, str]]
    """Name and message of the first files; the message without the name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A note, and the files that have it."""

    text: str
    count: int
    names: Sequence[str]
    """Names of the first files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """The time spent in one stage, of all files together."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Totals of one run."""

    started: datetime
    done: int
    skipped: int
    failed: int
    megapixels: float
    seconds: float | None
    """From the first photo's start to the end of the last one; None if videos were done, or nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings that a run recorded before it began."""

    started: datetime
    values: Sequence[tuple[str, str]]


def summary(files: Rows) -> str:
    """Count the files by outcome: `1,204 photos and 2 videos done, 12 skipped, 3 failed.`"""
    done, copied = files.ended("done"), files.copied
    kinds = (
        ("photo", done & ~files.is_video & ~copied),
        ("video", done & files.is_video),
        ("other file", done & copied),
    )
    well = [plural(int(each.sum()), noun) for noun, each in kinds if each.any()]
    parts = [f"{_listed(well) or 'Nothing'} done"]
    for ending in ("skipped", "failed"):
        if count := int(files.ended(ending).sum()):
            parts.append(f"{count:,} {ending}")
    return f"{', '.join(parts)}."


def _listed(parts: Sequence[str]) -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def lasting(seconds: float) -> str:
    """Return a duration in words: `12 s`, `5 min`, `1.3 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def totals(files: Rows) -> list[tuple[str, str]]:
    """Return the large numbers at the top of the page, each after what it counts."""
    done = files.ended("done")
    counts = [(ending, f"{int(files.ended(ending).sum()):,}") for ending in ("done", "skipped", "failed")]
    found = [("files", f"{len(files):,}"), *counts]
    if done.any():
        found += [
            ("megapixels", f"{np.nansum(files.pixels[done]) / 1e6:,.0f}"),
            ("MB read", f"{np.nansum(files.numbers('bytes_in')[done]) / 1e6:,.0f}"),
            ("MB written", f"{np.nansum(files.numbers('bytes_out')[done]) / 1e6:,.0f}"),
        ]
    before, after = files.lumas
    if len(before):
        found.append(("mean luma", f"{before.mean():.2f} → {after.mean():.2f}"))
    return found


def groups(files: Rows) -> list[Group]:
    """Group the files that failed, then those that were skipped; the largest groups first."""
    numbers, values = files.grouped("outcome", "code")
    found = []
    for number, value in enumerate(values.to_pylist()):
        outcome, _, code = value.partition(" ")
        if outcome == "done":
            continue
        places = np.flatnonzero(numbers == number)
        first = places[:SHOWN_FILES]
        messages = zip(files.names(first), files.texts("message", first), strict=True)
        named = [(name, shortened(text.removeprefix(f"{posixpath.basename(name)}: "))) for name, text in messages]
        found.append(Group(outcome=outcome, code=code, count=len(places), files=named))
    return sorted(found, key=lambda group: (group.outcome != "failed", -group.count, group.code))


def notes(files: Rows) -> tuple[list[Note], int]:
    """Return the most frequent notes, and the number of others."""
    column = files.table["notes"].combine_chunks()
    of_file = pc.list_parent_indices(column).to_numpy()
    numbers, values = numbered(pa.chunked_array([pc.list_flatten(column)]))
    counts = np.bincount(numbers, minlength=len(values))
    found = []
    for number in np.argsort(-counts, kind="stable")[:SHOWN_NOTES]:
        names = files.names(of_file[numbers == number][:SHOWN_NAMES])
        text = shortened(printable(values[number].as_py()))
        found.append(Note(text=text, count=int(counts[number]), names=names))
    return found, len(values) - len(found)


def stages(files: Rows) -> list[Stage]:
    """Return the stages that took time."""
    seconds = {name: float(np.nansum(files.numbers(f"seconds_{name}"))) for name in STAGES}
    whole = sum(seconds.values())
    return [Stage(name=name, seconds=each, share=each / whole) for name, each in seconds.items() if each > 0]


def runs(rows: Rows) -> tuple[list[Run], int]:
    """Return the newest runs, newest first, and the number of older ones."""
    found = [_run(each) for each in split_by_run(rows, SHOWN_RUNS)]
    return found, len(rows.grouped("run")[1]) - len(found)


def split_by_run(rows: Rows, most: int) -> Iterator[Rows]:
    """Yield the rows of each of the newest `most` runs, newest first."""
    numbers, _ = rows.grouped("run")  # rows are ordered by run
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    ends = np.append(starts[1:], len(rows))
    for start, end in list(zip(starts, ends, strict=True))[: -most - 1 : -1]:
        yield rows.between(int(start), int(end))


def _run(rows: Rows) -> Run:
    done, starts = rows.ended("done"), rows.starts
    timed = done.any() and not rows.is_video[done].any()
    return Run(
        started=_begun(rows.raw("run", [0])[0]) or datetime.fromtimestamp(float(starts.min()), UTC),
        done=int(done.sum()),
        skipped=int(rows.ended("skipped").sum()),
        failed=int(rows.ended("failed").sum()),
        megapixels=float(np.nansum(rows.pixels[done])) / 1e6,
        seconds=float(rows.ends[done].max() - starts[done].min()) if timed else None,
    )


def _begun(run: str) -> datetime | None:
    """Return when a run began, from its name; None if the name has no time."""
    try:
        return datetime.strptime(run.partition("-")[0], RUN_STARTED).replace(tzinfo=UTC)
    except ValueError:
        return None


def settings(storage: Storage, root: str) -> list[Settings]:
    """Read the settings of the newest run of each kind of job, newest first. Raises StorageError."""
    found: dict[tuple[str, ...], Settings] = {}
    for record in _records(storage, root):
        with suppress(ValueError, KeyError, AttributeError, TypeError):  # not a record of a run
            started = _begun(record["run"])
            values = {name: value for name, value in record.items() if name not in NO_SETTINGS}
            if started is not None:
                found.setdefault(tuple(values), Settings(started=started, values=readable(values)))
    return list(found.values())


def cost(storage: Storage, root: str, files: Rows) -> list[tuple[str, str]]:
    """Return what the files cost, by the price that a run was last given; empty if none was. Raises StorageError."""
    prices = (record.get("price") for record in _records(storage, root) if isinstance(record, Mapping))
    price = next((each for each in prices if isinstance(each, int | float)), None)
    if price is None:
        return []
    core_s = sum(float(np.nansum(files.numbers(f"seconds_{stage}"))) for stage in ON_CORES)
    return [(f"cost, at {price:g} a core-hour", decimal(core_s / 3600 * price))]


def _records(storage: Storage, root: str) -> Iterator[Any]:
    """Yield what the newest runs have recorded of themselves, newest first. Raises StorageError."""
    try:
        listed = storage.list_files(join(root, FOLDER, "runs"))
    except NotFound:
        return
    for file in listed[: -LOOKED_AT - 1 : -1]:
        with suppress(ValueError):  # not a record of a run
            yield json.loads(storage.read(file.url))


def readable(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of nested settings, at most SHOWN_SETTINGS of them."""
    return [(printable(name), shortened(printable(value))) for name, value in flat(record)][:SHOWN_SETTINGS]


def flat(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values of nested settings: `look.iterations` and `8`."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", "-" if value is None else value if isinstance(value, str) else json.dumps(value)


def shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
