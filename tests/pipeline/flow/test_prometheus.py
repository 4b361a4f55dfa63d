"""What is exported where nothing happens: the rest is scraped from a job in `test_submit.py`."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from pipeline.flow import prometheus
from pipeline.flow.prometheus import counted
from pipeline.records import Outcome
from tests.support.killed import wait_until


class _Gauge:
    """Keeps what it is set to."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values.append(value)


def _outcomes() -> Iterator[Outcome]:
    while True:
        yield Outcome(source="/a", version="", destination="/b", outcome="done")


def test_files_left_are_told_while_a_job_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = _Gauge()
    monkeypatch.setattr(prometheus, "FILES_LEFT", gauge)
    monkeypatch.setattr(prometheus, "SHOW_AGAIN_S", 0.01)
    monkeypatch.setattr(prometheus, "_count", lambda *_: None)
    with closing(counted("photo", _outcomes(), 7)) as outcomes:
        for left in (6, 5):
            next(outcomes)
            wait_until(lambda left=left: gauge.values.count(left) > 3, within=20)  # type: ignore[misc]
            assert gauge.values.count(left) > 3
    told = len(gauge.values)
    time.sleep(0.05)
    assert len(gauge.values) == told
