"""One outcome for each video, whatever dies at whatever moment and whatever Ray repeats."""

from dataclasses import replace

from pipeline.flow.video_ledger import WHOLE, Ledger
from pipeline.records import Outcome
from pipeline.segments import SegmentResult
from pipeline.video import Segment

SEGMENTS = [Segment(index=0, first=0, end=10), Segment(index=1, first=10, end=25)]


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


def _ledger() -> Ledger:
    ledger = Ledger()
    assert ledger.begin("a", WHOLE) == 1
    ledger.open("a", b"info", SEGMENTS)
    return ledger


def _outcome(ending: str = "done") -> Outcome:
    return Outcome(source="a", version="1", destination="b", outcome=ending)  # type: ignore[arg-type]


def test_the_last_segment_gets_all_results_in_order() -> None:
    ledger = _ledger()
    assert ledger.finish("a", 1, _result(SEGMENTS[1])) is None
    whole = ledger.finish("a", 0, _result(SEGMENTS[0]))
    assert whole is not None
    assert [len(result.pts) for result in whole[1]] == [10, 15]


def test_a_join_whose_worker_died_is_begun_again_by_the_same_segment_alone() -> None:
    ledger = _ledger()
    ledger.begin("a", 0)
    ledger.finish("a", 0, _result(SEGMENTS[0]))
    assert ledger.begin("a", 1) == 1
    assert ledger.finish("a", 1, _result(SEGMENTS[1])) is not None
    assert ledger.begin("a", 1) == 2  # an attempt that counts: it would go on for ever
    assert ledger.finish("a", 1, _result(SEGMENTS[1])) is not None
    assert ledger.finish("a", 0, _result(SEGMENTS[0])) is None


def test_the_first_outcome_stays_and_is_told_again_by_its_own_segment() -> None:
    ledger = _ledger()
    assert ledger.settled("a", 0) == (False, None)
    assert ledger.settle("a", 1, _outcome("failed"))
    assert not ledger.settle("a", 0, _outcome())
    settled, outcome = ledger.settled("a", 1)
    assert settled
    assert outcome is not None
    assert outcome.outcome == "failed"
    assert ledger.settled("a", 0) == (True, None)
    assert ledger.finish("a", 0, _result(SEGMENTS[0])) is None  # a sibling that was still at work


def test_frames_are_counted_once_whatever_is_repeated() -> None:
    ledger = _ledger()
    ledger.open("a", b"info", SEGMENTS)  # inspected again
    ledger.count("a", 0, 4)
    ledger.count("a", 0, 10)
    ledger.count("a", 1, 3)
    ledger.count("a", 1, 1)  # begun again
    assert ledger.progress() == (11, 25, 0)
    assert ledger.begin("a", WHOLE) == 1


def test_frames_of_an_earlier_run_are_told_apart() -> None:
    ledger = _ledger()
    ledger.count("a", 0, 4)
    for _ in range(2):  # as everything it may come twice
        ledger.reuse("a", 1, SEGMENTS[1].frames)
    assert ledger.progress() == (4 + SEGMENTS[1].frames, 25, SEGMENTS[1].frames)


def test_a_segment_that_is_done_again_keeps_its_first_result() -> None:
    ledger = _ledger()
    ledger.finish("a", 0, _result(SEGMENTS[0]))
    ledger.finish("a", 1, _result(SEGMENTS[1]))
    whole = ledger.finish("a", 1, replace(_result(SEGMENTS[1]), reused=True))  # its worker died while it joined
    assert whole is not None
    assert not any(result.reused for result in whole[1])


def test_what_a_failed_video_leaves_undone_is_not_waited_for() -> None:
    ledger = _ledger()
    ledger.count("a", 0, 7)
    assert ledger.progress() == (7, 25, 0)
    assert ledger.settle("a", 1, _outcome("failed"))
    assert ledger.progress() == (7, 7, 0)
