import logging
import time

import pytest

from jobs import progress
from jobs.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[float]:
    """Its one number is the time; a line is due each second."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "LOG_EVERY_S", 1.0)
    caplog.set_level(logging.INFO, "nightlift")
    return now


def test_a_log_gets_lines_with_count_rate_time_left_and_failures(
    clock: list[float], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Progress(4000, "photo")
    for number in range(1200):
        clock[0] += 0.1 if number else 30  # workers take a while to start, which is no rate
        bar.advance(failed=number == 40)
    bar.close()
    assert caplog.messages[0] == "1 of 4,000 photos"
    assert caplog.messages[-1] == "1,200 of 4,000 photos, 10.0 a second, 4:40 left, 1 failed"
    assert capsys.readouterr().err == ""  # no carriage returns in a log


def test_a_log_says_what_is_going_on_before_anything_is_known(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    bar = Progress(0, "frame", opening="opening videos")
    for done, total in ((0, 0), (0, 9000), (1, 9000), (2, 9000), (4, 18000)):
        clock[0] += 10
        bar.advance_to(done, total)
    bar.close()
    assert caplog.messages == [
        "opening videos",
        "0 of 9,000 frames, starting workers",
        "1 of 9,000 frames",
        "2 of 9,000 frames, 6.0 a minute, 24:59:40 left",
        "4 of 18,000 frames, 9.0 a minute, 33:19:33 left",
    ]


def test_what_turns_out_to_be_of_an_earlier_run_is_no_rate(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    bar = Progress(0, "frame")
    for done, before in ((10, 0), (20, 0), (330, 300)):
        clock[0] += 10
        bar.advance_to(done, 430, before)
    bar.close()
    assert caplog.messages[-1] == "330 of 430 frames, 1.0 a second, 1:40 left"


def test_lines_of_text_stand_between_with_the_time_left(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    bar = Progress(30, "step", done=10)
    bar.say("epoch 1")
    for done in (11, 15):
        clock[0] += 0.4
        bar.advance_to(done)
    bar.say("epoch 2")
    assert caplog.messages == ["epoch 1", "epoch 2  [0:02 left]"]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = Progress(2, "photo")
    assert "starting workers" in capsys.readouterr().err
    bar.advance(failed=False)
    bar.advance(failed=True)
    bar.close()
    told = capsys.readouterr().err
    assert "2/2" in told
    assert "1 failed" in told
