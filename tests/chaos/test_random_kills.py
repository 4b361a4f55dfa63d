"""Workers and drivers killed at random moments, many times over: what comes out is as if nothing had happened."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from jobs.cli import main
from pipeline.storage.storage import Storage
from tests.support.clips import Sound, clip, streets
from tests.support.counts import count
from tests.support.dying_workers import dying_workers
from tests.support.killed import HANGS_S, ROOT, killed_once
from tests.support.outputs import files_below, rows_of, tree, whole

SEED = 20_261_125
PHOTOS = count(60, 150)
SUFFIXES = (".jpg", ".png", ".webp")
FAST = ("--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark photos in five folders."""
    folder = tmp_path_factory.mktemp("photos")
    night = np.random.default_rng(5).integers(0, 50, (60, 80, 3), dtype=np.uint8)
    for number in range(PHOTOS):
        path = folder / str(number % 5) / f"{number:03d}{SUFFIXES[number % 3]}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.tile(np.roll(night, number, 0), (5, 5, 1))).save(path)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips with sound, of six segments each."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(3):
        (folder / f"{seed}.mp4").write_bytes(clip(streets(60, seed=seed), extras=Sound(seconds=2.4)))
    return folder


def _is_as_if_nothing_had_happened(out: Path, undisturbed: dict[str, bytes]) -> None:
    assert tree(out) == undisturbed  # which leaves no room for files half-written
    assert Storage().unfinished(str(out)) == []
    newest = {row["source"]: row["outcome"] for row in rows_of(out)}
    assert Counter(newest.values()) == {"done": len(undisturbed)}


@pytest.mark.slow
@pytest.mark.parametrize("topology", count(["split"], ["fused", "split"]))
def test_workers_that_die_cost_no_photo(
    photos: Path, undisturbed: dict[str, bytes], tmp_path: Path, topology: str
) -> None:
    kills = count(4, 30)
    job = ["images", str(photos), str(tmp_path), "--topology", topology, "--workers", "2"]
    with dying_workers(SEED, kills, pause_s=0.5) as dead:
        status = main(job)
    assert len(dead) >= kills // 2
    assert len(rows_of(tmp_path)) == len(undisturbed)
    failed = {row["code"] for row in rows_of(tmp_path) if row["outcome"] == "failed"}
    assert (status, failed) in ((0, set()), (1, {"worker_died"}))
    if failed:  # a photo that was hit again and again; the next run does it
        assert main(job) == 0
    _is_as_if_nothing_had_happened(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_workers_that_die_cost_no_video(clips: Path, tmp_path: Path) -> None:
    straight, out = tmp_path / "straight", tmp_path / "out"
    assert main(["videos", str(clips), str(straight), *FAST]) == 0
    with dying_workers(SEED, count(4, 12), pause_s=1.5) as dead:
        status = main(["videos", str(clips), str(out), *FAST, "--workers", "2"])
    assert len(dead) >= 2
    assert status == 0
    assert len(rows_of(out)) == 3
    assert not (out / "_nightlift" / "segments").exists()
    _is_as_if_nothing_had_happened(out, tree(straight))


@pytest.mark.slow
def test_a_driver_killed_again_and_again_comes_through(photos: Path, undisturbed: dict[str, bytes]) -> None:
    """It is killed while Ray starts, while photos are done, and while the manifest is closed, with all its workers."""
    rng = Random(SEED)
    with tempfile.TemporaryDirectory(prefix="n") as folder:  # Ray's sockets allow no long path
        out, temporary = Path(folder) / "out", Path(folder) / "t"
        temporary.mkdir()
        job = [sys.executable, "-m", "jobs.images", str(photos), str(out), "--workers", "2"]
        recorded: set[object] = set()
        for kill in range(count(1, 30)):
            at_work = kill % 2 == 0  # for sure
            moment = time.monotonic() + (0 if at_work else rng.uniform(0, 15))
            enough = rng.randint(PHOTOS // 4, PHOTOS // 2) if at_work else 0

            def ready(moment: float = moment, enough: int = enough) -> bool:
                return time.monotonic() > moment and len(whole(out)) >= enough

            killed_once(job, out.with_suffix(".log"), ready, TMPDIR=str(temporary))
            assert kill or enough <= len(whole(out)) < PHOTOS  # the first kill came while there was work
            sources = {row["source"] for row in rows_of(out)} if any((out / "_nightlift").glob("manifest/*")) else set()
            assert recorded <= sources
            assert {Path(str(source)).name for source in sources} <= {path.name for path in whole(out)}
            recorded = sources
            assert all(path.read_bytes() == undisturbed[str(path.relative_to(out))] for path in whole(out))
        environment = {**os.environ, "TMPDIR": str(temporary)}
        done = subprocess.run(
            job, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_S, check=False
        )
        assert done.returncode == 0, done.stderr
        assert len(rows_of(out)) == len(undisturbed)  # what had its row was not done again
        _is_as_if_nothing_had_happened(out, undisturbed)
        assert [path for path in files_below(temporary) if "ray" not in path.parts] == []
