"""Where the workers of a job go, by what a cluster has."""

import re
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from jobs.bulk.placement import Placement, place
from jobs.cluster.joining import _log_no_room, log_expiry
from jobs.cluster.nodes import chosen_device, room_on_cpus, room_on_gpus
from jobs.images import ImagesConfig
from pipeline.errors import UsageError
from pipeline.storage.credentials import Renewed
from pipeline.storage.storage import Storage

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
    ("src", "dst", "asked", "sharing"),
    [("in", "out", None, 1), ("s3://in", "out", None, 2), ("in", "gs://out", None, 2), ("s3://in", "s3://out", 3, 3)],
)
def test_workers_share_a_core_where_they_wait_for_a_bucket(src: str, dst: str, asked: int | None, sharing: int) -> None:
    assert ImagesConfig(src=src, dst=dst, workers_per_core=asked).sharing_a_core(src) == sharing


def _placement(monkeypatch: pytest.MonkeyPatch, nodes: Sequence[tuple[int, int]], **flags: object) -> Placement:
    monkeypatch.setattr("jobs.cluster.nodes._gpu_problems", lambda: [""])
    monkeypatch.setattr("jobs.bulk.placement.cluster_nodes", lambda: nodes)
    monkeypatch.setattr("jobs.bulk.placement.cluster_gpus", lambda: sum(gpus for _, gpus in nodes))
    monkeypatch.setattr(
        "jobs.bulk.placement.room_on_cpus", lambda each, sharing: sharing * sum(cpus for cpus, _ in nodes)
    )
    monkeypatch.setattr("jobs.bulk.placement.cluster_cpus", lambda: sum(cpus for cpus, _ in nodes))
    return place(ImagesConfig(src="in", dst="out", **flags), 1e9)  # type: ignore[arg-type]


def test_workers_go_where_there_is_room_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _placement(monkeypatch, NODES) == Placement("cuda", 5, 1)
    assert _placement(monkeypatch, NODES, gpus_per_worker=0.5, workers=7) == Placement("cuda", 7, 0.5, grows=False)
    assert _placement(monkeypatch, NODES, device="cpu", gpus_per_worker=0.5) == Placement("cpu", 96, 0)
    assert _placement(monkeypatch, NODES[:1]) == Placement("cpu", 64, 0)
    assert place(ImagesConfig(src="in", dst="out"), 1e9, 2) == Placement("cpu", 128, 0)


@pytest.mark.parametrize(
    ("nodes", "flags", "told"),
    [
        (NODES[:1], {"device": "cuda"}, "--device cuda: torch cannot use a GPU"),
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
        _log_no_room()
        assert (f"all 4 {kind}s are in use by other jobs; waiting for free ones" in caplog.text) == told


def _node(name: str, **resources: float) -> dict[str, object]:
    return {"NodeID": name, "Alive": name != "gone", "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "sharing", "room", "told"),
    [
        ([_node("a", CPU=8.0, memory=64e9), _node("b", CPU=4.0)], 1, 12, ""),
        (
            [_node("a", CPU=8.0, memory=3.5e9), _node("b", CPU=4.0, memory=64e9)],
            1,
            7,
            "memory has room for 7, the cores for 12",
        ),
        ([_node("a", CPU=8.0, memory=3.5e9), _node("gone", CPU=99.0, memory=64e9)], 2, 3, "the cores for 16"),
        ([_node("here", CPU=8.0, memory=64e9)], 1, 2, "memory has room for 2, the cores for 8"),
        ([_node("a", CPU=8.0, memory=1e6)], 1, 1, "memory has room for 1, the"),
    ],
)
def test_no_more_workers_than_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    nodes: list[dict[str, object]],
    sharing: int,
    room: int,
    told: str,
) -> None:
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    monkeypatch.setattr("jobs.cluster.nodes.usable_memory_bytes", lambda: 2.5e9)
    with caplog.at_level("INFO", "nightlift"):
        assert room_on_cpus(1e9, sharing) == room
    assert told in caplog.text if told else not caplog.text


@pytest.mark.parametrize(
    ("asked", "problems", "device", "told"),
    [
        ("auto", [], "cpu", ""),
        ("auto", ["", ""], "cuda", ""),
        ("cuda", [""], "cuda", ""),
        ("cpu", [""], "cpu", ""),
        ("auto", ["no CUDA", "no CUDA"], "cpu", "running on CPUs, as torch cannot use the GPUs (no CUDA)"),
    ],
)
def test_gpus_are_used_where_torch_can(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked: str,
    problems: list[str],
    device: str,
    told: str,
) -> None:
    monkeypatch.setattr("jobs.cluster.nodes._gpu_problems", lambda: problems)
    assert chosen_device(asked, len(problems)) == device
    assert told in caplog.text if told else not caplog.text


@pytest.mark.parametrize(
    ("asked", "problems", "told"),
    [
        ("cuda", ["no CUDA"], "--device cuda: torch cannot use a GPU (no CUDA); to run on CPUs: --device cpu"),
        ("auto", ["", "no CUDA"], "on some nodes, torch cannot use a GPU"),
        ("mps", [], "--device mps: torch finds no Apple GPU"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, asked: str, problems: list[str], told: str
) -> None:
    monkeypatch.setattr("jobs.cluster.nodes._gpu_problems", lambda: problems)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(UsageError, match=re.escape(told)):
        chosen_device(asked, len(problems))


def test_an_apple_gpu_is_used_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert (chosen_device("mps", 0), chosen_device("auto", 0)) == ("mps", "cpu")


@pytest.mark.parametrize("address", ["", "head:6379"])
def test_keys_that_expire_are_told_where_a_cluster_is_joined(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    keys = Renewed(profile="night", expires="14:05 on 30 November", section={}, keys={})
    with caplog.at_level("INFO", "nightlift"):
        log_expiry(Storage({"s3": {"renewed": keys}}))
        log_expiry(Storage())
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == bool(address)
    assert all("the AWS keys of profile night expire at 14:05 on 30 November" in each for each in told)


def test_workers_grow_with_the_cluster_unless_memory_limits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.bulk.placement.cluster_cpus", lambda: 8)
    for room, grows in ((8, True), (3, False)):
        monkeypatch.setattr("jobs.bulk.placement.room_on_cpus", lambda *_, room=room: room)
        monkeypatch.setattr("jobs.bulk.placement.cluster_gpus", lambda: 0)
        assert place(ImagesConfig(src="in", dst="out"), 1e9) == Placement("cpu", room, 0, grows)
    assert not place(ImagesConfig(src="in", dst="out", workers=8), 1e9).grows


def test_one_worker_uses_an_apple_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("jobs.bulk.placement.cluster_gpus", lambda: 0)
    assert place(ImagesConfig(src="in", dst="out", device="mps"), 1e9) == Placement("mps", 1, 0, False)
