"""Joins the Ray cluster that RAY_ADDRESS names, or starts a local one."""

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from jobs.cluster.local_ray import local_ray
from jobs.cluster.machine import usable_cores
from jobs.cluster.nodes import LEAST_GPU_SHARE
from jobs.cluster.shipment import shipped_environment
from jobs.command_line.logs import steps, take_in_ray
from jobs.signals import Terminated, check_not_stopped, heed_signals, leave_without_ray
from pipeline.errors import ClusterError, UsageError
from pipeline.storage.storage import Storage

CONNECT_S = 10.0
QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
SHOWN = 300  # characters of what Ray says

log = logging.getLogger("nightlift")


@contextmanager
def ray_cluster(workers: int | None, *, join: bool = True) -> Iterator[None]:
    """Initialise Ray while the body runs. Raises UsageError.

    A local Ray has a CPU for each worker, and at least as many as this process may use. `join`: use the cluster that
    RAY_ADDRESS names, if it names one.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray Data starts its actors in a way that Ray's core reports as an error each time (ray issue 53727)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # otherwise a canary that is requested while the job leaves Ray would start another Ray
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    # Ray's default refuses a cluster whose Python differs in the last number only
    os.environ.setdefault("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "minor")
    import ray  # takes a second, so only once there is work

    check_not_stopped()
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") if join else None
    steps.info(f"joining the Ray cluster at {address}" if address else "starting Ray on this machine (a few seconds)")
    there = _joined(address) if address else local_ray(max(workers or 0, usable_cores()), **QUIET)
    try:
        with _silenced_stdout(), _started(there, address):
            heed_signals()  # after Ray has started, as it installs its own handlers
            take_in_ray()
            check_not_stopped()
            if address:
                _log_no_room()
            yield
    finally:
        heed_signals()  # after Ray has ended, as its core leaves SIGTERM to the system, unseen by Python


@contextmanager
def _joined(address: str) -> Iterator[None]:
    """Connect to a cluster while the body runs. If the body is interrupted, only this process's end disconnects."""
    import ray

    if address.startswith("ray://") and find_spec("grpc") is None:
        extra = 'pip install "nightlift[cluster]"'
        raise UsageError(f"RAY_ADDRESS={address}: ray:// needs a package that is not installed: {extra}")
    check_answers(address)
    try:
        with shipped_environment() as environment:
            ray.init(address=address, runtime_env=environment, **QUIET)
        yield
    except (KeyboardInterrupt, ClusterError):
        leave_without_ray()
        raise
    except BaseException:
        ray.shutdown()
        raise
    ray.shutdown()


@contextmanager
def _started(there: AbstractContextManager[None], address: str | None) -> Iterator[None]:
    """Enter `there`, which joins or starts Ray, with standard error silenced. Raises UsageError if that fails."""
    with ExitStack() as stack:
        try:
            with _silenced_stderr():
                stack.enter_context(there)
        except SystemExit as stop:  # Ray turns SIGTERM into this
            raise Terminated from stop
        except UsageError:
            raise
        except Exception as error:  # Ray raises plain Exceptions, too, as when a busy machine takes too long
            if versions := _versions_that_differ(str(error)):
                raise UsageError(f"RAY_ADDRESS={address}: {versions}") from error
            place = f"RAY_ADDRESS={address}: no cluster answers" if address else "Ray did not start on this machine"
            may_lack_token = address and not isinstance(error, OSError)
            token = "; if it requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" if may_lack_token else ""
            raise UsageError(f"{place} ({shorten(str(error), SHOWN)}{token})") from error
        yield


def _versions_that_differ(told: str) -> str:
    """Return words on the versions of Ray and Python, if a cluster's differ from ours by what Ray `told`; else ""."""
    found = re.findall(r"(Ray|Python): (\S+)", told) if "Version mismatch" in told else []
    if len(found) != 4:
        return ""
    theirs, ours = (" and ".join(f"{name} {version}" for name, version in each) for each in (found[:2], found[2:]))
    return f"the cluster runs {theirs}, this machine {ours}; install the cluster's versions here, or ours there"


def check_answers(address: str) -> None:
    """Raise OSError within `CONNECT_S` if nothing listens at the address: Ray itself would try for minutes."""
    host, separator, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()


def _log_no_room() -> None:
    """Log it if all CPUs or GPUs are in use: a job that waits for some, perhaps for hours, would look as if it hung."""
    import ray

    free, all_of_them = ray.available_resources(), ray.cluster_resources()
    for kind in ("CPU", "GPU"):
        if all_of_them.get(kind, 0) and free.get(kind, 0) < (LEAST_GPU_SHARE if kind == "GPU" else 1):
            log.info("all %d %ss are in use by other jobs; waiting for free ones", all_of_them[kind], kind)


def log_expiry(storage: Storage) -> None:
    """Log when the AWS keys expire that are sent to a cluster's machines, as those may be unable to renew them."""
    if storage.expiry and os.environ.get("RAY_ADDRESS"):
        log.info(
            "%s; on machines of the cluster that lack this profile they are not renewed, and the job stops then, to be "
            "continued by the same command: give each machine the profile or a role to avoid this",
            storage.expiry,
        )


@contextmanager
def _silenced_stdout() -> Iterator[None]:
    """Discard Python's standard output: Ray prints pages about its tasks there, which its logs have, too."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Discard the process's standard error: Ray's core, bypassing Python, writes its log level there.

    Anything that matters is raised.
    """
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
