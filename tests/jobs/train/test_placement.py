"""Who works at a training: processors and GPUs of a cluster's nodes, shared out."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from jobs.cluster.canary import Watch
from jobs.train import driver
from jobs.train.config import TrainConfig
from jobs.train.driver import Driver
from jobs.train.placement import GPU_THREADS, Crew, choose_crew, most_threads
from pipeline.errors import UsageError
from pipeline.storage.storage import Storage


@pytest.mark.parametrize(
    ("nodes", "workers", "on_gpu", "threads"),
    [
        ([(2, 0)], 1, False, 2),
        ([(2, 0)], 2, False, 1),
        ([(2, 0)], 3, False, 0),
        ([(16, 0), (3, 0)], 3, False, 5),  # three on the large node, or two and one
        ([(64, 1)], 1, True, GPU_THREADS),
        ([(4, 1), (64, 0)], 1, True, 4),  # the large node has no GPU
        ([(4, 2)], 2, True, 2),
        ([(4, 1), (4, 1)], 2, True, 4),
        ([(4, 1)], 2, True, 0),
        ([], 1, False, 0),
    ],
)
def test_threads_fit_beside_the_gpus(nodes: list[tuple[int, int]], workers: int, on_gpu: bool, threads: int) -> None:
    assert most_threads(nodes, workers, on_gpu=on_gpu) == threads


def test_a_training_stays_on_the_device_that_it_began_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, stop = list[str](), RuntimeError()

    def fitting(run: object, crew: Crew, choose: Callable[[], Crew]) -> None:
        choose()
        raise stop

    monkeypatch.setattr(driver, "choose_crew", lambda device, *_: asked.append(device))
    monkeypatch.setattr(driver, "TrainingSupervisor", fitting)
    followed = Driver.__new__(Driver)
    followed.config = TrainConfig(places=("in", "out"))  # of --device auto
    followed.recipe, followed.state, followed.storage, followed.root = followed.config.resolved, None, Storage(), "/out"
    with pytest.raises(RuntimeError):
        run = SimpleNamespace(recipe=followed.recipe, steps_per_epoch=1)
        followed._follow(run, Crew("cuda", 1, 1), Watch(lambda: False))  # type: ignore[arg-type]
    assert asked == ["cuda"]


def test_without_its_gpus_there_is_no_crew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.train.placement.cluster_gpus", lambda: 0)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(UsageError, match="the cluster has no GPU"):
        choose_crew("cuda", None, 4)
