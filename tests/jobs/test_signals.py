"""Jobs told to end: by Ctrl-C and SIGHUP, as a terminal sends to all processes, and by SIGTERM to the job alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import signals
from jobs.cli import main
from jobs.signals import HungUp, Terminated, check_not_stopped, forget_signals, heed_signals
from pipeline.storage.storage import Storage
from pipeline.storage.writing import PART_SUFFIX
from tests.support.clips import clip, streets
from tests.support.counts import count
from tests.support.killed import HANGS_S, ROOT, wait_until
from tests.support.outputs import files_below, rows_of, tree
from tests.support.slow_photos import slow_images

PHOTOS = 40
GONE_S = 10.0  # within which nothing of a job is left


def _stopped(
    job: Sequence[str], ready: Callable[[], bool], stop: Callable[[int], None]
) -> subprocess.CompletedProcess[str]:
    """What a job said that was stopped once it was ready."""
    process = subprocess.Popen(
        job, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_until(ready, process)
        with suppress(ProcessLookupError):  # it is over; its status and what it said tell why
            stop(process.pid)
        out, told = process.communicate(timeout=HANGS_S)
        deadline = time.monotonic() + GONE_S
        while (left := _in_session(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not left, "processes that outlived the job"
        return subprocess.CompletedProcess(job, process.returncode, out, told)
    finally:
        process.kill()
        process.wait()


def _in_session(session: int) -> list[str]:
    """Command lines of the processes in a session that this one is not in."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(place.name)) == session and (command := (place / "cmdline").read_text()):
                found.append(command)
    return found


def _hang_up(process: int) -> None:
    os.killpg(process, signal.SIGHUP)


def _interrupt(process: int) -> None:
    os.killpg(process, signal.SIGINT)


def _terminate(process: int) -> None:
    os.kill(process, signal.SIGTERM)


@pytest.mark.slow
def test_a_stopped_photo_job_says_what_is_done_and_the_next_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    dark = np.random.default_rng(5).integers(0, 50, (60, 80, 3), dtype=np.uint8)
    for number in range(PHOTOS):
        Image.fromarray(np.roll(dark, number, 0)).save(source / f"{number:03}.png")
    slow_job = slow_images(0.5, str(source), str(out), "--workers", "2")
    done = 0
    for stop, status in count([(_interrupt, 130)], [(_interrupt, 130), (_hang_up, 129)]):
        before, parts = done, _parts(out)
        stopped = _stopped(slow_job, lambda parts=parts: not _parts(out) <= parts, stop)
        assert stopped.returncode == status, stopped.stderr
        assert "run the same command again to continue" in stopped.stderr.splitlines()[-1]
        assert "Traceback" not in stopped.stderr
        done = len(rows_of(out))
        assert before < done < PHOTOS
        assert f"photos: {done - before} done" in stopped.stdout
        assert f"{PHOTOS - done} left" in stopped.stdout
        assert Storage().unfinished(str(out)) == []
        assert {Path(str(row["destination"])).name for row in rows_of(out)} <= tree(out).keys()
    assert main(["images", str(source), str(out)]) == 0
    assert f"by earlier runs: {done} done" in capsys.readouterr().out
    assert sorted(Path(str(row["source"])).name for row in rows_of(out)) == [f"{each:03}.png" for each in range(PHOTOS)]
    assert {row["outcome"] for row in rows_of(out)} == {"done"}


def _parts(out: Path) -> set[str]:
    return {path.name for path in files_below(out / "_nightlift" / "manifest") if path.suffix == ".parquet"}


@pytest.mark.slow
def test_a_job_may_be_stopped_while_ray_starts(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(source / "a.png")
    job = [sys.executable, "-m", "jobs.images", str(source), str(out), "--workers", "1"]
    stopped = _stopped(job, lambda: len(files_below(out / "_nightlift" / "runs")) > 0, _terminate)
    assert stopped.returncode == 143, stopped.stderr
    assert "run the same command again to continue" in stopped.stderr.splitlines()[-1]
    assert "1 left" in stopped.stdout


@pytest.mark.slow
def test_a_job_may_be_stopped_after_ray_has_ended(tmp_path: Path) -> None:
    source, began = tmp_path / "in", tmp_path / "began"
    source.mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(source / "a.png")
    flags = ["--workers", "1", "--no-report", "--on-finish", f"echo > {began}; sleep 60"]
    job = [sys.executable, "-m", "jobs.images", str(source), str(tmp_path / "out"), *flags]
    stopped = _stopped(job, began.exists, _terminate)
    assert stopped.returncode == 143
    assert "run the same command again to continue" in stopped.stderr.splitlines()[-1]
    assert "photos: 1 done" in stopped.stdout


def _segments(out: Path) -> list[Path]:
    files = files_below(out / "_nightlift" / "segments")
    return [path for path in files if not path.name.endswith(PART_SUFFIX)]


def test_a_stopped_video_job_keeps_its_segments(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "one.mp4").write_bytes(clip(streets(100)))
    flags = ["--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32"]
    job = [sys.executable, "-m", "jobs.videos", str(source), str(out), *flags]
    stopped = _stopped(job, lambda: len(_segments(out)) >= 2, _terminate)
    assert stopped.returncode == 143, stopped.stderr
    assert "videos: 0 done in" in stopped.stdout
    assert "1 left" in stopped.stdout
    assert "run the same command again to continue" in stopped.stderr.splitlines()[-1]
    assert Storage().unfinished(str(out)) == []
    assert len(_segments(out)) >= 2


def test_a_notice_that_was_lost_is_raised_again_and_a_second_one_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "LATEST_S", 3600.0)
    forget_signals()
    heed_signals()
    try:
        with suppress(KeyboardInterrupt):  # as an import of compiled code does
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Terminated):
            check_not_stopped()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):  # an impatient Ctrl-C counts
            signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(signals, "ENDING_S", 0.0)
        with pytest.raises(HungUp):
            signal.raise_signal(signal.SIGHUP)
    finally:
        forget_signals()
    check_not_stopped()


def test_a_job_that_does_not_end_leaves_all_the_same() -> None:
    job = (
        "import signal, time; from jobs import signals; signals.UNHEARD_S = signals.LATEST_S = 0.5\n"
        "signals.heed_signals()\ntry: signal.raise_signal(signal.SIGTERM)\nexcept KeyboardInterrupt: time.sleep(60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", job], cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.returncode == 143
    assert "nightlift: stopped without cleaning up, because part of the job did not respond" in done.stderr


def test_a_hangup_that_is_ignored_stays_so() -> None:
    job = (
        "import signal; from jobs.signals import heed_signals; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        "heed_signals(); signal.raise_signal(signal.SIGHUP); print('as under nohup')"
    )
    done = subprocess.run(
        [sys.executable, "-c", job], cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert (done.returncode, done.stdout) == (0, "as under nohup\n")


def _run_alone(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False)


DEAF = """
import ctypes, signal, threading
from jobs import signals
signals.UNHEARD_S = 0.5
signals.heed_signals()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
threading.Timer(2, print, ["deaf"], {"flush": True}).start()  # once the main thread is in there
ctypes.CDLL(None).pause()  # compiled code that no signal reaches: Python's handler never runs
"""


def test_a_process_that_cannot_hear_a_signal_is_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DEAF], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "deaf\n"
        process.send_signal(signal.SIGHUP)
        _, told = process.communicate(timeout=HANGS_S)
    assert process.returncode == 129
    assert told.splitlines()[-1] == "nightlift: stopped without cleaning up, because part of the job did not respond"


FORKED = """
import os, signal, time
from jobs import signals
signals.UNHEARD_S, signals.SLACK_S = 0.5, 0.1
signals.heed_signals()
heard, ready = os.pipe()
if not (child := os.fork()):
    try:
        os.write(ready, b"!")
        time.sleep(60)
    finally:
        os._exit(7)
os.read(heard, 1)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
time.sleep(1.5)
print("alive")
"""


def test_a_signal_to_a_forked_process_does_not_end_the_one_that_forked_it() -> None:
    done = _run_alone(FORKED)
    assert (done.returncode, done.stdout.split()) == (0, ["7", "alive"])
