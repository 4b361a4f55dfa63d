"""Processes killed again and again while they write: what was told to be there is there, and nothing is broken."""

from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.planning.manifest import MERGE_PARTS, Manifest
from pipeline.records import Outcome
from pipeline.storage.storage import Storage
from pipeline.storage.writing import is_abandoned
from tests.support.counts import count
from tests.support.killed import killed_at
from tests.support.outputs import files_below

SEED = 20_261_125
KILLS, RUNS = count(20, 1000), 5  # runs into one folder
FLUSHES = 2 * MERGE_PARTS + 3  # of a run
STEP_S = 0.005  # about that of a step
FILE_BYTES = 1 << 20


def _names(run: int, step: int) -> list[str]:
    """Of the rows that a run writes at a step: one or two."""
    return [f"/{run}-{step}-{half}" for half in range(1 + step % 2)]


def _record(folder: str, run: int, counter: Any) -> None:
    manifest = Manifest(Storage(), folder, "f1", {})
    manifest.begin()
    for step in range(FLUSHES):
        names = _names(run, step)
        manifest.append(Outcome(source=name, version="v", destination=name, outcome="done") for name in names)
        manifest._flush()
        counter.value += 1
    manifest.close()
    counter.value += 1


@pytest.mark.slow
def test_a_row_that_is_on_storage_stays_there_whatever_is_killed(tmp_path: Path) -> None:
    rng = Random(SEED)
    for place in (tmp_path / str(number) for number in range(KILLS // RUNS)):
        told = set[str]()
        for run in range(RUNS):
            steps = killed_at(rng.randint(0, FLUSHES), rng.uniform(0, STEP_S), _record, str(place), run)
            told.update(name for step in range(min(steps, FLUSHES)) for name in _names(run, step))
            history = Manifest(Storage(), str(place), "f1", {}).history()
            assert all(history.is_done(name, "v", "") for name in told)
        assert told
        rows = pq.read_table(place / "_nightlift" / "manifest", columns=["source"])  # as any other tool reads it
        assert told <= set(rows["source"].to_pylist())
    _no_part_is_left_once_it_is_abandoned(tmp_path)


def _write(folder: str, run: int, counter: Any) -> None:
    for step in range(FLUSHES):
        Storage().write(f"{folder}/{step % 3}", bytes([run]) * FILE_BYTES)
        counter.value += 1


@pytest.mark.slow
def test_a_file_whose_writer_is_killed_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    rng, files = Random(SEED), [tmp_path / "deep" / name for name in ("0", "1", "2")]
    for run in range(KILLS):
        killed_at(rng.randint(0, 5), rng.uniform(0, STEP_S), _write, str(tmp_path / "deep"), run)
        for content in (path.read_bytes() for path in files if path.exists()):
            assert content == content[:1] * FILE_BYTES
    assert Storage().unfinished(str(tmp_path))  # some were killed in the midst of it
    _no_part_is_left_once_it_is_abandoned(tmp_path)


def _no_part_is_left_once_it_is_abandoned(folder: Path) -> None:
    parts = Storage().unfinished(str(folder))
    assert all(is_abandoned(part) for part in parts)
    Storage().remove(parts)
    assert [path for path in files_below(folder) if path.name.startswith(".")] == []
