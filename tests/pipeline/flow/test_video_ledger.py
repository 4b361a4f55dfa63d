"""Frames are counted once, whatever is repeated."""

from pipeline.flow.video_ledger import Ledger


def _ledger() -> Ledger:
    ledger = Ledger()
    for _ in range(2):  # it may be inspected again
        ledger.open("a", b"info", 25)
    return ledger


def test_a_ledger_has_begun_once_a_segment_was_and_not_while_videos_are_inspected() -> None:
    ledger = _ledger()
    ledger.begin("InspectVideo: a")
    assert not ledger.has_begun()
    assert ledger.info("a") == b"info"
    assert ledger.is_open("a")
    assert ledger.has_begun()


def test_frames_are_counted_once_whatever_is_repeated() -> None:
    ledger = _ledger()
    ledger.count("a", 0, 4)
    ledger.count("a", 0, 10)
    ledger.count("a", 1, 3)
    ledger.count("a", 1, 1)  # begun again
    assert ledger.progress() == (11, 25, 0)


def test_frames_of_an_earlier_run_are_told_apart() -> None:
    ledger = _ledger()
    ledger.count("a", 0, 4)
    for _ in range(2):
        ledger.reuse("a", 1, 15)
    assert ledger.progress() == (19, 25, 15)
    ledger.reuse("a", 0, 10)  # this run has done four of them, and its worker died
    assert ledger.progress() == (25, 25, 21)


def test_what_a_failed_video_leaves_undone_is_not_waited_for() -> None:
    ledger = _ledger()
    ledger.open("b", b"info", 5)
    ledger.count("a", 0, 7)
    for _ in range(2):
        ledger.close("a", done=False)
    assert ledger.info("a") == b""
    assert not ledger.is_open("a")
    ledger.open("a", b"info", 25)  # inspected again
    ledger.reuse("a", 0, 20)
    assert ledger.progress() == (7, 12, 0)
    ledger.count("a", 1, 9)  # another segment that was at work
    assert ledger.progress() == (7, 12, 0)
    ledger.close("b", done=True)
    assert ledger.progress() == (12, 12, 0)
