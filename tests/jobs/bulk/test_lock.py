"""The lock of a destination: one run at a time, and none that waits for a run that is gone."""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Event, Thread

import numpy as np
import psutil
import pytest
from PIL import Image

from jobs.bulk import lock
from jobs.bulk.lock import Claim, Lock
from jobs.cli import main
from pipeline.errors import Busy, Stopped
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join
from tests.support.killed import FORKS
from tests.support.outputs import rows_of, table_in

NIGHT = np.random.default_rng(5).integers(0, 50, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    Image.fromarray(NIGHT).save(tmp_path / "in" / "a.png")
    return tmp_path / "in"


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "disk" else join(request.getfixturevalue("bucket"), "out")


def _hold(place: str, environment: dict[str, str], pipe: Connection) -> None:
    os.environ.update(environment)
    with Lock(Storage(), place, ["photo"]).held():
        pipe.send("held")
        time.sleep(600)


@contextmanager
def _other_run(place: str) -> Iterator[object]:
    """A process that has the lock, and is killed as a machine is lost; nobody asks how it ended."""
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=_hold, args=(place, dict(os.environ), there), daemon=True)
    process.start()
    there.close()
    try:
        assert here.recv() == "held"
        yield process
    finally:
        process.kill()
        process.join()


def test_a_second_run_is_refused_and_one_after_a_kill_is_not(
    photos: Path, place: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with _other_run(place) as process:
        assert main(["images", str(photos), place, "--dry-run"]) == 0
        assert main(["images", str(photos), place]) == 1
        told = capsys.readouterr().err
        claim = Claim(**json.loads(Storage().read(Storage().list_files(join(place, "_nightlift", "locks"))[0].url)))
        assert f"another run writes there: process {process.pid} on {claim.host}, begun {claim.begun}" in told
        assert f"since {claim.since}" in told
        assert not Storage().exists(join(place, "a.png"))
    began = time.monotonic()
    assert main(["images", str(photos), place]) == 0
    assert time.monotonic() - began < lock.STALE_S
    assert f"going on after a run that ended without a word: process {process.pid} on" in caplog.text
    rows = (
        table_in(*place.split("/out")[:1], "out/_nightlift/manifest").to_pylist() if "://" in place else rows_of(place)
    )
    assert [row["outcome"] for row in rows] == ["done"]
    assert not [file for file in Storage().walk(place) if "/locks/" in file.url]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a machine whose clock was set counts as another one")
def test_a_run_stays_known_where_the_clock_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as by NTP, on a machine that starts without a clock."""
    with _other_run(str(tmp_path)):
        set_to = psutil.boot_time() + 3600
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: set_to)
        with pytest.raises(Busy), Lock(Storage(), str(tmp_path), ["photo"]).held():
            pass


@pytest.mark.parametrize(
    ("one", "other", "in_each_others_way"),
    [
        (Claim(kinds=["photo"]), Claim(kinds=["photo"]), True),
        (Claim(kinds=["photo"]), Claim(kinds=["video"]), False),
        (Claim(kinds=["photo", "video"]), Claim(kinds=["video"]), True),
        (Claim(kinds=["photo"], file="/out/a.jpg"), Claim(kinds=["photo"], file="/out/b.jpg"), False),
        (Claim(kinds=["photo"], file="/out/a.jpg"), Claim(kinds=["photo"], file="/out/a.jpg"), True),
        (Claim(kinds=["photo"], file="/out/a.jpg"), Claim(kinds=["photo"]), True),
        (Claim(), Claim(kinds=["video"], file="/out/a.mp4"), True),
    ],
)
def test_only_runs_that_may_write_the_same_are_in_each_others_way(
    one: Claim, other: Claim, in_each_others_way: bool
) -> None:
    assert one.conflicts(other) == other.conflicts(one) == in_each_others_way


@pytest.mark.parametrize("others", [[], ["--others", "copy"]])
def test_photos_and_videos_may_share_a_destination_but_not_where_all_is_copied(
    photos: Path, tmp_path: Path, others: list[str]
) -> None:
    with Lock(Storage(), str(tmp_path / "out"), ["video"]).held():
        assert main(["images", str(photos), str(tmp_path / "out"), *others]) == bool(others)


def _of_another_machine(place: str, content: bytes = b"") -> str:
    claim = Claim(host="elsewhere", machine="elsewhere", process=1, begun="b", since="s", kinds=["photo"], holds=True)
    url = join(place, "_nightlift", "locks", "0.json")
    Storage().write(url, content or json.dumps(asdict(claim)).encode())
    return url


@pytest.mark.parametrize("content", [b"", b"{", b'{"new": 1}', b'{"kinds": 1}'])
def test_a_claim_of_a_machine_that_is_gone_is_void_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(lock, "STALE_S", 0.6)
    monkeypatch.setattr(lock, "LOOK_S", 0.05)
    url = _of_another_machine(str(tmp_path), content)
    written = time.time()
    with Lock(Storage(), str(tmp_path), ["photo"]).held():
        assert time.time() - written > 0.5
        assert not Path(url).exists()


def test_a_claim_of_a_machine_that_is_gone_is_void_in_a_bucket_too(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "STALE_S", 2.0)
    monkeypatch.setattr(lock, "LOOK_S", 0.2)
    _of_another_machine(bucket)
    with Lock(Storage(), bucket, ["photo"]).held():
        assert len(Storage().list_files(join(bucket, "_nightlift", "locks"))) == 1


def test_a_claim_of_another_machine_counts_while_it_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOOK_S", 0.05)
    url, over = _of_another_machine(str(tmp_path)), Event()
    claim = Claim(**json.loads(Path(url).read_bytes()))

    def renew() -> None:
        for number in itertools.count(1):
            Storage().write(url, json.dumps(asdict(replace(claim, renewals=number))).encode())
            if over.wait(0.2):
                return

    thread = Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(Busy, match="process 1 on elsewhere"), Lock(Storage(), str(tmp_path), ["photo"]).held():
            pass
    finally:
        over.set()
        thread.join()
    assert Path(url).exists()


def _hold_as_nobody(place: str, pipe: Connection) -> None:
    os.setuid(65534)
    with Lock(Storage(), place, ["photo"]).held():
        pipe.send("held")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_claim_that_may_not_be_removed_is_in_nobodys_way() -> None:
    """Such as that of another user's run that was killed, in a folder of all like `/tmp`."""
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        with _other_run(place):
            (path,) = (Path(place) / "_nightlift" / "locks").iterdir()
            for folder in path.parents[:2]:
                folder.chmod(0o1777)
        here, there = FORKS.Pipe()
        process = FORKS.Process(target=_hold_as_nobody, args=(place, there), daemon=True)
        process.start()
        there.close()
        assert here.recv() == "held"
        process.join()
        assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_of_runs_that_begin_at_the_same_moment_one_at_a_time_goes_on(place: str) -> None:
    runs = 4 if "://" in place else 8
    at_once, holding, most, refused = Barrier(runs), set[int](), list[int](), list[Busy]()

    def run(number: int) -> None:
        at_once.wait()
        try:
            with Lock(Storage(), place, ["photo"]).held():
                holding.add(number)
                time.sleep(0.3)
                most.append(len(holding))
                holding.remove(number)
        except Busy as error:
            refused.append(error)

    threads = [Thread(target=run, args=(number,)) for number in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(most) + len(refused) == runs


def _taken_over(folder: Path) -> None:
    _of_another_machine(str(folder))
    for path in (folder / "_nightlift" / "locks").iterdir():
        if path.name != "0.json":
            path.unlink()


@pytest.mark.parametrize(("happens", "lost"), [(_taken_over, True), (lambda folder: None, False)])
def test_a_run_that_another_one_took_over_from_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], None], lost: bool
) -> None:
    monkeypatch.setattr(lock, "RENEW_S", 0.05)
    own = Lock(Storage(), str(tmp_path), ["photo"])
    with own.held():
        happens(tmp_path)
        time.sleep(0.5)
        with pytest.raises(Stopped, match="elsewhere") if lost else ExitStack():
            own.check()
    left = list((tmp_path / "_nightlift" / "locks").iterdir())
    assert [path.name for path in left] == ["0.json"] * lost


def test_a_run_that_could_not_remove_its_claim_is_in_no_later_ones_way(tmp_path: Path) -> None:
    """Such as one whose keys have expired, in a process that goes on."""
    with Lock(Storage(), str(tmp_path), ["photo"]).held():
        (path,) = (tmp_path / "_nightlift" / "locks").iterdir()
        content = path.read_bytes()
    path.write_bytes(content)
    with Lock(Storage(), str(tmp_path), ["photo"]).held():
        assert not path.exists()
