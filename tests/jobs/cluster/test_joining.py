"""Where the workers of a job go, by what a cluster has."""

from collections.abc import Sequence

import pytest

from jobs.bulk.placement import Placement, place
from jobs.cluster.joining import _tell_of_no_room, room_on_gpus
from jobs.images import ImagesConfig
from pipeline.errors import UsageError

NODES = [(64, 0), (16, 1), (16, 4)]


@pytest.mark.parametrize(
    ("share", "room"), [(1, 5), (0.5, 10), (0.1, 50), (0.3, 15), (0.6, 5), (2, 2), (3, 1), (4, 1), (5, 0)]
)
def test_workers_fit_the_gpus_of_each_node(share: float, room: int) -> None:
    assert room_on_gpus(NODES, share) == room


def test_workers_that_take_a_core_fit_those_beside_the_gpus() -> None:
    assert room_on_gpus([(16, 1), (2, 1), (0, 4)], 0.1, 1) == 10 + 2
    assert room_on_gpus([(2, 1)], 0.1, 0.5) == 4


@pytest.mark.parametrize(
    ("src", "dst", "asked", "memory", "sharing"),
    [
        ("in", "out", None, 64e9, 1),
        ("s3://in", "out", None, 64e9, 2),
        ("in", "gs://out", None, 64e9, 2),
        ("s3://in", "s3://out", None, 15e9, 1),
        ("s3://in", "s3://out", 3, 1e9, 3),
    ],
)
def test_workers_share_a_core_where_they_wait_for_a_bucket(
    monkeypatch: pytest.MonkeyPatch, src: str, dst: str, asked: int | None, memory: float, sharing: int
) -> None:
    monkeypatch.setattr("jobs.images.cluster_cpus", lambda: 8)
    monkeypatch.setattr("jobs.images.cluster_memory_bytes", lambda: memory)
    assert ImagesConfig(src=src, dst=dst, workers_per_core=asked).sharing_a_core(src) == sharing


def _placement(monkeypatch: pytest.MonkeyPatch, nodes: Sequence[tuple[int, int]], **flags: object) -> Placement:
    monkeypatch.setattr("jobs.cluster.joining.check_gpus", lambda: None)
    monkeypatch.setattr("jobs.bulk.placement.cluster_nodes", lambda: nodes)
    monkeypatch.setattr("jobs.bulk.placement.cluster_gpus", lambda: sum(gpus for _, gpus in nodes))
    monkeypatch.setattr("jobs.bulk.placement.cluster_cpus", lambda: sum(cpus for cpus, _ in nodes))
    return place(ImagesConfig(src="in", dst="out", **flags))  # type: ignore[arg-type]


def test_workers_go_where_there_is_room_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _placement(monkeypatch, NODES) == Placement("cuda", 5, 1)
    assert _placement(monkeypatch, NODES, gpus_per_worker=0.5, workers=7) == Placement("cuda", 7, 0.5)
    assert _placement(monkeypatch, NODES, device="cpu", gpus_per_worker=0.5) == Placement("cpu", 96, 0)
    assert _placement(monkeypatch, NODES[:1]) == Placement("cpu", 64, 0)
    assert place(ImagesConfig(src="in", dst="out"), 2) == Placement("cpu", 128, 0)


@pytest.mark.parametrize(
    ("nodes", "flags", "told"),
    [
        (NODES[:1], {"device": "cuda"}, "the cluster has no GPU"),
        (NODES, {"workers": 6}, "room for 5 workers with --gpus-per-worker 1, not for 6"),
        (NODES, {"workers": 11, "gpus_per_worker": 0.5}, "room for 10 workers with --gpus-per-worker 0.5"),
        (NODES, {"gpus_per_worker": 5}, "room for 0 workers with --gpus-per-worker 5, not for 1"),
        (NODES, {"gpus_per_worker": 1.5}, "above 1 it must be a whole number"),
        (NODES, {"gpus_per_worker": 0.0}, "--gpus-per-worker is 0.0; it must be 0.01 or more"),
    ],
)
def test_too_little_room_is_told(
    monkeypatch: pytest.MonkeyPatch, nodes: Sequence[tuple[int, int]], flags: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        _placement(monkeypatch, nodes, **flags)


@pytest.mark.parametrize(("free", "told"), [(0.0, True), (1.0, False), (None, False)])
def test_a_cluster_that_others_have_is_told(
    free: float | None, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """None: it has no processors yet."""
    caplog.set_level("INFO", "nightlift")
    for kind in ("CPU", "GPU"):
        monkeypatch.setattr("ray.available_resources", lambda kind=kind: {} if free is None else {kind: free})
        monkeypatch.setattr("ray.cluster_resources", lambda kind=kind: {} if free is None else {kind: 4.0})
        caplog.clear()
        _tell_of_no_room()
        assert (f"all 4 {kind}s are in use by other jobs; waiting for free ones" in caplog.text) == told
