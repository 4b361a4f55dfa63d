"""What a run is expected to take, from what a few files took."""

import pytest

from jobs.dry_run import whole_s
from pipeline.video import Segment

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
