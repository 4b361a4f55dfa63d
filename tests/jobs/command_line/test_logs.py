"""Logs for machines: each line on standard error is a JSON object, whatever wrote it."""

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import progress
from jobs.cli import main
from jobs.command_line.logs import asks_for_json, logging_to_stderr
from jobs.progress import Progress
from tests.support.killed import ROOT

NIGHT = np.random.default_rng(5).integers(0, 50, (20, 30, 3), dtype=np.uint8)
FAILS = """
import logging, warnings
from jobs.command_line.logs import logging_to_stderr
with logging_to_stderr(in_json=True):
    warnings.warn("a warning")
    logging.getLogger("another.package").error("an error\\nin two lines")
    raise ValueError("nobody expected it")
"""


def _lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_job_tells_all_as_objects_and_ends_with_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(NIGHT).save(tmp_path / "in" / "a.png")
    job = ["images", str(tmp_path / "in"), str(tmp_path / "out"), "--no-report", "--log-format", "json"]
    assert main(job) == 0
    out, told = capsys.readouterr()
    assert out.startswith("photos: 1 done")
    lines = _lines(told)
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert lines[-1]["summary"]["done"] == 1  # type: ignore[index]
    assert main(["images", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err == ""  # as pytest has taken the handlers: not JSON any more


@pytest.mark.parametrize(
    "arguments",
    [["images", "--log-format=json"], ["imags", "--log-format", "json"], ["verify", "/none", "--log-format", "json"]],
)
def test_what_is_wrong_is_an_object_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert [line["level"] for line in _lines(capsys.readouterr().err)][-1] == "error"


@pytest.mark.parametrize(
    ("typed", "is_json"),
    [
        ("", False),
        ("images --log-format json", True),
        ("images --log-format json --log-format text", False),
        ("images --log-format=text --log_format=json", True),
        ("images --log-format text --log-format=json a b", True),
        ("images --log-format", False),
        ("images -- --log-format json", False),
    ],
)
def test_the_last_format_counts_as_it_does_for_the_parser(typed: str, is_json: bool) -> None:
    assert asks_for_json(typed.split()) == is_json


def test_what_packages_and_python_tell_are_objects_too() -> None:
    ended = subprocess.run([sys.executable, "-c", FAILS], cwd=ROOT, capture_output=True, text=True, check=False)
    warning, error, unexpected = _lines(ended.stderr)
    assert (warning["level"], warning["logger"]) == ("warning", "py.warnings")
    assert "UserWarning: a warning" in str(warning["message"])
    assert (error["logger"], error["message"]) == ("another.package", "an error\nin two lines")
    assert unexpected["message"] == "ValueError: nobody expected it"
    assert "Traceback" in str(unexpected["traceback"])
    assert ended.returncode == 1


def test_progress_has_its_numbers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    shown = warnings.showwarning
    with logging_to_stderr(in_json=True):
        bar = Progress(4, "photo", done=1)
        bar.advance(failed=True)
    line = _lines(capsys.readouterr().err)[-1]
    assert [line[name] for name in ("done", "total", "failed", "unit")] == [2, 4, 1, "photo"]
    assert warnings.showwarning is shown
    assert not [each for each in logging.getLogger().handlers if "_Json" in repr(each.formatter)]
