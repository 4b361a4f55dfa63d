"""Jobs that cannot work end within about a minute, with one line; those that can are waited for."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import ray

from jobs.cli import main
from jobs.cluster import canary
from jobs.cluster.canary import diagnosis, watched
from jobs.cluster.joining import ray_cluster
from pipeline.errors import ClusterError, UsageError
from pipeline.flow.supervised_step import has_begun, new_attempts
from pipeline.flow.videos import new_ledger
from tests.support.killed import HANGS_S, ROOT
from tests.support.media import jpeg, night

HASTY = """
import sys
from jobs.cli import main
from jobs.cluster import canary
canary.FIRST_LOOK_S = 2.0  # until then, Ray starts workers and kills them
sys.exit(main(sys.argv[1:]))
"""
ABOUT_A_MINUTE_S = 150  # on a busy machine


@pytest.fixture
def impatient_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "FIRST_LOOK_S", 0.05)


@pytest.mark.usefixtures("impatient_watch")
def test_a_job_of_which_no_worker_comes_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "diagnosis", lambda _: "no room; make some")
    with pytest.raises(ClusterError, match="no room; make some"), watched():
        time.sleep(60)


@pytest.mark.usefixtures("impatient_watch")
def test_a_job_that_has_moved_or_whose_canary_is_well_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(canary, "diagnosis", lambda _: asked.append(time.monotonic()) or "")
    with watched():
        time.sleep(1.0)
    assert 2 <= len(asked) <= 5  # with growing pauses
    monkeypatch.setattr(canary, "diagnosis", lambda _: "none comes up")
    with watched() as watch:
        watch.moved()
        time.sleep(0.5)
    assert "watch" not in {thread.name for thread in threading.enumerate()}  # that might ask a Ray that is shut down


@pytest.mark.usefixtures("impatient_watch")
def test_a_job_that_ends_while_the_canary_is_asked_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Event(), threading.Event()

    def slow(_: object) -> str:
        asked.set()
        over.wait(10)
        return "none comes up"

    monkeypatch.setattr(canary, "diagnosis", slow)
    with watched():
        asked.wait(10)
    over.set()
    time.sleep(0.3)


@pytest.mark.usefixtures("impatient_watch")
def test_a_job_that_moves_while_the_canary_is_asked_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, moved = threading.Event(), threading.Event()

    def slow(_: object) -> str:
        asked.set()
        moved.wait(10)
        return "none comes up"

    monkeypatch.setattr(canary, "diagnosis", slow)
    with watched() as watch:
        asked.wait(10)
        watch.moved()
        moved.set()
        time.sleep(0.3)


@pytest.mark.usefixtures("impatient_watch")
def test_no_canary_takes_memory_beside_workers_that_have_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their first results may take hours, as those of long videos do."""
    asked = []
    monkeypatch.setattr(canary, "diagnosis", lambda _: asked.append("") or "")
    with watched(has_begun=lambda: True):
        time.sleep(0.5)
    assert asked == []


@pytest.mark.usefixtures("impatient_watch")
def test_a_ray_that_does_not_answer_ends_a_job_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> str:
        raise RuntimeError("traceback\nthe head is gone")

    monkeypatch.setattr(canary, "diagnosis", fail)
    with pytest.raises(ClusterError, match=r"Ray does not answer \(the head is gone\)"), watched():
        time.sleep(60)


@pytest.mark.usefixtures("impatient_watch")
def test_a_stop_is_no_trouble_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "diagnosis", lambda _: "")
    with pytest.raises(KeyboardInterrupt), watched():
        raise KeyboardInterrupt


def _always() -> bool:
    return True


@pytest.mark.usefixtures("ray_session")
def test_the_canary_tells_what_workers_die_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "nightlift"):
        assert diagnosis(_always) == ""
    assert re.search("still waiting for the first result; 0 of [1-9]+ CPUs are in use", caplog.text)
    monkeypatch.setattr(canary, "come_up", _lacks_a_package)
    assert "workers cannot start" in (told := diagnosis(_always))
    assert "No module named 'nobody_has_this'); install the same packages on every node" in told
    monkeypatch.setattr(canary, "come_up", _dies)
    assert "workers cannot start" in (told := diagnosis(_always))
    assert "MB are free there" in told
    monkeypatch.setattr(canary, "come_up", _hangs)
    monkeypatch.setattr(canary, "COMES_UP_S", 0.5)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    assert "no worker started within" in diagnosis(_always)
    waits = []
    monkeypatch.setattr("os.getloadavg", lambda: (waits.append(1) or 1e3, 0.0, 0.0))
    assert "no worker started within" in diagnosis(_always)
    assert len(waits) == canary.MOST_WAITS - 1  # a machine that is overloaded gets more time
    (node,) = ray.nodes()
    monkeypatch.setattr("ray.nodes", lambda: [{**node, "Resources": {}}])
    assert diagnosis(_always) == ""  # a head without processors, to which nodes are yet to be added
    monkeypatch.setattr("ray.nodes", lambda: [node, {**node, "NodeID": "ab" * 28}])
    monkeypatch.setattr(canary, "come_up", lambda: None)
    monkeypatch.setattr(canary, "COMES_UP_S", 60.0)
    assert diagnosis(_always) == ""  # one node that is well is enough
    monkeypatch.setattr(canary, "come_up", _hangs)
    started = time.monotonic()
    assert diagnosis(lambda: time.monotonic() < started + 1) == ""  # the job is over: Ray may be shut down any moment
    assert time.monotonic() < started + 30


@pytest.mark.usefixtures("ray_session")
def test_flows_tell_that_their_workers_have_begun() -> None:
    attempts, ledger = new_attempts(), new_ledger()
    assert not has_begun(attempts)
    assert not has_begun(ledger)
    ray.get(attempts.begin.remote("block"))
    ray.get(attempts.finish.remote("block"))
    assert has_begun(attempts)
    ray.get(ledger.begin.remote("a.mp4"))  # it is inspected
    ray.get(ledger.open.remote("a.mp4", b"info", 25))
    assert not has_begun(ledger)
    ray.get(ledger.is_open.remote("a.mp4"))
    assert has_begun(ledger)
    for actor in (attempts, ledger):
        ray.kill(actor)
        deadline = time.monotonic() + 30
        while has_begun(actor) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not has_begun(actor)


def _lacks_a_package() -> None:
    import nobody_has_this  # type: ignore[import-not-found]  # noqa: F401


def _dies() -> None:
    os._exit(1)


def _hangs() -> None:
    time.sleep(60)


@pytest.mark.slow
def test_workers_that_are_killed_for_memory_end_a_job_in_one_line(tmp_path: Path) -> None:
    """As where other programs have all the memory of a machine: Ray kills every worker as soon as it is there."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg(night()))
    environment = {**os.environ, "RAY_memory_usage_threshold": "0.01"}
    job = [sys.executable, "-c", HASTY, "images", tmp_path / "in", tmp_path / "out", "--workers", "1"]
    assert canary.FIRST_LOOK_S <= 20
    begun = time.monotonic()
    done = subprocess.run(job, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_S)
    assert done.returncode == 1, done.stderr
    assert time.monotonic() - begun < ABOUT_A_MINUTE_S
    assert "too little memory: Ray kills workers before they can work (" in done.stderr.splitlines()[-1]
    assert (
        "above Ray's limit of 1.0%); raise RAY_memory_usage_threshold, free some memory, use fewer --workers"
        in done.stderr.splitlines()[-1]
    )
    assert len(done.stderr.splitlines()) <= 8, done.stderr
    assert "retries" not in done.stdout
    assert "1 left" in done.stdout


@pytest.mark.parametrize(("load", "starts"), [(0.0, 1), (1e3, 3)])
def test_a_ray_that_does_not_start_is_told_and_tried_again_on_an_overloaded_machine(
    load: float, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(**_: object) -> None:
        asked.append("")
        raise Exception("The current node timed out during startup.")  # as bare as Ray's

    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", fail)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    told = r"Ray did not start on this machine \(The current node timed out during startup.\)"
    with pytest.raises(UsageError, match=told), ray_cluster(1):
        pass
    assert len(asked) == starts


def test_other_versions_on_the_cluster_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        theirs, ours = "    Ray: 2.9.0\n    Python: 3.10.4\n", "    Ray: 2.60.0\n    Python: 3.11.7\n"
        raise RuntimeError(f"Version mismatch: The cluster was started with:\n{theirs}This process was:\n{ours}")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", fail)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    told = "RAY_ADDRESS=auto: the cluster runs Ray 2.9.0 and Python 3.10.4, this machine Ray 2.60.0 and Python 3.11.7; "
    with pytest.raises(UsageError, match=re.escape(told)), ray_cluster(1):
        pass


@pytest.mark.usefixtures("ray_session")
def test_gpus_that_torch_cannot_use_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray counts a GPU where torch is a build without CUDA."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg(night()))
    monkeypatch.setattr("torch.version.cuda", None)
    monkeypatch.setattr("jobs.cluster.nodes.nodes_with", lambda kind: ray.nodes())
    monkeypatch.setattr("jobs.cluster.nodes.LEAST_GPU_SHARE", 0)
    for job, folder in (("images", "bulk"), ("train", "train")):
        monkeypatch.setattr(f"jobs.{folder}.placement.cluster_gpus", lambda: 1)
        assert main([job, str(tmp_path / "in"), str(tmp_path / job), "--device", "cuda"]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert "torch cannot use a GPU (torch" in told
        assert "to run on CPUs: --device cpu" in told
