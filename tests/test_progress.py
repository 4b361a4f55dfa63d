import logging
import re

import pytest

from jobs import progress
from jobs.progress import Progress


def test_a_log_gets_lines_with_count_rate_time_left_and_failures(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    caplog.set_level(logging.INFO, "nightlift")
    bar = Progress(4, "photo")
    for number in range(3):
        bar.advance(failed=number == 1)
    bar.close()
    assert re.search(r"75%\|.*\| 3/4 \[\d\d:\d\d<\d\d:\d\d, .*photo.*, 1 failed\]", caplog.messages[-1])
    assert len(caplog.messages) == 3
    assert capsys.readouterr().err == ""  # no carriage returns in a log


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = Progress(2, "photo")
    bar.advance(failed=False)
    bar.advance(failed=False)
    bar.close()
    assert "2/2" in capsys.readouterr().err
