"""A training whose workers are lost, or cannot all be started: it goes on with others, or says how to go on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    CheckpointManagerInitializationError,
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)

from jobs.train import supervisor
from jobs.train.placement import Crew
from jobs.train.supervisor import MOST_DEATHS, STARTS, TrainingSupervisor
from jobs.train.training_run import TrainingImages
from pipeline.errors import ClusterError, UsageError

TWO, ONE = Crew("cpu", 2, 1), Crew("cpu", 1, 1)
NO_ROOM = ControllerError(WorkerGroupStartupTimeoutError(2))
DEATH = WorkerGroupError("", {1: GetTimeoutError("Traceback:\nits image is lost")})


@dataclass
class _Run:
    threads: int
    images: TrainingImages = field(default_factory=partial(TrainingImages, blocks=(), trained=(), held_out=()))


def _fitted(
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[], Crew],
    failure: Exception = NO_ROOM,
    epochs: Iterator[int] | None = None,
) -> tuple[list[Crew], Exception | None]:
    """Which crews are started where all but one worker fail, and `look` says what the cluster has by then."""
    started: list[Crew] = []

    def train(run: Any, crew: Crew) -> None:
        started.append(crew)
        if crew.workers > 1:
            raise failure

    monkeypatch.setattr(supervisor, "_train", train)
    monkeypatch.setattr(supervisor, "_epochs_done", lambda run: next(epochs) if epochs else 0)
    fitting = TrainingSupervisor(_Run(1), TWO, look)  # type: ignore[arg-type]
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
    assert "; run the same command again to continue" in str(error)
    assert "with fewer --workers" in str(error)


def test_the_crew_that_failed_last_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([TWO] * (STARTS - 1) + [ONE])
    started, error = _fitted(monkeypatch, lambda: next(looks))
    assert started == [TWO] * STARTS
    assert "2 workers on cpu" in str(error)


def test_the_count_of_starts_begins_anew_with_an_epoch_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = iter([0, 0, 0, *[7] * STARTS])
    assert len(_fitted(monkeypatch, _too_little, epochs=epochs)[0]) == 3 + STARTS


@pytest.mark.parametrize(
    "failure",
    [
        DEATH,
        ControllerError(WorkerGroupStartupFailedError("its node is lost")),
        ControllerError(RayActorError(error_msg="a worker that is lost")),  # while it was handed its work
        RayActorError(error_msg="Ray Train's controller is lost"),
    ],
)
def test_a_death_is_gone_on_from_by_what_the_cluster_has_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    looks = iter([TWO, TWO, ONE])
    assert _fitted(monkeypatch, lambda: next(looks), failure) == ([TWO, TWO, TWO, ONE], None)
    assert caplog.text.count("is lost)") == 3


def test_deaths_without_an_epoch_gained_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = iter([0, 0, *[7] * (1 + MOST_DEATHS)])
    started, error = _fitted(monkeypatch, lambda: TWO, DEATH, epochs)
    assert len(started) == 2 + 1 + MOST_DEATHS
    assert isinstance(error, ClusterError)
    assert "Ray ended the training (its image is lost); run the same command again" in str(error)


def test_what_others_would_meet_too_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = WorkerGroupError("", {0: ClusterError("another training writes there")})
    started, error = _fitted(monkeypatch, lambda: TWO, failure)
    assert (started, str(error)) == ([TWO], "another training writes there")


def test_lost_blocks_are_waited_for_as_long_as_some_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def wait(blocks: list[str], **_: object) -> tuple[list[str], list[str]]:
        """One is read each time."""
        asked.append(blocks)
        return blocks[:1], blocks[1:]

    monkeypatch.setattr("ray.wait", wait)
    supervisor.wait_for_blocks(["a", "b", "c"])
    assert asked == [["a", "b", "c"], ["b", "c"], ["c"]]


@pytest.mark.usefixtures("ray_session")
def test_lost_blocks_that_nobody_has_room_to_read_are_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "READ_AGAIN_S", 0.1)
    monkeypatch.setattr(supervisor, "_epochs_done", lambda run: 0)
    blocks = [ray.remote(num_cpus=1000)(lambda: b"").remote()]
    fitting = TrainingSupervisor(_Run(1, TrainingImages(blocks=blocks, trained=(), held_out=())), TWO, _too_little)  # type: ignore[arg-type]
    assert fitting.over(30)
    assert isinstance(fitting.error, ClusterError)
    assert "could not be started (1 blocks of images were lost, and no node has room" in str(fitting.error)
    ray.cancel(blocks[0])


def test_other_failures_than_a_lack_of_room_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = ControllerError(CheckpointManagerInitializationError("Traceback:\n  line 1\nthe snapshot is damaged"))
    started, error = _fitted(monkeypatch, _too_little, failure)
    assert started == [TWO]
    assert isinstance(error, ClusterError)
    assert "Ray ended the training (the snapshot is damaged); run the same command again" in str(error)
