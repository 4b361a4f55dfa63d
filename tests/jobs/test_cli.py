"""The command line as a whole: what it says when it is stopped or mistyped."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import cli
from tests.support.killed import ROOT


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["images", "in", "out", "--fresh"], "run the same command again, without --fresh, to continue"),
        (["train", "in", "out"], "run the same command again to continue"),
        (["evaluate", "in", "out"], "run the same command again to start over"),
        (["export", "out.onnx"], "run the same command again to start over"),
    ],
)
def test_stopped_it_says_what_the_same_command_will_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    def stopped(config: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{cli.COMMANDS[arguments[0]].module}.run", stopped)
    assert cli.main(arguments) == 130
    assert capsys.readouterr().err == f"nightlift: stopped; {told}\n"


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        (["--epochs", "two"], "INT"),
        (["--epochs", "None"], "INT"),
        (["--learning-rate", "fast"], "FLOAT"),
        (["--estimate-size", "small"], "INT|{full}"),
    ],
)
def test_a_slip_is_told_by_flag_and_value_and_what_it_takes(
    capsys: pytest.CaptureFixture[str], flags: list[str], kind: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "in", "out", *flags])
    told = " ".join(capsys.readouterr().err.split())
    assert f"Error parsing {flags[0]}: no type matching {kind} could be instantiated from ['{flags[1]}']" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["images", "in", "out", "--iteration", "3"], "Unrecognized options: --iteration, 3"),
        (["images", "in", "out", "--skip-bright", "maybe"], "invalid choice 'maybe' for argument '--skip-bright'"),
        (["enhance", "in"], "Missing from nightlift enhance: DST"),
        (["enhance", "in", "out", "more"], "Unrecognized options: more"),
    ],
)
def test_a_slip_is_told_in_a_few_lines_about_this_job_alone(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    error = capsys.readouterr().err
    assert told in " ".join(error.replace("│", " ").split())
    assert len(error.splitlines()) <= 15
    others = {"images", "evaluate", "export"} - {arguments[0]}
    assert not any(f"nightlift {other} --help" in error for other in others)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["photos", "in", "out"], 'unknown command "photos": choose from images, videos, enhance, preview, train'),
        (["image", "in", "out"], 'unknown command "image": did you mean images?'),
        ([], "no command given"),
    ],
)
def test_a_command_that_there_is_not(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert cli.main(arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_says_what_happens_without_a_flag_in_words(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    told = " ".join(capsys.readouterr().out.replace("\u2502", "").split())
    assert "usage: nightlift" in told
    assert not [default for default in ("default: None", "default: False") if default in told]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        config_type, run = command.load()
        assert f"  {name:10} {command.summary}\n" in told
        assert config_type.__doc__ and callable(run)


def test_numbers_and_words_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr("jobs.train.job.run", lambda config: taken.append(config) or 0)
    for size in ("full", "64"):
        cli.main(["train", "in", "out", "--estimate-size", size, "--epochs", "3", "--learning-rate", "1e-3"])
    assert [(config.estimate_size, config.epochs, config.learning_rate) for config in taken] == [
        ("full", 3, 0.001),
        (64, 3, 0.001),
    ]


@pytest.mark.parametrize("flags", [["film.mp4", "out.webm"], ["film.mp4", "out", "--container", "webm"]])
def test_a_container_that_cannot_hold_the_codec_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert cli.main(["videos", *flags, "--codec", "libx264"]) == 2
    assert "--codec libx264: webm cannot hold its output" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_reason_for_a_traceback() -> None:
    command = f"{sys.executable} -m jobs.cli benchmark --quick --only inside | true"
    told = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in told.stderr


def test_a_signal_that_a_package_makes_another_error_of_while_it_loads_stops_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "interrupted_job.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    raise ImportError('cannot load module more than once per process') from None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "report", cli.Command("interrupted_job", "Config", ""))
    assert cli.main(["report", "out"]) == 130
    assert capsys.readouterr().err == "nightlift: stopped; run the same command again to start over\n"


def test_a_python_without_our_packages_says_what_it_needs() -> None:
    """As on a node of a cluster to which a job was sent."""
    job = [sys.executable, "-S", "-m", "jobs.images", "in", "out"]
    told = subprocess.run(job, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    (line,) = told.stderr.splitlines()
    assert line.startswith("nightlift: No module named ")
    for words in (f"Python {platform.python_version()}, {sys.executable}", "3.11 or newer", 'pip install ".[cluster]"'):
        assert words in line
