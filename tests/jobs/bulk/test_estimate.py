"""What a run is expected to take, from what a few files took."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from jobs.benchmark.media import night_clip
from jobs.bulk import run
from jobs.bulk.estimate import Estimate, px_of, report, whole_s
from jobs.bulk.job import Job
from jobs.cli import main
from jobs.videos import VIDEO_MEDIA, VideosConfig
from model import DEFAULT_WEIGHTS, load
from pipeline.records import Record
from pipeline.storage.storage import Storage
from pipeline.video import Segment
from pipeline.video.reading.opening import announced_px

SEEING_S, WRITING_S, CONTEXT = 0.1, 0.3, 25


def _segments(*ends: int) -> list[Segment]:
    starts = (0, *ends[:-1])
    return [
        Segment(index=index, first=first, end=end) for index, (first, end) in enumerate(zip(starts, ends, strict=True))
    ]


@pytest.mark.parametrize(
    ("ends", "seen"),
    [
        ((20,), 20),  # tried from end to end
        ((400,), 400),
        ((240, 480, 700), (240 + 25) + (25 + 240 + 25) + (25 + 220)),
    ],
)
def test_frames_that_are_only_seen_are_no_more_in_the_trial_than_in_the_run(ends: tuple[int, ...], seen: int) -> None:
    frames = ends[-1]
    tried = Segment(index=0, first=0, end=min(48, frames))
    first_s = min(frames, 1 + CONTEXT) * SEEING_S
    tried_s = min(frames, tried.end + CONTEXT) * SEEING_S + tried.frames * WRITING_S
    expected = seen * SEEING_S + frames * WRITING_S
    assert whole_s(frames, _segments(*ends), tried, CONTEXT, first_s, tried_s) == pytest.approx(expected)


def test_a_video_weighs_its_frames_not_its_bytes(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    night_clip(clip, 96, 64, 50)
    with clip.open("rb") as file:
        assert announced_px(file) == pytest.approx(50 * 96 * 64)


def test_the_estimate_of_a_long_still_night_is_no_shorter_than_that_of_a_short_noisy_one(tmp_path: Path) -> None:
    """Five clips of a second, and one of twenty that takes few bytes."""
    for index in range(5):
        night_clip(tmp_path / f"short{index}.mp4", 160, 96, 25)
    black = VideoFrame.from_ndarray(np.full((96, 160, 3), 9, np.uint8))
    with av.open(str(tmp_path / "still.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for _ in range(500):
            output.mux(stream.encode(black))
        output.mux(stream.encode())
    job = Job.of(VIDEO_MEDIA, VideosConfig(src=str(tmp_path), dst=str(tmp_path / "out")), load(DEFAULT_WEIGHTS["dce"]))
    plan = job.plan()
    sizes = {record.source: record.size_bytes for record in plan.records}
    assert sizes[str(tmp_path / "still.mp4")] < 0.3 * sum(sizes.values())
    weights = [px_of(record, job.storage) for record in plan.records]
    assert max(weights) > 0.7 * sum(weights)


def test_a_dry_run_reads_each_header_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()

    def counted(record: Record, storage: Storage) -> float:
        read.append(record.source)
        return px_of(record, storage)

    monkeypatch.setattr(run, "px_of", counted)
    for index in range(3):
        night_clip(tmp_path / f"{index}.mp4", 96, 64, 4)
    assert main(["videos", str(tmp_path), str(tmp_path / "out"), "--dry-run"]) == 0
    assert sorted(read) == [str(tmp_path / f"{index}.mp4") for index in range(3)]


@pytest.mark.parametrize(
    ("estimates", "workers", "on_ray", "time"),
    [
        ([], 2, True, None),
        ([Estimate(["photos"])], 2, True, None),
        (
            [Estimate(["photos"], 30), Estimate(["videos"], 50)],
            2,
            True,
            "time: about 50 s: 10 s to start Ray, and 40 s of work with 2 workers as fast as this machine's cores",
        ),
        (
            [Estimate(["photos"], 4), Estimate([])],
            1,
            False,
            "time: about 7 s: 3 s to start, and 4 s of work without Ray",
        ),
    ],
)
def test_the_time_says_its_parts_and_counts_one_start(
    estimates: list[Estimate], workers: int, on_ray: bool, time: str | None
) -> None:
    lines = report(estimates, workers, on_ray=on_ray).splitlines()
    named = [line for estimate in estimates for line in estimate.lines]
    assert lines == [*named, *([time] if time else [])]
