"""One outcome for each video, whatever dies at whatever moment and whatever Ray repeats."""

import os
import signal
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.flow.attempts import ATTEMPTS
from pipeline.flow.joins import Joins
from pipeline.flow.supervised_step import Watched, new_attempts
from pipeline.flow.video_steps import SegmentWork, VideoWork
from pipeline.records import Outcome, Record
from pipeline.segments import SegmentResult
from pipeline.video import Segment

SEGMENTS = [Segment(index=0, first=0, end=10), Segment(index=1, first=10, end=25)]

pytestmark = pytest.mark.usefixtures("ray_session")


def _result(segment: Segment) -> SegmentResult:
    return SegmentResult(
        identity="",
        pts=list(range(segment.first, segment.end)),
        missing=0,
        corrupt=0,
        scaled=0,
        reorder=0,
        luma_before=0.1,
        luma_after=0.4,
        seconds={},
    )


def _enhanced(source: str) -> list[SegmentWork]:
    record = Record(source=source, version="1", size_bytes=1, destination="out")
    return [SegmentWork(record, Outcome.of(record), segment, len(SEGMENTS), _result(segment)) for segment in SEGMENTS]


def _failed(work: SegmentWork) -> SegmentWork:
    work = deepcopy(work)
    work.outcome.code, work.result = "damaged", None
    return work


class Join:
    """Dies as often as the name of the video says, at most once for each file below the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, video: VideoWork) -> VideoWork:
        deaths = len(list(self.folder.glob(f"{video.name}-*")))
        if deaths < int(video.name):
            (self.folder / f"{video.name}-{deaths}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        video.outcome.outcome = "done"
        video.outcome.frames = sum(result.frames for result in video.results)
        return video


def _ended(tmp_path: Path, works: list[SegmentWork | VideoWork]) -> dict[str, tuple[str, int, int]]:
    joins = Joins(Watched(Join(tmp_path), new_attempts()))
    videos = list(joins.videos(works))
    assert len({video.name for video in videos}) == len(videos)
    return {video.name: (video.outcome.code, video.outcome.attempts, video.outcome.frames) for video in videos}


def test_a_video_is_joined_once_all_its_segments_are_there_whatever_comes_twice(tmp_path: Path) -> None:
    first, second = _enhanced("0")
    assert _ended(tmp_path, [second, second]) == {}
    second.outcome.attempts = 2
    again = deepcopy(second)
    again.result = replace(_result(SEGMENTS[1]), pts=[], reused=True)  # as it is found by the worker that repeats it
    assert _ended(tmp_path, [second, again, first, second, first]) == {"0": ("", 2, 25)}


def test_a_video_fails_once_at_its_first_segment_that_does(tmp_path: Path) -> None:
    (first, second), (other, last) = _enhanced("0"), _enhanced("1")
    last.outcome.attempts = 2
    works = [_failed(first), other, second, _failed(second), _failed(first), last]
    assert _ended(tmp_path, works) == {"0": ("damaged", 1, 0), "1": ("", 2, 25)}


def test_a_video_that_could_not_be_inspected_has_its_outcome(tmp_path: Path) -> None:
    outcome = _failed(_enhanced("0")[0]).outcome
    video = VideoWork(_enhanced("0")[0].record, outcome)
    assert _ended(tmp_path, [video, video]) == {"0": ("damaged", 1, 0)}


def test_a_join_whose_worker_dies_is_begun_again_and_given_up_in_the_end(tmp_path: Path) -> None:
    works = [work for source in ("0", "1", "7") for work in _enhanced(source)]
    assert _ended(tmp_path, list(works)) == {
        "0": ("", 1, 25),
        "1": ("", 2, 25),
        "7": ("worker_died", ATTEMPTS, 0),
    }


def test_joins_end_with_the_job(tmp_path: Path) -> None:
    class Endless(Join):
        def __call__(self, video: VideoWork) -> VideoWork:
            (self.folder / "process").write_text(str(os.getpid()))
            time.sleep(1000)
            return video

    def works() -> object:
        yield from _enhanced("0")
        while not (tmp_path / "process").exists() or not (tmp_path / "process").read_text():
            time.sleep(0.1)
        yield _failed(_enhanced("1")[0])

    videos = Joins(Watched(Endless(tmp_path), new_attempts())).videos(works())  # type: ignore[arg-type]
    assert next(videos).name == "1"
    videos.close()  # type: ignore[attr-defined]
    process = int((tmp_path / "process").read_text())
    while Path(f"/proc/{process}").exists():
        time.sleep(0.1)
