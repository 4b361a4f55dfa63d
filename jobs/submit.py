"""Sends a job to a Ray cluster and watches it: `nightlift submit JOB ...`, or `python -m jobs.submit JOB ...`.

It uses Ray's job API over HTTP, so it needs no route to the cluster's nodes. Our code and the weights travel along.
"""

import asyncio
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tenacity import retry, retry_if_exception_message, stop_after_delay, wait_fixed

from jobs.cluster.joining import check_answers
from jobs.cluster.shipment import shipped_folder
from jobs.command_line.options import Options, Shown
from jobs.command_line.parsing import parsed
from jobs.enhance import EnhanceConfig
from jobs.flags import optional, positional
from jobs.images import ImagesConfig
from jobs.signals import TERMINATED, exit_status
from jobs.train.config import TrainConfig
from jobs.videos import VideosConfig
from pipeline.errors import ClusterError, UsageError
from pipeline.planning.path_list import STDIN, PathList, is_list
from pipeline.storage.credentials import parse_options
from pipeline.storage.urls import LOCAL, local_path, protocol_of, redacted

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

log = logging.getLogger("nightlift")

CONFIGS: Mapping[str, type] = {
    "images": ImagesConfig,
    "videos": VideosConfig,
    "enhance": EnhanceConfig,
    "train": TrainConfig,
}
SECRET = re.compile(r'"\w*(?:key|secret|token|password|connection_string|credential)\w*"\s*:', re.IGNORECASE)
CARRIED, LIST = "carried", "list.txt"  # folder of the files that travel with the code; a list of paths in it
LOOK_AGAIN_S, SILENT_S = 2.0, 300.0  # pause between two tries to reach a cluster; time until it is given up
QUIET_S = 60.0  # without new output; then check whether the job is still running
STARTING_S = 60.0  # a cluster that answers may take so long until it accepts jobs


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitConfig:
    """Run a job on a Ray cluster, show its output, and end with its exit status.

    The code of nightlift and the weights are sent along; the cluster itself must reach SRC and DST. Ctrl-C stops
    watching, and the job goes on.

    Examples:
      nightlift submit images s3://a/in s3://a/out --address http://HEAD:8265
      nightlift submit videos s3://films/in s3://films/out --crf 22 --no-wait

    Exit status: that of the job; 0 submitted, with --no-wait; 1 the cluster did not take the job, or was lost; 2 wrong
    usage, or no cluster answers; 130, 143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP.
    """

    job: Annotated[Literal["images", "videos", "enhance", "train"], positional("JOB")]
    """Job to run: images, videos, enhance or train."""
    arguments: Annotated[tuple[str, ...], Shown(metavar="...", positional=True, rest=True)] = ()
    """Arguments of the job, as it takes them without submit: see nightlift JOB --help."""

    address: Annotated[str | None, optional("URL")] = None
    """URL of the cluster's dashboard, such as http://HEAD:8265. By default RAY_API_SERVER_ADDRESS or RAY_ADDRESS.
    If the cluster requires a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."""
    no_wait: bool = False
    """Print the id of the job and end, without waiting for the job."""
    env: Annotated[tuple[str, ...], Shown(metavar="NAME[=VALUE]", repeatable=True)] = ()
    """Environment variable for the job, such as AWS_ENDPOINT_URL. Without VALUE, the value set on this machine is sent.
    Everybody who sees the cluster's dashboard can read it, so set secrets on the nodes instead."""

    @property
    def env_vars(self) -> dict[str, str]:
        """Return the variables of `env` with their values. Raises UsageError if one without a value is not set here."""
        pairs = [each.partition("=") for each in self.env]
        missing = [name for name, given, _ in pairs if not given and name not in os.environ]
        if missing:
            raise UsageError(f"--env {missing[0]}: this variable is not set here; write --env {missing[0]}=VALUE")
        return {name: value if given else os.environ[name] for name, given, value in pairs}


def run(config: SubmitConfig) -> int:
    """Submit a job and watch it. Returns the job's exit status; 0 with --no-wait. Raises UsageError, ClusterError."""
    job: Any = parsed(CONFIGS[config.job], config.job, config.arguments, also=Options.of(SubmitConfig).flags)
    _check_places(job)
    _check_is_no_secret(job)
    carried, variables = _files_of(job), config.env_vars
    entrypoint = shlex.join(
        ["python", "-m", f"jobs.{config.job}", *(_there(each, carried) for each in config.arguments)]
    )
    client = _client(config.address)
    with shipped_folder(carried) as folder, _refusals():
        environment = {"working_dir": str(folder), "env_vars": variables}
        number = _patiently(client.submit_job, entrypoint=entrypoint, runtime_env=environment)
    if config.no_wait:
        print(number)
        return 0
    log.info("submitted as %s; Ctrl-C stops watching, and the job goes on", number)
    return _watched(client, number)


def _places(job: Any) -> tuple[str, ...]:
    """Return the places that a job names, without a list of them."""
    if isinstance(job, TrainConfig):
        for place in filter(is_list, job.places):
            raise UsageError(f"{place}: train takes no list of paths; for a file or folder of that name give its path")
        return job.places
    return (job.dst,) if is_list(job.src) else (job.src, job.dst)


def _check_places(job: Any) -> None:
    """Log that the cluster looks for local paths in a shared folder. Raises UsageError for one that is not absolute."""
    if not isinstance(job, TrainConfig) and is_list(job.src):
        _check_list(job.src)
    for place in _places(job):
        if protocol_of(place) != LOCAL:
            continue
        if not Path(local_path(place)).is_absolute():
            raise UsageError(
                f"{place}: the cluster cannot reach files of this machine; give the URL of a bucket, or the absolute "
                "path of a folder that all nodes share"
            )
        log.info("%s: using a folder that all nodes of the cluster must share", place)


def _check_list(source: str) -> None:
    """Raise UsageError for a list that means nothing on the cluster, or that would show a secret there."""
    if source == STDIN:
        raise UsageError("standard input does not travel to the cluster; save the list in a file and give it as @FILE")
    paths = PathList.read(source)
    for place in paths:
        if place != redacted(place):
            raise UsageError(f"{paths.name}: {redacted(place)} contains a password or a signature; leave it out")
        if protocol_of(place) == LOCAL and not Path(local_path(place)).is_absolute():
            raise UsageError(
                f"{paths.name}: {place} is a path of this machine; for a cluster, list URLs, or absolute paths in a "
                "folder that all nodes share"
            )


def _check_is_no_secret(job: Any) -> None:
    """Raise UsageError if arguments hold a secret: whoever may list a cluster's jobs reads them.

    Also raised for storage options that are not JSON.
    """
    parse_options(job.storage_options)
    if any(place != redacted(place) for place in _places(job)) or SECRET.search(job.storage_options):
        raise UsageError(
            "a URL or --storage-options contains a key, a password or a signature, which everybody who sees the "
            "cluster's jobs could read; set it on the nodes, or use --env if they may all know it"
        )


def _files_of(job: Any) -> dict[Path, str]:
    """Return the local files that the job's flags name, each with its path in the shipped folder. Raises UsageError."""
    path: Path | None = job.init_from if isinstance(job, TrainConfig) else job.weights
    if path is not None and not path.is_file():
        raise UsageError(f"{path}: no such file on this machine, from which the weights are sent")
    carried = {} if path is None else {path: f"{CARRIED}/{path.name}"}
    if not isinstance(job, TrainConfig) and is_list(job.src):
        carried[Path(job.src[1:]).expanduser()] = f"{CARRIED}/{LIST}"
    return carried


def _there(argument: str, carried: Mapping[Path, str]) -> str:
    """Convert an argument for the cluster: a carried file is named by its path there."""
    flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if value.startswith("@") and Path(value[1:]).expanduser() in carried:
        return f"@{carried[Path(value[1:]).expanduser()]}"
    return f"{flag}{equals}{carried.get(Path(value), value)}"


def _client(address: str | None) -> "JobSubmissionClient":
    """Connect to the cluster's dashboard. Raises UsageError."""
    if address is not None:
        url = address if "://" in address else f"http://{address}"
        os.environ["RAY_API_SERVER_ADDRESS"] = url  # Ray prefers this variable to its argument
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard_sdk", "job.sdk"):  # they set their own levels, and log how they pack and send
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
    logging.getLogger("ray._private.runtime_env").setLevel(logging.WARNING)
    place = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if not place:
        raise UsageError("no cluster given; add --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS")
    try:
        check_answers(place)
        return JobSubmissionClient()
    except AuthenticationError as error:
        raise UsageError(
            f"{place}: the cluster rejected the token, or got none; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH. Or this is not the address of a Ray dashboard"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{place}: no Ray dashboard answers at this address ({_first_line(error)})") from error


def _watched(client: "JobSubmissionClient", number: str) -> int:
    """Show the job's output until it ends. Returns its exit status. Raises ClusterError."""
    try:
        job = asyncio.run(_followed(client, number))
    except KeyboardInterrupt as stop:
        again, stopping = (_command(client, what, number) for what in ("logs --follow", "stop"))
        log.info("stopped watching, and the job goes on; to watch it again: %s; to stop it: %s", again, stopping)
        return exit_status(stop)
    if job.status == "STOPPED":
        log.info("%s was stopped; submit the same job again to continue", number)
        return TERMINATED
    if job.driver_exit_code is None:
        raise ClusterError(f"{number} did not start: {job.message}")
    return job.driver_exit_code


def _command(client: "JobSubmissionClient", what: str, number: str) -> str:
    return f"ray job {what} --address {client.get_address()} {number}"


async def _followed(client: "JobSubmissionClient", number: str) -> "JobDetails":
    """Show the job's output until it ends, however often the connection is lost. Returns the job's details.

    Raises ClusterError if the connection stays lost for `SILENT_S`.
    """
    from aiohttp import ClientError

    job_log, failing_since = _JobLog(client, number), None
    while True:
        shown = job_log.shown
        try:
            await job_log.show()
            job = client.get_job_info(number)
            failing_since = None
            if job.status.is_terminal():
                return job
        except BrokenPipeError:  # nobody reads our output
            raise
        except (ClientError, OSError, RuntimeError) as error:
            if failing_since is None or job_log.shown > shown:
                failing_since = time.monotonic()
                log.warning(
                    "lost the connection to the cluster (%s); trying again for %.0f s", _first_line(error), SILENT_S
                )
            if time.monotonic() - failing_since > SILENT_S:
                raise ClusterError(
                    f"the cluster has not answered for {SILENT_S:.0f} s ({_first_line(error)}); {number} may still be "
                    f"running; to watch it: {_command(client, 'logs --follow', number)}"
                ) from error
        await asyncio.sleep(LOOK_AGAIN_S)


class _JobLog:
    """Output of a job: every connection reads it from its beginning, but it is shown once."""

    def __init__(self, client: "JobSubmissionClient", number: str) -> None:
        self._client, self._number = client, number
        self.shown = 0  # characters

    async def show(self) -> None:
        """Show new output until it ends, or is quiet for `QUIET_S`: a connection may be lost silently.

        Raises what the client raises.
        """
        passed, texts = 0, self._client.tail_job_logs(self._number)
        with suppress(StopAsyncIteration, asyncio.TimeoutError):
            while True:
                text = await asyncio.wait_for(anext(texts), QUIET_S)
                print(text[max(0, self.shown - passed) :], end="", flush=True)
                passed += len(text)
                self.shown = max(self.shown, passed)


@retry(
    retry=retry_if_exception_message(match=".*No available agent"),
    stop=stop_after_delay(STARTING_S),
    wait=wait_fixed(LOOK_AGAIN_S),
    reraise=True,
)
def _patiently(submit_job: Callable[..., str], **job: Any) -> str:
    return submit_job(**job)


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise ClusterError if the cluster does not take the job that the body submits."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"the cluster did not accept the job ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    from jobs.cli import start

    sys.exit(start(["submit", *sys.argv[1:]]))
