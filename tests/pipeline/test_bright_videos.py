"""Bright videos and --skip-bright, step by step: what is written, what the row says. ffprobe judges what is written."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model import DEFAULT_WEIGHTS, load
from pipeline.records import Outcome, Record
from pipeline.segments import SegmentFolders
from pipeline.storage.storage import Storage
from pipeline.videos import VideoSettings, VideoSteps
from tests.pipeline.video.test_daylight import DUSK, lit_clip
from tests.support.clips import Sound, packets, pictures
from tests.support.enhanced import SETTINGS

CHECKPOINT = load(DEFAULT_WEIGHTS["plus"])
LEAVE, COPY = replace(SETTINGS, skip_bright="leave"), replace(SETTINGS, skip_bright="copy")


def _record(folder: Path, name: str, content: bytes, destination: str = "") -> Record:
    (folder / name).write_bytes(content)
    target = str(folder / "out" / (destination or name))
    return Record(source=str(folder / name), version="", size_bytes=len(content), destination=target)


def _run(record: Record, settings: VideoSettings) -> Outcome:
    return VideoSteps.of(Storage(), settings, CHECKPOINT)(record, f"{record.source}.segments")


def _written(record: Record) -> list[str]:
    out = Path(record.destination).parent
    return sorted(path.name for path in out.iterdir()) if out.exists() else []


@pytest.mark.parametrize(("luma", "container", "name"), [(0.6, "mp4", "a.mp4"), (0.6, "matroska", "a.mkv")])
def test_a_bright_video_is_left(tmp_path: Path, luma: float, container: str, name: str) -> None:
    record = _record(tmp_path, name, lit_clip([luma] * 30, container))
    outcome = _run(record, LEAVE)
    assert (outcome.outcome, outcome.code, outcome.sha256) == ("skipped", "already_bright", "")
    assert outcome.luma_before == outcome.luma_after == pytest.approx(luma, abs=0.03)
    assert (outcome.frames, outcome.width_px, outcome.height_px, outcome.night_s) == (30, 96, 64, 0)
    assert outcome.message.startswith(f"{name}: mean luma is 0.")
    assert "--bright-luma 0.45" in outcome.message
    assert _written(record) == []


@pytest.mark.parametrize(
    ("name", "container", "destination", "written"),
    [
        ("a.mp4", "mp4", "a.mp4", "a.mp4"),
        ("A.MP4", "mp4", "A.mp4", "A.mp4"),
        ("a.avi", "avi", "a.mkv", "a.avi"),  # which is read only
        ("a.mp4", "mp4", "a.mkv", "a.mp4"),  # --container mkv
        ("a.264", "h264", "a.mp4", "a.264"),  # which cannot be sought
    ],
)
def test_a_bright_video_is_copied_as_it_is_under_its_name(
    tmp_path: Path, name: str, container: str, destination: str, written: str
) -> None:
    codec = "mpeg4" if container == "avi" else "libx264"
    record = _record(tmp_path, name, lit_clip([0.6] * 30, container, codec), destination)
    outcome = _run(record, COPY)
    assert (outcome.outcome, outcome.code) == ("skipped", "already_bright")
    assert _written(record) == [written]
    assert Path(outcome.destination).name == written
    assert Path(outcome.destination).read_bytes() == Path(record.source).read_bytes()
    assert outcome.bytes_out == record.size_bytes
    assert outcome.sha256


def test_a_copy_never_replaces_its_source_or_a_foreign_file(tmp_path: Path) -> None:
    content = lit_clip([0.6] * 30, "avi", "mpeg4")
    (tmp_path / "out").mkdir()
    record = _record(tmp_path / "out", "a.avi", content)
    beside = replace(record, destination=str(tmp_path / "out" / "a.mkv"))
    assert (_run(beside, COPY).outcome, _written(beside)) == ("skipped", ["a.avi"])
    assert Path(record.source).read_bytes() == content
    other = _record(tmp_path, "b.mp4", lit_clip([0.6] * 30))
    Path(other.destination).write_bytes(b"somebody's")
    assert _run(other, COPY).code == "in_the_way"
    assert Path(other.destination).read_bytes() == b"somebody's"


def test_a_dark_video_is_enhanced_as_without_the_flag(tmp_path: Path) -> None:
    record = _record(tmp_path, "a.mp4", lit_clip([0.1] * 30))
    without = _run(record, SETTINGS)
    before = Path(record.destination).read_bytes()
    outcome = _run(record, LEAVE)
    assert (without.outcome, without.night_s) == ("done", None)
    assert (outcome.outcome, outcome.night_s, outcome.notes) == ("done", 1.2, [])
    assert [frame.to_ndarray().tobytes() for frame in pictures(before)] == [
        frame.to_ndarray().tobytes() for frame in pictures(Path(record.destination))
    ]


def test_only_the_night_of_a_mixed_video_is_enhanced(tmp_path: Path) -> None:
    content = lit_clip(DUSK, params="bframes=2", extras=Sound(seconds=2.7))
    record = _record(tmp_path, "a.mp4", content)
    outcome = _run(record, LEAVE)
    assert outcome.outcome == "done", outcome.message
    assert outcome.frames == len(DUSK)
    night = round((outcome.night_s or 0) * 25)
    assert 34 <= night <= 40  # all below the limit, and at most a frame more
    assert outcome.notes == [f"night: {night / 25:.0f} of 3 s; the rest is bright and left as it is"]
    assert (outcome.luma_after or 0) > (outcome.luma_before or 1) + 0.03
    counted = ["-count_frames", "-show_entries", "stream=nb_read_frames,codec_type", "-of", "json"]
    told = json.loads(subprocess.run(["ffprobe", *counted, record.destination], capture_output=True, check=True).stdout)
    assert [each["nb_read_frames"] for each in told["streams"] if each["codec_type"] == "video"] == [str(len(DUSK))]
    assert packets(Path(record.destination), "audio") == packets(content, "audio")
    full = replace(record, destination=str(tmp_path / "full.mp4"))
    assert _run(full, SETTINGS).outcome == "done"
    before, after, always = (
        np.array([frame.to_ndarray(format="gray").mean() for frame in pictures(each)])
        for each in (content, Path(record.destination), Path(full.destination))
    )
    assert np.abs(after - before)[:24].max() < 1.5
    assert (after - before)[-10:].min() > 10
    assert np.abs(np.diff(after)).max() < max(np.abs(np.diff(each)).max() for each in (before, always)) + 0.5


def test_a_run_that_goes_on_equals_one_that_was_not_killed(tmp_path: Path) -> None:
    record = _record(tmp_path, "a.mp4", lit_clip(DUSK))
    straight = _run(record, LEAVE)
    whole = Path(record.destination).read_bytes()
    steps, folder = VideoSteps.of(Storage(), LEAVE, CHECKPOINT), str(tmp_path / "segments")
    info, segments = steps.inspect(record)
    for segment in segments[1::2]:
        steps.enhance(record, info, segment, SegmentFolders(Storage(), folder).url_of(record, segment))
    resumed = steps(record, folder)
    assert Path(record.destination).read_bytes() == whole
    assert (resumed.night_s, resumed.frames, resumed.luma_after) == (
        straight.night_s,
        straight.frames,
        straight.luma_after,
    )


def test_what_a_glance_cannot_see_fails_as_it_does_without_the_flag(tmp_path: Path) -> None:
    text = _record(tmp_path, "a.mp4", b"no video at all, whatever its name")
    assert (_run(text, LEAVE).code, _run(text, LEAVE).message) == (
        _run(text, SETTINGS).code,
        _run(text, SETTINGS).message,
    )
    missing = replace(text, source=str(tmp_path / "missing.mp4"))
    assert _run(missing, LEAVE).code == "not_found"
    grown = _record(tmp_path, "b.mp4", lit_clip([0.6] * 30))
    assert _run(replace(grown, version="another"), LEAVE).code == "changed"


def test_the_limit_counts_only_with_the_flag() -> None:
    prints = {
        (skip, luma): replace(SETTINGS, skip_bright=skip, bright_luma=luma).fingerprint(CHECKPOINT)
        for skip in ("no", "copy", "leave")
        for luma in (0.4, 0.5)
    }
    assert prints["no", 0.4] == prints["no", 0.5]
    assert len(set(prints.values())) == 5
