"""The command line as a whole: what it says when it is stopped or mistyped."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import cli
from jobs.command_line.options import Options
from jobs.command_line.parsing import parsed
from jobs.submit import SubmitConfig
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
    ("arguments", "told"),
    [
        ("train in out --epochs two", '--epochs is "two"; it must be a whole number'),
        ("train in out --epochs None", '--epochs is "None"; it must be a whole number'),
        ("train in out --learning-rate fast", '--learning-rate is "fast"; it must be a number'),
        ("train in out --estimate-size small", '--estimate-size is "small"; it must be a whole number or full'),
        ("images in out --skip-bright maybe", '--skip-bright is "maybe"; it must be no, copy or leave'),
        ("images in out --estimate_size=", '--estimate-size is ""; it must be a whole number, auto or full'),
        ("images in out --limit", "--limit needs a value: a whole number"),
        ("images in out --limit --fresh", "--limit needs a value: a whole number"),
        ("images in out --fresh=yes", "--fresh takes no value; leave out =yes"),
        ("images", "SRC and DST are missing: nightlift images SRC DST"),
        ("enhance in --fresh", "DST is missing: nightlift enhance SRC DST"),
        ("submit", "JOB is missing: nightlift submit JOB ..."),
        ("submit photos in out", 'JOB is "photos"; it must be images, videos, enhance or train'),
        ("images 1.jpg 2.jpg 3.jpg 4.jpg", "images takes SRC and DST, but got 2 more: quote a glob ('photos/*.jpg')"),
        ("report in -- -out", "report takes DST, but got 1 more: quote a glob ('photos/*.jpg')"),
        ("images in out --resume", "unknown option --resume; leave it out: the same command goes on where it was"),
        ("train in out --continue", "unknown option --continue; leave it out: the same command goes on where it was"),
        ("videos in out --quality 80", "unknown option --quality; did you mean --crf? nightlift videos"),
        ("images in out --verbose", "unknown option --verbose; nightlift images --help lists all"),
        ("images in out --iteration 3", "unknown option --iteration; did you mean --iterations? nightlift images"),
        ("submit images s3://in s3://out --adress x", "unknown option --adress; did you mean --address? nightlift"),
        ("images in out --jpeg-quality 3", "unknown option --jpeg-quality; did you mean --quality? nightlift images"),
        ("videos in out --temporal-denoise=1", "unknown option --temporal-denoise; did you mean --denoise? nightlift"),
        ("enhance -j 3 in out", "unknown option -j; did you mean --workers? nightlift enhance --help lists all"),
        ("export out.onnx --xyz", "unknown option --xyz; nightlift export --help lists all"),
        ("images -r in out", "unknown option -r; leave it out: folders are always read with their subfolders"),
        ("images -i in -o out", "unknown option -i; give the places without a flag: nightlift images SRC DST"),
    ],
)
def test_a_slip_is_told_in_one_line(capsys: pytest.CaptureFixture[str], arguments: str, told: str) -> None:
    assert cli.main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"nightlift: {told}")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["photos", "in", "out"], 'unknown command "photos": choose from images, videos, enhance, preview, train'),
        (["image", "in", "out"], 'unknown command "image": did you mean images'),
        ([], "no command given"),
    ],
)
def test_a_command_that_there_is_not(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert cli.main(arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("columns", [20, 80, 300])
@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_begins_with_what_a_command_does_and_ends_with_its_exit_status(
    command: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main([command, "--help"]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    examples = [line for line in lines if line.startswith("  nightlift ")]
    assert lines[0].startswith(f"usage: nightlift {command}")
    assert 2 <= len(examples) <= 3 and max(map(len, examples)) <= 80
    parts = [
        line for line in lines if line in ("examples:", "light:", "network:", "output:", "running:", "exit status:")
    ]
    assert parts[0] == "examples:" and parts[-1] == "exit status:" and len(parts) > 2
    assert "default: )" not in told and not any(f"default: {word}" in told for word in ("None", "False", "()", "{}"))
    if columns > 20:  # where not even a flag fits
        assert max(map(len, set(lines) - set(examples))) <= min(columns, 100)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_flag_is_in_one_group_of_the_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([command, "--help"])
    told = capsys.readouterr().out
    flags = Options.of(cli.COMMANDS[command].load()[0]).flags
    assert flags
    assert [told.count(f"\n  {flag}") - told.count(f"\n  {flag}-") for flag in flags] == [1] * len(flags)


def test_help_for_photos_is_silent_about_videos(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["images", "--help"])
    assert "video" not in capsys.readouterr().out


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


@pytest.mark.parametrize(
    "arguments",
    [
        "--weights dce none --limit 3 in out",
        "in out --weights dce none --limit=3",
        "in --limit 3 --weights dce none out",
    ],
)
def test_a_flag_with_several_values_leaves_the_places(monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    taken = []
    monkeypatch.setattr("jobs.evaluate.job.run", lambda config: taken.append(config) or 0)
    assert cli.main(["evaluate", *arguments.split()]) == 0
    assert [(each.src, each.out, each.weights, each.limit) for each in taken] == [("in", "out", ("dce", "none"), 3)]


def test_what_submit_does_not_take_is_the_jobs() -> None:
    given = ["images", "s3://in", "--address", "x", "--limit", "3", "--env=A", "--", "s3://-out"]
    config = parsed(SubmitConfig, "submit", given)
    assert (config.job, config.address, config.env) == ("images", "x", ("A",))
    assert config.arguments == ("s3://in", "--limit", "3", "--", "s3://-out")


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
    for words in (f"Python {platform.python_version()}, {sys.executable}", "3.11 to 3.14", 'pip install ".[cluster]"'):
        assert words in line


def test_help_is_also_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"]) == 0
    assert "nightlift COMMAND --help" in capsys.readouterr().out
    assert cli.main(["help", "report"]) == 0
    assert capsys.readouterr().out.startswith("usage: nightlift report DST")
