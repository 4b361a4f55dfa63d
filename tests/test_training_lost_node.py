"""A node that is lost during a training: it goes on with what is left, or says how to go on."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from ray.cluster_utils import Cluster
from ray.train import ControllerError
from ray.train.v2._internal.exceptions import CheckpointManagerInitializationError, WorkerGroupStartupTimeoutError

from jobs import training_fitting
from jobs.training_crew import Crew
from jobs.training_fitting import STARTS, Fitting
from jobs.training_run import read_state
from pipeline.errors import ClusterError, UsageError
from pipeline.storage import Storage
from tests.media import landscape

ROOT = Path(__file__).parents[1]
EPOCHS = 60  # more than there is time for before the loss is felt
SMALL = ["--epochs", str(EPOCHS), "--batch", "4", "--size-px", "32", "--estimate-size", "128", "--precision", "fp32"]
TWO, ONE = Crew("cpu", 2, 1), Crew("cpu", 1, 1)


@pytest.mark.slow
def test_a_training_goes_on_with_the_nodes_that_are_left(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for seed in range(5):
        Image.fromarray(landscape(240, 180, seed=seed)).save(tmp_path / "in" / f"{seed}.png")  # too large to be inlined
    environment = {**os.environ, "RAY_ADDRESS": cluster.address, "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5"}
    job = [sys.executable, "-m", "jobs.train", str(tmp_path / "in"), str(tmp_path / "out"), *SMALL]
    log = tmp_path / "log"
    with log.open("wb") as told:
        process = subprocess.Popen(job, cwd=ROOT, env=environment, stdout=told, stderr=told)
    try:
        _await_an_epoch(tmp_path / "out", process)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        assert process.wait(150) == 0, log.read_text()
    finally:
        process.kill()
    assert "2 workers on cpu" in log.read_text()
    assert "going on with 1 worker on cpu" in log.read_text()
    assert pq.read_table(tmp_path / "out" / "losses.parquet")["epoch"].to_pylist() == list(range(1, EPOCHS + 1))


def _await_an_epoch(out: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until and read_state(Storage(), str(out)) is None:
        time.sleep(0.02)


@dataclass
class _Run:
    threads: int


def _fitted(
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[], Crew],
    failure: Exception | None = None,
    epochs: Iterator[int] | None = None,
) -> tuple[list[Crew], Exception | None]:
    """Which crews are started where only one worker has room, and `look` says what the cluster has by then."""
    started: list[Crew] = []

    def train(run: Any, crew: Crew) -> None:
        started.append(crew)
        if crew.workers > 1:
            raise ControllerError(failure or WorkerGroupStartupTimeoutError(crew.workers))

    monkeypatch.setattr(training_fitting, "_train", train)
    monkeypatch.setattr(training_fitting, "_epochs_done", lambda run: next(epochs) if epochs else 0)
    fitting = Fitting(_Run(1), TWO, look)  # type: ignore[arg-type]
    assert fitting.over(10)
    return started, fitting.error


def _too_little() -> Crew:
    raise UsageError("--workers is 2")


def test_fewer_workers_go_on_once_the_loss_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([TWO, ONE])
    assert _fitted(monkeypatch, lambda: next(looks)) == ([TWO, TWO, ONE], None)


def test_as_many_workers_as_were_asked_for_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    started, error = _fitted(monkeypatch, _too_little)
    assert started == [TWO] * STARTS
    assert isinstance(error, ClusterError)
    assert "2 workers on cpu could not be started (The worker group startup timed out" in str(error)
    assert "; run the same command again, with fewer" in str(error)


def test_the_crew_that_failed_last_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([TWO] * (STARTS - 1) + [ONE])
    started, error = _fitted(monkeypatch, lambda: next(looks))
    assert started == [TWO] * STARTS
    assert "2 workers on cpu" in str(error)


def test_the_count_of_starts_begins_anew_with_an_epoch_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = iter([0, 0, 0, *[7] * STARTS])
    assert len(_fitted(monkeypatch, _too_little, epochs=epochs)[0]) == 3 + STARTS


def test_other_failures_than_a_lack_of_room_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = CheckpointManagerInitializationError("Traceback:\n  line 1\nthe snapshot is damaged")
    started, error = _fitted(monkeypatch, _too_little, failure)
    assert started == [TWO]
    assert isinstance(error, ClusterError)
    assert "Ray ended the training (the snapshot is damaged); run the same command again" in str(error)
