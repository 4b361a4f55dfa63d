"""The command in a process of its own: whatever its locale is, and wherever its output goes."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.media import landscape

ROOT = Path(__file__).parents[3]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def _run(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In bash, with nothing else in the environment. Its PIPESTATUS is the status of the command itself."""
    script = f'nightlift() {{ {sys.executable} -m jobs.cli "$@"; }}\nnightlift {words}\nexit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["/bin/bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("--help > /dev/full", 1, "nightlift: the output could not be written (No space left on device)\n"),
        ("--help 2> /dev/full", 0, ""),
        ("--help > /dev/full 2>&1", 1, ""),
        ("--help >&-", 0, ""),
        ("--help 2>&-", 0, ""),
        ("--help <&- >&- 2>&-", 0, ""),
        ("--help | true", 1, ""),
        ("--version 2>&1 | true", 1, ""),
        ("photo 2>&-", 2, ""),
        ("photo > /dev/full", 2, 'nightlift: unknown command "photo": choose from '),
        ("photo 2>&1 >&- | true", 2, ""),
    ],
)
def test_no_stream_makes_a_traceback(words: str, status: int, told: str) -> None:
    done = _run(words)
    assert (done.returncode, done.stderr[: len(told)]) == (status, told)
    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        (ASCII, "bröken ☃"),
        (ASCII | {"PYTHONUTF8": "1"}, "bröken ☃"),
        ({"PYTHONIOENCODING": "ascii"}, r"br\xf6ken \u2603"),
        ({"TERM": "dumb", "COLUMNS": "20"}, "bröken ☃"),
    ],
)
def test_names_are_utf8_in_every_locale(environment: dict[str, str], name: str) -> None:
    assert _run("'bröken ☃'", **environment).stderr.startswith(f'nightlift: unknown command "{name}": choose from ')


def test_python_is_not_started_again_for_ever() -> None:
    script = f"{sys.executable} -X utf8=0 -m jobs.cli --version"
    done = subprocess.run(script.split(), cwd=ROOT, env=ASCII, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_job_is_done_where_nothing_can_be_written_to_the_user(tmp_path: Path) -> None:
    for name in ("night ☃.jpg", "day.jpg"):
        Image.fromarray(landscape(64, 48) // 4).save(tmp_path / name)
    done = _run(f"images {tmp_path} {tmp_path}/out 2>&- > /dev/full", **ASCII)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert {"night ☃.jpg", "day.jpg"} < {path.name for path in (tmp_path / "out").iterdir()}
