"""Runs that stay: what is new is done in rounds, until a signal ends them."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from jobs.bulk import config, finish, rounds
from jobs.bulk.rounds import Watch
from jobs.cli import main
from pipeline.planning.plan import Plan
from pipeline.records import Outcome, Place, Record
from pipeline.storage.storage import Storage
from tests.support.killed import wait_until
from tests.support.outputs import rows_of, tree

NIGHT = np.random.default_rng(5).integers(0, 50, (60, 80, 3), dtype=np.uint8)
QUICKLY = ["--no-report", "--every", "0.2s"]


@contextmanager
def _beside(work: Callable[[], None]) -> Iterator[None]:
    """Do something while the body runs, and end it by SIGTERM; raise what that raised."""
    problems = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            problems.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = Thread(target=run)
    thread.start()
    yield
    thread.join()
    if problems:
        raise problems[0]


def _photo(path: Path) -> bytes:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.roll(NIGHT, len(path.name), 0)).save(path)
    return path.read_bytes()


def _rows(out: Path) -> list[tuple[str, str]]:
    return [(Path(str(row["source"])).name, str(row["code"] or row["outcome"])) for row in rows_of(out)]


def test_a_run_that_stays_does_what_is_new_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rounds, "SETTLED_S", 0.5)
    monkeypatch.setattr(rounds, "LEAST_PAUSE_S", 0.1)
    monkeypatch.setattr(config, "LEAST_EVERY_S", 0.2)
    source, out, told = tmp_path / "in", tmp_path / "out", tmp_path / "told"
    _photo(source / "a.png")
    (source / "bad.jpg").write_bytes(b"no photo")
    (source / "notes.txt").write_text("a file of another kind")
    content = _photo(tmp_path / "whole.png")

    def summaries() -> list[dict[str, object]]:
        return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []

    def rounds_more(count: int) -> None:
        wanted = len(summaries()) + count
        wait_until(lambda: len(summaries()) >= wanted, within=60)

    def happens() -> None:
        wait_until((out / "a.png").exists, within=60)
        with (source / "growing.png").open("wb") as file:  # for a second, some rounds
            for start in range(0, len(content), len(content) // 10):
                file.write(content[start : start + len(content) // 10])
                file.flush()
                time.sleep(0.1)
        (source / "upload.tmp").write_bytes(b"is gone soon")
        (source / "upload.tmp").unlink()
        wait_until((out / "growing.png").exists, within=60)
        source.rename(tmp_path / "away")
        rounds_more(3)
        (tmp_path / "away").rename(source)
        _photo(source / "late.png")
        wait_until((out / "late.png").exists, within=60)
        rounds_more(2)

    with _beside(happens):
        status = main(["images", str(source), str(out), *QUICKLY, "--on-finish", f"cat >> {told}; echo >> {told}"])
    assert status == 143
    assert main(["images", str(tmp_path / "whole.png"), str(tmp_path / "expected.png"), "--no-report"]) == 0
    assert tree(out)["growing.png"] == (tmp_path / "expected.png").read_bytes()
    assert sorted(_rows(out)) == [
        ("a.png", "done"),
        ("bad.jpg", "not_media"),
        ("growing.png", "done"),
        ("late.png", "done"),
        ("notes.txt", "not_a_photo"),
    ]
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "1 photo done" in line]) == 3, lines
    assert len([line for line in lines if "nothing is there; check the path; trying again in 0.2s" in line]) == 1
    assert len([line for line in lines if "the problem is over" in line]) == 1
    assert len(lines) < len(summaries())
    codes = [each["code"] for each in summaries()]
    assert {*codes} == {None, "not_found"}
    assert codes.count("not_found") >= 2
    assert sum(int(str(each["done"])) for each in summaries()) == 3


def test_a_signal_ends_the_wait_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _photo(tmp_path / "in" / "a.png")
    os.utime(tmp_path / "in" / "a.png", (0, 0))
    out, command = tmp_path / "out", ["images", str(tmp_path / "in"), str(tmp_path / "out"), "--no-report"]

    def happens() -> None:
        wait_until(lambda: (out / "told").exists() and (out / "told").read_text().endswith("\n"), within=60)

    out.mkdir()
    began = time.monotonic()
    with _beside(happens):
        assert main([*command, "--every", "1d", "--on-finish", f"cat >> {out}/told; echo >> {out}/told"]) == 143
    assert time.monotonic() - began < 3600
    first, last = map(json.loads, (out / "told").read_text().splitlines())
    assert (first["state"], first["done"], first["exit_status"]) == ("done", 0, 0)
    assert (last["state"], last["done"], last["exit_status"]) == ("stopped", 0, 143)
    assert (first["round"], last["round"], last["source"]) == (1, 1, str(tmp_path / "in"))
    assert "run the same command again to continue" in capsys.readouterr().err


@pytest.mark.parametrize("every", ["10", "x", "5w", "-1m", "0s", "400d", "m", ""])
def test_a_time_that_is_none_is_told(every: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", str(tmp_path), str(tmp_path / "out"), f"--every={every}"]) == 2
    assert "--every" in capsys.readouterr().err


def test_what_is_wrong_from_the_beginning_ends_a_run_that_would_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _photo(tmp_path / "a.png")
    assert main(["images", str(tmp_path), str(tmp_path), "--every", "1s"]) == 2
    assert "source and destination are the same" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["--weights", "none.safetensors"], ["--format", "xyz"], ["--storage-options", "{"], ["--every", "1s"]]
)
def test_a_wrong_command_line_is_no_end_of_a_run(
    wrong: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    dst = "." if "--every" in wrong else "out"
    assert main(["images", ".", dst, *wrong, "--on-finish", "touch told", "--log-format", "json"]) == 2
    assert not list(tmp_path.iterdir())
    assert "summary" not in capsys.readouterr().err


def test_a_round_that_only_fails_again_takes_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rounds, "SETTLED_S", 0.0)
    monkeypatch.setattr(config, "LEAST_EVERY_S", 0.1)
    monkeypatch.setattr(rounds, "LEAST_PAUSE_S", 0.1)
    (tmp_path / "in").mkdir()
    _photo(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("a file where a folder has to be")
    job = ["images", str(tmp_path / "in"), str(tmp_path / "out"), "--no-report", "--every=0.1s"]
    told = tmp_path / "told"

    def happens() -> None:
        wait_until(lambda: told.exists() and len(told.read_text()) >= 5, within=60)

    with _beside(happens):
        assert main([*job, "--log-format=json", "--on-finish", f"printf . >> {told}"]) == 143
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    each_round = [line["message"].partition(",")[0] for line in lines if "round" in line]
    assert each_round[:3] == ["round 1: 1 photo failed", "round 2: 1 photo failed", "round 4: 1 photo failed"]
    assert len([line for line in lines if line["message"].startswith("failed, ")]) == 1
    assert [line["summary"]["state"] for line in lines if "summary" in line] == ["some_failed", "stopped"]
    assert len([line for line in lines if line["message"].startswith("listing ")]) == 1


def _planned(watch: Watch, *records: Record) -> list[str]:
    watch.begin()
    plan = Plan(records=list(records))
    watch.choose([plan])
    watch.end()
    return [Path(record.source).name for record in plan.records]


def test_a_file_that_fails_is_tried_again_less_and_less_often_until_it_changes() -> None:
    """One that is bad in itself, only once it has changed."""
    watch = Watch(3600)
    bad, late = (
        Record(source=f"s3://in/{name}", version="1", size_bytes=1, destination="") for name in ("bad.jpg", "late.jpg")
    )
    tried = {"bad.jpg": [], "late.jpg": []}
    for number in range(60):
        for name in _planned(watch, bad, late):
            tried[name].append(number)
            code = "damaged" if name == "bad.jpg" else "timed_out"
            watch.note(Outcome(source=f"s3://in/{name}", version="1", destination="", outcome="failed", code=code))
    assert tried == {"bad.jpg": [0], "late.jpg": [0, 1, 3, 7, 15, 31, 55]}
    changed = Record(source="s3://in/bad.jpg", version="2", size_bytes=1, destination="")
    assert _planned(watch, changed) == ["bad.jpg"]


def test_photos_of_a_sequence_are_not_done_again_for_one_that_is_still_written(tmp_path: Path) -> None:
    (tmp_path / "3.jpg").touch()
    urls = (*(f"s3://in/{number}.jpg" for number in range(3)), str(tmp_path / "3.jpg"))
    done, new, growing = (
        Record(source=url, version="", size_bytes=0, destination="", known_bytes=size, place=Place(urls, rank))
        for rank, (url, size) in enumerate(zip(urls, (0, 9, 0, 0), strict=True))
        if rank
    )
    assert _planned(Watch(3600), done, new, growing) == ["2.jpg"]
    assert _planned(Watch(3600), done, new) == ["1.jpg", "2.jpg"]


def test_a_file_that_is_put_back_in_time_is_whole_once_it_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of another machine may have another clock: then only what two rounds saw counts."""
    monkeypatch.setattr(rounds, "SETTLED_S", 0.2)
    monkeypatch.setattr(rounds.time, "time", lambda: 0.0)  # all files are of the future
    path, watch = tmp_path / "a.png", Watch(1)

    def planned() -> list[str]:
        version = Storage().version(str(path))
        return _planned(watch, Record(source=str(path), version=version, size_bytes=1, destination=""))

    path.write_bytes(b"a")
    assert planned() == []
    path.write_bytes(b"ab")
    time.sleep(0.3)
    assert planned() == []
    assert planned() == []
    time.sleep(0.3)
    assert planned() == ["a.png"]


def test_the_command_at_the_end_gets_what_became_of_the_run_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "LIMIT_S", 1.0)
    source, out, told = tmp_path / "in", tmp_path / "out", tmp_path / "told"
    _photo(source / "a.png")
    (source / "bad.jpg").write_bytes(b"no photo")
    job = ["images", str(source), str(out), "--no-report", "--price", "0.05"]
    assert main([*job, "--dry-run", "--on-finish", f"cat > {told}"]) == 0
    assert not told.exists()
    assert main([*job, "--on-finish", f"cat > {told}; exit 3"]) == 1
    summary = json.loads(told.read_text())
    assert (summary["state"], summary["exit_status"], summary["done"], summary["failed"]) == ("some_failed", 1, 1, 1)
    assert [(Path(each["source"]).name, each["code"]) for each in summary["failed_files"]] == [("bad.jpg", "not_media")]
    assert (summary["destination"], summary["manifest"]) == (str(out), f"{out}/_nightlift/manifest")
    assert {row["run"] for row in rows_of(out)} == {summary["kinds"][0]["run"]}
    assert summary["cost"] == pytest.approx(summary["core_seconds"] / 3600 * 0.05, abs=1e-6)
    assert "--on-finish ended with status 3" in caplog.text
    assert main(["images", str(tmp_path / "none"), str(out), "--on-finish", f"cat > {told}"]) == 2
    summary = json.loads(told.read_text())
    assert (summary["state"], summary["code"], summary["exit_status"]) == ("error", "not_found", 2)
    assert main([*job, "--on-finish", f"sleep 600 & echo $! > {told}; wait"]) == 1
    assert "--on-finish took longer than 1 second and was killed" in caplog.text
    wait_until(lambda: not Path(f"/proc/{told.read_text().strip()}").exists(), within=10)
    assert not Path(f"/proc/{told.read_text().strip()}").exists()
