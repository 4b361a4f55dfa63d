"""`nightlift`: the console command, with a sub-command for each job."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import tyro

from jobs import benchmark, enhance, evaluate, export, images, preview, report, submit, train, videos
from jobs.stopping import exit_status, forget_signals, heed_signals, leave
from pipeline.errors import ClusterError, Diverged, ManifestError, NightliftError, Stopped
from pipeline.records import printable

JOBS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "images": (images.ImagesConfig, images.run),
    "videos": (videos.VideosConfig, videos.run),
    "enhance": (enhance.EnhanceConfig, enhance.run),
    "preview": (preview.PreviewConfig, preview.run),
    "train": (train.TrainConfig, train.run),
    "evaluate": (evaluate.EvaluateConfig, evaluate.run),
    "report": (report.ReportConfig, report.run),
    "export": (export.ExportConfig, export.run),
    "benchmark": (benchmark.BenchmarkConfig, benchmark.run),
}
GO_ON = tuple(submit.CONFIGS)  # where they were, when they are run again; the others start over
WORDS = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)  # of the command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 0 all done, 1 some inputs failed, 2 usage or nothing to read."""
    status = _status(sys.argv[1:] if arguments is None else arguments)
    forget_signals()  # they have had their answer
    return leave(status)


def _status(given: Sequence[str]) -> int:
    logging.basicConfig(format="nightlift: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("nightlift").setLevel(logging.INFO)
    forget_signals()
    heed_signals()
    try:
        return _run(given)
    except NightliftError as error:
        print(f"nightlift: {printable(str(error))}", file=sys.stderr)
        return 1 if isinstance(error, ClusterError | Diverged | ManifestError | Stopped) else 2
    except BrokenPipeError:  # as of `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as stop:
        without = ", without --fresh," if "--fresh" in given else ""
        goes_on = given[:1] and given[0] in GO_ON
        outcome = "go on from here" if goes_on else "start over"
        print(f"nightlift: stopped; run the same command again{without} to {outcome}", file=sys.stderr)
        return exit_status(stop)


def _run(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--version"]:
        print(f"nightlift {version('nightlift')}")
        return 0
    name = arguments[0] if arguments else ""
    if name == "submit":  # its own flags, and those of a job
        return submit.run(arguments[1:], WORDS)
    if name in JOBS:  # by itself: a slip is told in the words of this job alone
        config_type, run = JOBS[name]
        return run(tyro.cli(config_type, prog=f"nightlift {name}", args=arguments[1:], config=WORDS))
    tyro.extras.subcommand_cli_from_dict(  # tells which jobs there are, and exits
        {**{name: config_type for name, (config_type, _) in JOBS.items()}, "submit": submit.SubmitConfig},
        prog="nightlift",
        description="Lifts night photos into visible light, in bulk, on Ray.",
        args=arguments,
        config=WORDS,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
