"""The video job from end to end: real Ray, real clips, a real S3 server, real kills."""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from jobs.cli import main
from pipeline.flow.attempts import ATTEMPTS
from pipeline.flow.videos import SegmentWorker, VideoFlow
from pipeline.segments import SegmentResult
from pipeline.storage.storage import Storage
from pipeline.storage.writing import PART_SUFFIX
from pipeline.video import Segment, VideoInfo
from pipeline.video.writing.encode import available_encoders
from pipeline.videos import EnhanceSegment
from tests.support.clips import Sound, clip, packets, rgb, streets, times
from tests.support.killed import killed_once
from tests.support.outputs import files_below, rows_of, tree

FAST = ("--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32")


def _clips(folder: Path, **frames: int) -> Path:
    """A clip for each name, with a keyframe at every tenth frame, and sound."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate(frames.items()):
        (folder / f"{name}.mp4").write_bytes(clip(streets(count, seed=seed), extras=Sound(seconds=count / 25)))
    return folder


def _segments(folder: Path) -> list[Path]:
    return files_below(folder / "_nightlift" / "segments")


@pytest.mark.usefixtures("ray_session")
def test_a_folder_becomes_the_same_clips_enhanced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = _clips(tmp_path / "in", one=35, two=12), tmp_path / "out"
    (source / "empty.mkv").write_bytes(b"")
    (source / "broken.mp4").write_bytes(b"no video at all")
    (source / "notes.txt").write_text("no video either")
    assert main(["videos", str(source), str(out), *FAST]) == 1
    assert sorted(tree(out)) == ["one.mp4", "two.mp4"]
    assert not (out / "_nightlift" / "segments").exists()
    rows = {Path(str(row["source"])).name: row for row in rows_of(out)}
    assert len(rows) == len(rows_of(out)) == 5
    codes = {name: row["code"] for name, row in rows.items() if row["outcome"] != "done"}
    assert codes == {"empty.mkv": "empty", "broken.mp4": "not_media", "notes.txt": "not_a_video"}
    assert (rows["one.mp4"]["frames"], rows["two.mp4"]["frames"]) == (35, 12)
    for name in tree(out):
        assert times(out / name) == times(source / name)
        assert packets(out / name, "audio") == packets(source / name, "audio")
        assert np.mean(rgb(out / name)) > 1.5 * np.mean(rgb(source / name))
        assert rows[name]["luma_after"] > 1.5 * rows[name]["luma_before"]  # type: ignore[operator]
    assert "videos: 2 done, 1 skipped, 2 failed" in capsys.readouterr().out


@pytest.mark.usefixtures("ray_session")
def test_a_rerun_does_only_what_is_new_or_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = _clips(tmp_path / "in", one=12), tmp_path / "out"
    assert main(["videos", str(source), str(out), *FAST]) == 0
    first = tree(out)
    _clips(tmp_path / "in", two=11)
    os.utime(source / "one.mp4", ns=(1, 1))  # as if it had been written anew
    assert main(["videos", str(source), str(out), *FAST]) == 0
    assert tree(out)["one.mp4"] == first["one.mp4"]
    assert len(rows_of(out)) == 3
    assert main(["videos", str(source), str(out), *FAST]) == 0
    assert len(rows_of(out)) == 3
    assert main(["videos", str(source), str(out), *FAST, "--crf", "40"]) == 0
    assert len(tree(out)["one.mp4"]) < len(first["one.mp4"])
    assert "videos: nothing to do; by earlier runs: 2 done" in capsys.readouterr().out


@pytest.mark.usefixtures("ray_session")
def test_one_video_and_another_container(tmp_path: Path) -> None:
    source, out = _clips(tmp_path / "in", one=11), tmp_path / "out"
    assert main(["videos", str(source / "one.mp4"), str(out / "light.mkv"), *FAST]) == 0
    assert main(["videos", str(source), str(out), "--container", "mkv", *FAST]) == 0
    assert sorted(tree(out)) == ["light.mkv", "one.mkv"]
    assert main(["videos", str(source), str(out), "--container", "gif"]) == 2
    assert main(["videos", str(source / "one.mp4"), str(out / "light.gif2.wmv"), *FAST]) == 2


def test_an_encoder_without_its_hardware_is_refused_before_work_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = next(name for name in ("h264_v4l2m2m", "h264_amf", "h264_qsv") if name in available_encoders())
    source, out = _clips(tmp_path / "in", one=2), tmp_path / "out"
    assert main(["videos", str(source), str(out), "--codec", absent]) == 2
    assert f"--codec {absent} does not start on this machine" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.usefixtures("ray_session")
def test_photos_and_videos_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = _clips(tmp_path / "in", one=11), tmp_path / "out"
    night = np.random.default_rng(5).integers(0, 50, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(night).save(source / "photo.png")
    (source / "notes.txt").write_text("neither")
    job = ["enhance", str(source), str(out), *FAST]
    assert main([*job, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert "photos to do: 1 (" in planned
    assert "videos to do: 1 (" in planned
    assert planned.count("nothing was written") == 1
    assert not out.exists()
    assert main([*job, "--limit", "1"]) == 0
    first = capsys.readouterr().out
    assert "photos: 1 done, 1 skipped in" in first
    assert f"  skipped, not_a_photo: {source}/notes.txt: not a photo that nightlift reads (.txt)" in first.splitlines()
    assert "videos: nothing to do" in first
    assert main(job) == 0
    assert sorted(tree(out)) == ["one.mp4", "photo.png"]
    assert sorted(str(row["code"]) for row in rows_of(out)) == ["", "", "not_a_photo"]
    assert main(job) == 0
    printed = capsys.readouterr().out
    assert "photos: nothing to do; by earlier runs: 1 done, 1 skipped" in printed
    assert "videos: nothing to do; by earlier runs: 1 done" in printed.splitlines()
    assert main(["enhance", str(source / "photo.png"), str(out / "light.png"), *FAST]) == 0
    assert main(["enhance", str(source / "one.mp4"), str(out / "light.mp4"), *FAST]) == 0
    assert {"light.png", "light.mp4"} <= tree(out).keys()


@pytest.mark.usefixtures("ray_session")
def test_photos_and_videos_by_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = _clips(tmp_path / "in", one=11, two=12), tmp_path / "out"
    night = np.random.default_rng(5).integers(0, 50, (60, 80, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(night).save(source / name)
    images = ["images", str(source), str(out), "--estimate-size", "32"]
    videos = ["videos", str(source), str(out), *FAST]
    assert [main(images), main(videos)] == [0, 0]
    assert sorted(tree(out)) == ["a.png", "b.jpg", "one.mp4", "two.mp4"]
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    for _ in range(2):
        assert [main(images), main(videos)] == [0, 0]
        printed = capsys.readouterr().out
        for noun in ("photos", "videos"):
            assert f"{noun}: nothing to do; by earlier runs: 2 done" in printed.splitlines()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == written
    newest = {Path(str(row["source"])).name: row["outcome"] for row in rows_of(out)}
    assert newest == dict.fromkeys(("a.png", "b.jpg", "one.mp4", "two.mp4"), "done")


@pytest.mark.usefixtures("ray_session")
def test_from_bucket_to_bucket(tmp_path: Path, bucket: str) -> None:
    source = _clips(tmp_path / "in", one=25)
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.put(str(source / "one.mp4"), f"{bucket}/in/deep/one.mp4")
    assert main(["videos", f"{bucket}/in", f"{bucket}/out", *FAST]) == 0
    assert main(["videos", str(source), str(tmp_path / "out"), *FAST]) == 0
    storage = Storage.from_environment([bucket], {})
    assert storage.read(f"{bucket}/out/deep/one.mp4") == (tmp_path / "out" / "one.mp4").read_bytes()
    names = [file.relative for file in storage.list_files(f"{bucket}/out")]
    assert not [name for name in names if "segments" in name]


class Deadly(EnhanceSegment):
    """Dies at the second segment of `poison.mp4`."""

    def __call__(
        self, record: object, info: VideoInfo, segment: Segment, url: str, on_frame: Callable[[], None] = lambda: None
    ) -> SegmentResult:
        if record.source.endswith("poison.mp4") and segment.index == 1:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(record, info, segment, url, on_frame)  # type: ignore[arg-type]


class DeadlyWorker(SegmentWorker):
    def __init__(self, flow: VideoFlow) -> None:
        super().__init__(flow)
        self.step.step.enhance = Deadly(flow.storage, flow.settings, flow.checkpoint, flow.device)


@pytest.mark.usefixtures("ray_session")
def test_a_video_that_kills_its_worker_is_named_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = _clips(tmp_path / "in", one=25, poison=35, two=25), tmp_path / "out"
    monkeypatch.setattr("pipeline.flow.videos.SegmentWorker", DeadlyWorker)
    assert main(["videos", str(source), str(out), *FAST, "--workers", "2"]) == 1
    assert sorted(tree(out)) == ["one.mp4", "two.mp4"]
    rows = rows_of(out)
    assert len(rows) == 3
    (failed,) = (row for row in rows if row["outcome"] == "failed")
    assert (failed["code"], failed["attempts"], failed["width_px"]) == ("worker_died", ATTEMPTS, 96)


class KilledOnce(EnhanceSegment):
    """Dies in the middle of the third segment, once."""

    def __call__(
        self, record: object, info: VideoInfo, segment: Segment, url: str, on_frame: Callable[[], None] = lambda: None
    ) -> SegmentResult:
        seen = 0

        def frame() -> None:
            nonlocal seen
            seen += 1
            mark = Path(url).parents[3] / "killed"
            if segment.index == 2 and seen == 4 and not mark.exists():
                mark.write_text(str([path.name for path in Path(url).parent.iterdir()]))
                os.kill(os.getpid(), signal.SIGKILL)
            on_frame()

        return super().__call__(record, info, segment, url, frame)  # type: ignore[arg-type]


class KilledOnceWorker(SegmentWorker):
    def __init__(self, flow: VideoFlow) -> None:
        super().__init__(flow)
        self.step.step.enhance = KilledOnce(flow.storage, flow.settings, flow.checkpoint, flow.device)


@pytest.mark.usefixtures("ray_session")
def test_a_worker_killed_within_a_segment_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out, straight = _clips(tmp_path / "in", one=45), tmp_path / "out", tmp_path / "straight"
    assert main(["videos", str(source), str(straight), *FAST]) == 0
    monkeypatch.setattr("pipeline.flow.videos.SegmentWorker", KilledOnceWorker)
    assert main(["videos", str(source), str(out), *FAST, "--workers", "2"]) == 0
    assert PART_SUFFIX in (out / "killed").read_text()
    assert tree(out).pop("one.mp4") == tree(straight).pop("one.mp4")
    (row,) = rows_of(out)
    assert (row["outcome"], row["notes"]) == ("done", [])
    assert not (out / "_nightlift" / "segments").exists()
    assert Storage().unfinished(str(out)) == []


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_killed_run_goes_on_at_the_segment_and_ends_like_one_that_was_not(tmp_path: Path) -> None:
    source, out, straight = _clips(tmp_path / "in", one=120), tmp_path / "out", tmp_path / "straight"
    job = [str(source), str(out), *FAST, "--workers", "2"]
    killed_once([sys.executable, "-m", "jobs.videos", *job], tmp_path / "log", lambda: len(_segments(out)) >= 8)
    before = {path: path.stat().st_mtime_ns for path in _segments(out) if path.suffix == ".json"}
    assert len(before) >= 3
    assert not tree(out)
    assert main(["videos", *job]) == 0
    assert main(["videos", str(source), str(straight), *FAST]) == 0
    assert packets(out / "one.mp4", "video") == packets(straight / "one.mp4", "video")
    assert tree(out) == tree(straight)
    assert Storage().unfinished(str(out)) == []
    (row,) = rows_of(out)
    (note,) = row["notes"]  # type: ignore[misc]
    reused, whole = re.fullmatch(r"(\d+) of (\d+) segments were reused from an earlier run", str(note)).groups()  # type: ignore[union-attr]
    assert (row["outcome"], int(whole)) == ("done", 12)
    assert len(before) <= int(reused) < 12
