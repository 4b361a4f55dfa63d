"""Files that are done without Ray: the same outcomes and files, and the same safety from what kills a worker."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from jobs.bulk.here import Child, is_too_little_for_ray, may_be_done_here, outcomes_here
from jobs.bulk.job import Job
from jobs.cli import main
from jobs.images import PHOTO_MEDIA, ImagesConfig
from jobs.videos import VIDEO_MEDIA, VideosConfig
from pipeline.errors import ClusterError
from pipeline.flow.attempts import ATTEMPTS
from pipeline.planning.plan import Plan
from pipeline.records import Outcome, Record
from tests.support.clips import clip, streets
from tests.support.counts import count
from tests.support.killed import ROOT, wait_until
from tests.support.outputs import rows_of, tree

NIGHT = np.random.default_rng(5).integers(0, 50, (60, 80, 3), dtype=np.uint8)
WITHOUT_RAY = """
import sys
from jobs.cli import main
status = main(sys.argv[1:])
print("ray" in sys.modules)
sys.exit(status)
"""


def _photos(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        Image.fromarray(NIGHT).save(folder / name)
    return folder


def test_a_few_files_are_enhanced_without_ray(tmp_path: Path) -> None:
    source, out = _photos(tmp_path / "in", "a.png", "b.jpg"), tmp_path / "out"
    (source / "broken.jpg").write_bytes(b"no photo")
    (source / "street.mp4").write_bytes(clip(streets(12), rate=25))
    command = [sys.executable, "-c", WITHOUT_RAY, "enhance", str(source), str(out), "--no-report"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
    assert {Path(str(row["source"])).name: row["outcome"] for row in rows_of(out)} == {
        "a.png": "done",
        "b.jpg": "done",
        "broken.jpg": "failed",
        "street.mp4": "done",
    }
    assert not (out / "_nightlift" / "segments").exists()


@pytest.mark.usefixtures("ray_session")
def test_files_are_those_that_ray_gives(tmp_path: Path) -> None:
    source = _photos(tmp_path / "in", "a.png", "b.jpg")
    (source / "street.mp4").write_bytes(clip(streets(12), rate=25))
    for name, flags in (("here", []), ("ray", ["--workers", "1"])):
        assert main(["enhance", str(source), str(tmp_path / name), "--preset", "ultrafast", *flags]) == 0
    assert tree(tmp_path / "here") == tree(tmp_path / "ray")


Photos = Callable[[Record, Callable[[], None]], Outcome]


def _deadly(make: Callable[[], Photos], harm: Callable[[], None]) -> Photos:
    """A worker of photos, to which those that are named poison do harm."""
    enhance = make()

    def work(record: Record, on_part: Callable[[], None]) -> Outcome:
        if "poison" in record.source:
            harm()
        return enhance(record, on_part)

    return work


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    time.sleep(1000)


def _fail() -> None:
    raise RuntimeError("no network")


@pytest.mark.parametrize(
    ("harm", "flags", "code", "attempts"),
    [(_die, [], "worker_died", ATTEMPTS), (_hang, ["--time-limit", "10"], "timed_out", 1)],
    ids=["dies", "hangs"],
)
def test_a_photo_that_kills_or_keeps_its_worker_is_named_and_costs_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[], None],
    flags: list[str],
    code: str,
    attempts: int,
) -> None:
    source, out = _photos(tmp_path / "in", "a.png", "poison.png", "z.png"), tmp_path / "out"
    main(["images", str(source), str(tmp_path / "before")])  # loops may be compiled yet, which takes longer than 10 s
    media = replace(PHOTO_MEDIA, worker=lambda job: partial(_deadly, PHOTO_MEDIA.worker(job), harm))
    monkeypatch.setattr("jobs.images.PHOTO_MEDIA", media)
    assert main(["images", str(source), str(out), *flags]) == 1
    rows = {Path(str(row["source"])).name: (row["outcome"], row["code"], row["attempts"]) for row in rows_of(out)}
    assert rows == {"a.png": ("done", "", 1), "poison.png": ("failed", code, attempts), "z.png": ("done", "", 1)}
    assert tree(out).keys() == {"a.png", "z.png"}


def test_a_child_that_died_between_two_files_or_jobs_is_replaced(tmp_path: Path) -> None:
    source = _photos(tmp_path / "in", "a.png", "b.png")
    config = ImagesConfig(src=str(source), dst=str(tmp_path / "out"))
    job, child = Job.of(PHOTO_MEDIA, config, config.checkpoint()), Child()
    try:
        for record in job.plan().records:
            child.take_up(job)
            assert child.outcome(record).outcome == "done"
            for process in multiprocessing.active_children():
                process.kill()
                process.join()
    finally:
        child.end()


def test_a_worker_that_cannot_be_made_ends_the_job(tmp_path: Path) -> None:
    source = _photos(tmp_path / "in", "a.png")
    config = ImagesConfig(src=str(source), dst=str(tmp_path / "out"))
    job = Job.of(replace(PHOTO_MEDIA, worker=lambda job: _fail), config, config.checkpoint())
    with pytest.raises(ClusterError, match=r"no worker can be started \(RuntimeError: no network\)"):
        list(outcomes_here(Child(), job, job.plan()))


SLOW = """
import sys
from jobs.cli import main
from tests.jobs.bulk.test_here import slow_worker
from dataclasses import replace
from jobs import images
images.PHOTO_MEDIA = replace(images.PHOTO_MEDIA, worker=slow_worker)
sys.exit(main(sys.argv[1:]))
"""


def slow_worker(job: Job) -> Callable[[], Photos]:
    return partial(_deadly, PHOTO_MEDIA.worker(job), partial(time.sleep, 2))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, *count([], [signal.SIGTERM])])
def test_nothing_outlives_a_job_that_is_killed_or_stopped(tmp_path: Path, number: int) -> None:
    names = [f"poison{index}.png" for index in range(10)]
    source, out = _photos(tmp_path / "in", *names), tmp_path / "out"
    job = [sys.executable, "-c", SLOW, "images", str(source), str(out), "--no-report"]
    with subprocess.Popen(
        job, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_until(lambda: len(list(out.glob("*.png"))) >= 2, process)  # so the first has its row
        children = psutil.Process(process.pid).children(recursive=True)
        if number == signal.SIGINT:  # as a terminal sends it: to the child as well
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, told = process.communicate()
    psutil.wait_procs(children, timeout=60)
    assert not [child for child in children if child.is_running()]
    if number != signal.SIGKILL:
        assert told.splitlines()[-1] == "nightlift: stopped; run the same command again to continue"
        assert len(rows_of(out)) < len(names)
    assert main(["images", str(source), str(out)]) == 0
    assert tree(out).keys() == set(names)


@pytest.mark.parametrize(
    ("flags", "sizes", "expected"),
    [
        ({}, [5_000_000], True),
        ({}, [5_000_000] * 10, False),
        ({}, [1000] * 100, True),
        ({}, [1000] * 10_000, False),
        ({"format": "avif"}, [5_000_000], False),
        ({"workers": 1}, [1000], False),
        ({"topology": "split"}, [1000], False),
        ({"workers_per_core": 2}, [1000], False),
        ({"device": "cuda"}, [1000], False),
    ],
)
def test_only_what_is_done_before_ray_would_have_started(
    flags: dict[str, object], sizes: list[int], expected: bool
) -> None:
    config = ImagesConfig(src="in", dst="out", **flags)  # type: ignore[arg-type]
    suffix = config.format_name or "jpg"
    records = [Record(source="a", version="", size_bytes=size, destination=f"a.{suffix}") for size in sizes]
    job = Job.of(PHOTO_MEDIA, config, config.checkpoint())
    done_here = may_be_done_here(config) and is_too_little_for_ray([job], [Plan(records=records)])
    assert done_here == expected


def _video(path: Path, size: tuple[int, int], frames: int, level: int) -> None:
    """Write frames of noise; of level 0 they are black and take few bytes."""
    noise = np.random.default_rng(5).integers(0, 1 + level, (size[1], size[0], 3), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            output.mux(stream.encode(VideoFrame.from_ndarray(np.roll(noise, 7 * number, 0))))
        output.mux(stream.encode())


@pytest.mark.parametrize(
    ("size", "frames", "level", "expected"), [((320, 240), 12, 255, True), ((640, 360), 400, 0, False)]
)
def test_a_video_is_long_by_its_frames_not_by_its_bytes(
    tmp_path: Path, size: tuple[int, int], frames: int, level: int, expected: bool
) -> None:
    _video(tmp_path / "a.mp4", size, frames, level)
    config = VideosConfig(src=str(tmp_path), dst=str(tmp_path / "out"))
    job = Job.of(VIDEO_MEDIA, config, config.checkpoint())
    plan = job.plan()
    assert (plan.bytes_in > 1_300_000) == expected
    assert is_too_little_for_ray([job], [plan]) == expected


def test_a_video_that_tells_no_length_counts_by_its_bytes_and_a_cluster_that_is_named_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = VideosConfig(src="in", dst="out")
    job = Job.of(VIDEO_MEDIA, config, config.checkpoint())
    short, long = (
        Plan(records=[Record(source="a.mp4", version="", size_bytes=size, destination="a.mp4")])
        for size in (300_000, 30_000_000)
    )
    assert is_too_little_for_ray([job], [short]) and not is_too_little_for_ray([job], [long])
    assert may_be_done_here(config)
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:1")
    assert not may_be_done_here(config)


def test_the_first_run_says_that_it_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = _photos(tmp_path / "in", "a.png")
    for has, told in ((False, 1), (True, 0)):
        monkeypatch.setattr("jobs.bulk.run.has_machine_code", lambda has=has: has)
        caplog.clear()
        assert main(["images", str(source), str(tmp_path / f"out{told}"), "--no-report"]) == 0
        assert caplog.text.count("compiling the curve for this machine") == told


def test_a_job_that_cannot_begin_names_no_places_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    assert main(["images", str(_photos(tmp_path / "in", "a.png")), str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert "manifest:" not in told.out
    assert "1 left" in told.out
    assert "RAY_ADDRESS=127.0.0.1:1: no cluster answers" in told.err
    assert "RAY_AUTH_TOKEN" not in told.err
