"""`nightlift`: the console command, with a sub-command for each job. A job is imported when it is asked for."""

import gc
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

from jobs import clock
from jobs.command_line.help_page import help_page
from jobs.command_line.logs import asks_for_json, logging_to_stderr, tell
from jobs.command_line.parsing import asks_for_help, parsed
from jobs.command_line.streams import flush_output, leave_unread, prepare_streams, use_utf8
from jobs.signals import check_not_stopped, exit_status, forget_signals, heed_signals, leave
from pipeline.errors import NightliftError, printable


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command: where its job is, and what `--help` says of it."""

    module: str
    """Has a function `run`, which takes a config and returns the exit status."""
    config: str
    """Name of the dataclass of its flags, in that module."""
    summary: str
    goes_on: bool = False
    """Whether a stopped job goes on where it was when it is run again; else it starts over."""

    def load(self) -> tuple[type, Callable[[Any], int]]:
        """Import the job. Returns the type of its config, and the function that runs it."""
        try:
            module = _imported(self.module)
        finally:
            check_not_stopped()  # a package that was interrupted while it loaded may have raised another error
        return getattr(module, self.config), module.run


COMMANDS = {
    "images": Command(
        "jobs.images", "ImagesConfig", "enhance the photos of a folder, a glob or a bucket", goes_on=True
    ),
    "videos": Command("jobs.videos", "VideosConfig", "enhance videos, and keep their sound and metadata", goes_on=True),
    "enhance": Command("jobs.enhance", "EnhanceConfig", "enhance photos and videos together", goes_on=True),
    "preview": Command("jobs.preview.job", "PreviewConfig", "show files before and after in the browser"),
    "train": Command("jobs.train.job", "TrainConfig", "train a network on your own photos and videos", goes_on=True),
    "evaluate": Command("jobs.evaluate.job", "EvaluateConfig", "score networks side by side"),
    "compare": Command(
        "jobs.compare.job", "CompareConfig", "show a finished job's files before and after, side by side"
    ),
    "report": Command("jobs.report.job", "ReportConfig", "write an HTML report of a job or a training"),
    "verify": Command("jobs.verify.job", "VerifyConfig", "compare all outputs with the manifest"),
    "export": Command("jobs.export", "ExportConfig", "write a network as an ONNX file"),
    "benchmark": Command("jobs.benchmark.job", "BenchmarkConfig", "measure the speed of this machine"),
    "doctor": Command("jobs.doctor", "DoctorConfig", "show what this machine has, and what is wrong with it"),
    "submit": Command("jobs.submit", "SubmitConfig", "run a job on a Ray cluster and show its output"),
}


def start(arguments: Sequence[str] | None = None) -> int:
    """Run the command line in a process that does nothing else. Returns the exit status."""
    use_utf8()
    prepare_streams()
    return main(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 0 all done, 1 some inputs failed, 2 usage or nothing to read."""
    given = sys.argv[1:] if arguments is None else arguments
    with logging_to_stderr(in_json=asks_for_json(given)):
        status = _status(given)
        forget_signals()  # they have had their answer
        return leave(flush_output(status))


def _status(given: Sequence[str]) -> int:
    clock.begin()
    forget_signals()
    heed_signals()
    try:
        return _run(given)
    except NightliftError as error:
        tell(printable(str(error)), code=error.code)
        return exit_status(error)
    except BrokenPipeError:  # the reader went away, as `head` does
        leave_unread()
        return 1
    except KeyboardInterrupt as stop:
        without = ", without --fresh," if "--fresh" in given else ""
        outcome = "continue" if given and given[0] in COMMANDS and COMMANDS[given[0]].goes_on else "start over"
        tell(f"stopped; run the same command again{without} to {outcome}", level=logging.INFO)
        return exit_status(stop)


def _run(arguments: Sequence[str]) -> int:
    name = arguments[0] if arguments else ""
    if name == "--version":
        print(f"nightlift {version('nightlift')}")
        return 0
    if name == "help" and len(arguments) > 1:
        return _run([arguments[1], "--help"])
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name not in COMMANDS:
        tell(f"{_correction(name)}; nightlift --help lists all commands")
        return 2
    config_type, run = COMMANDS[name].load()
    if asks_for_help(arguments[1:]):
        print(help_page(config_type, name))
        return 0
    return run(parsed(config_type, name, arguments[1:]))


def _imported(name: str) -> ModuleType:
    """Import a module without collecting garbage, and leave its objects out of later collections.

    Both together save a fifth of the run time of a small job.
    """
    if name in sys.modules or not gc.isenabled():  # objects of a caller are not ours to leave out
        return import_module(name)
    gc.disable()
    try:
        module = import_module(name)
        gc.freeze()
        return module
    finally:
        gc.enable()


def _help() -> str:
    return "\n".join(
        [
            "usage: nightlift COMMAND [OPTIONS]",
            "",
            "Brighten dark photos and videos in bulk, on one machine or a Ray cluster.",
            "",
            *(f"  {name:10} {command.summary}" for name, command in COMMANDS.items()),
            "",
            "nightlift COMMAND --help   show the options of a command",
            "nightlift --version        show the version",
        ]
    )


def _correction(name: str) -> str:
    if not name:
        return "no command given"
    close = get_close_matches(name, COMMANDS, n=1, cutoff=0.7)
    hint = f"did you mean {close[0]}" if close else f"choose from {', '.join(COMMANDS)}"
    return f'unknown command "{name}": {hint}'


if __name__ == "__main__":
    sys.exit(start())
