"""A destination without room, or that cannot be written: told in plain words, nothing half-written, and made good."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.bulk.summary import HOPELESS
from jobs.cli import main
from pipeline.flow.photos import FusedWorker, PhotoFlow
from pipeline.photos import EncodeAndWrite, PhotoWork
from pipeline.storage.storage import Storage
from tests.support.clips import clip, streets
from tests.support.outputs import files_below, rows_of, tree

SMALL_PX, LARGE_PX = 40, 1000  # of square photos of noise: some KB, some MB
FILLER = "filler"


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of its own."""

    folder: Path

    def resize(self, kilobytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(self.folder)], check=True)

    def fill(self) -> None:
        """To the last byte."""
        with (self.folder / FILLER).open("ab", buffering=0) as file:
            for size in (1 << 16, 1):
                while True:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        break


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a disk of its own ({mounted.stderr.strip()})")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty small ones, and two that are larger than the disk."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deep").mkdir()
    for number in range(22):
        size = LARGE_PX if number in (3, 8) else SMALL_PX
        noise = np.random.default_rng(number).integers(0, 60, (size, size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / ("deep" if number % 2 else "") / f"{number}.png")
    return folder


def test_photos_that_do_not_fit_are_named_and_done_once_there_is_room(
    photos: Path, undisturbed: dict[str, bytes], disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    out = disk.folder / "out"
    assert main(["images", str(photos), str(out)]) == 1
    printed = capsys.readouterr().out
    assert "photos: 20 done, 2 failed" in printed
    failed = [str(row["message"]) for row in rows_of(out) if row["outcome"] == "failed"]
    assert len(failed) == 2
    for message in failed:
        assert "No space left on device" in message
        assert message.endswith("free some space and run again")
        assert message in printed
    assert len(tree(out)) == 20
    assert Storage().unfinished(str(out)) == []
    disk.resize(20_000)
    assert main(["images", str(photos), str(out)]) == 0
    assert tree(out) == undisturbed
    assert len(rows_of(out)) == 24


class FillsTheDisk(EncodeAndWrite):
    """Somebody else does, once the first photo is there."""

    def __call__(self, work: PhotoWork) -> PhotoWork:
        done = super().__call__(work)
        root = next(folder for folder in Path(work.record.destination).parents if folder.name == "disk")
        Disk(root).fill()
        return done


class FillingWorker(FusedWorker):
    def __init__(self, flow: PhotoFlow) -> None:
        super().__init__(flow)
        self.develop.step = replace(self.develop.step, encode=FillsTheDisk(flow.storage, flow.settings))


def test_a_manifest_that_does_not_fit_is_told_and_its_files_are_done_again(
    photos: Path, undisturbed: dict[str, bytes], disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out = disk.folder / "out"
    with monkeypatch.context() as filled:
        filled.setattr("pipeline.flow.photos.FusedWorker", FillingWorker)
        assert (
            main(["images", str(photos), str(out), "--limit", str(HOPELESS - 5), "--workers", "2"]) == 1
        )  # not stopped
    told = capsys.readouterr().err.splitlines()
    assert len([line for line in told if "the manifest cannot be written now" in line]) <= 1
    assert "rows of the manifest could not be written" in told[-1]
    assert "free some space and run again" in told[-1]
    assert [path for path in files_below(out) if path.name.startswith(".")] == []
    (disk.folder / FILLER).unlink()
    disk.resize(20_000)
    assert main(["images", str(photos), str(out)]) == 0
    assert tree(out) == undisturbed
    newest = {row["source"]: row["outcome"] for row in rows_of(out)}
    assert list(newest.values()) == ["done"] * 22


@pytest.mark.usefixtures("ray_session")
def test_a_video_whose_segments_do_not_fit_is_named_and_done_once_there_is_room(disk: Disk, tmp_path: Path) -> None:
    source, out = tmp_path / "in", disk.folder / "out"
    source.mkdir()
    disk.resize(200)
    (source / "small.mp4").write_bytes(clip(streets(12)))
    noise = [np.random.default_rng(number).integers(0, 80, (120, 160, 3), dtype=np.uint8) for number in range(20)]
    (source / "large.mp4").write_bytes(clip(noise))
    job = ["videos", str(source), str(out), "--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32"]
    assert main([*job, "--workers", "1"]) == 1
    rows = {Path(str(row["source"])).name: row for row in rows_of(out)}
    assert rows["small.mp4"]["outcome"] == "done"
    assert (rows["large.mp4"]["outcome"], rows["large.mp4"]["code"]) == ("failed", "no_room")
    assert "free some space and run again" in str(rows["large.mp4"]["message"])
    assert list(tree(out)) == ["small.mp4"]
    assert Storage().unfinished(str(out)) == []
    disk.resize(20_000)
    assert main(job) == 0
    assert main([*job[:2], str(tmp_path / "straight"), *job[3:]]) == 0
    assert tree(out) == tree(tmp_path / "straight")
    assert not (out / "_nightlift" / "segments").exists()


@pytest.mark.parametrize("full", [False, True])
def test_a_destination_that_takes_nothing_is_found_before_work_begins(
    photos: Path, disk: Disk, full: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if full:
        disk.fill()
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
    assert main(["images", str(photos), str(disk.folder / "out")]) == 2
    told = capfd.readouterr().err
    assert "starting" not in told
    reason = "No space left on device" if full else "Read-only file system"
    assert reason in told.splitlines()[-1]
    assert os.listdir(disk.folder) in ([], [FILLER], ["out", FILLER], [FILLER, "out"])  # noqa: PTH208
