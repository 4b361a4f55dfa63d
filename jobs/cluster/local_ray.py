"""Starts a local Ray on this machine, and leaves nothing of it behind."""

import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from jobs.cluster.room import check_room, is_overloaded, ray_folder, ray_parent
from jobs.cluster.shipment import standing_apart
from jobs.signals import leave_without_ray
from pipeline.errors import ClusterError

STARTS = 3  # attempts to start Ray on an overloaded machine
END_S = 2.0  # time for Ray's processes to end by themselves


@contextmanager
def local_ray(cores: int, **options: Any) -> Iterator[None]:
    """Run a local Ray while the body runs. `options`: for `ray.init`. Raises UsageError, and what `ray.init` raises.

    If the body is interrupted or raises ClusterError, Ray's processes are killed, and Ray is not asked to shut down:
    see `leave_without_ray`.
    """
    check_room()
    parent = ray_parent()  # before the current directory changes
    others = psutil.Process().children(recursive=True)
    with TemporaryDirectory(prefix="nightlift-", dir=ray_folder(), ignore_cleanup_errors=True) as name:
        empty, spilled = Path(name, "empty"), Path(name, "spilled")
        empty.mkdir()
        try:
            _provide_token()
            with standing_apart(empty), _deaf_to_hangups(), _apart_from_clusters(parent):
                _start(others, num_cpus=cores, object_spilling_directory=str(spilled), **options)
            yield
        except (KeyboardInterrupt, ClusterError):
            leave_without_ray()
            _kill(others)
            raise
        except BaseException:
            _shut_down(others)
            raise
        _shut_down(others)


def _start(others: Sequence[psutil.Process], **options: Any) -> None:
    """Start Ray. Tries again if the machine is overloaded, as Ray gives itself only half a minute."""
    import ray

    for left in reversed(range(STARTS)):
        try:
            ray.init(address="local", include_dashboard=False, **options)
            return
        except Exception:  # Ray raises plain Exceptions
            if not left or not is_overloaded():
                raise
            _shut_down(others)


def _provide_token() -> None:
    """Make a token for Ray, if it has none. It would keep one in the home directory, which a container may lack.

    It stays in the environment, as Ray's core remembers the first token of a process.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    with suppress(OSError, RuntimeError):  # RuntimeError: this user has no home directory
        if (Path.home() / ".ray" / "auth_token").read_text().strip():
            return
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def _apart_from_clusters(parent: str) -> Iterator[None]:
    """Hide from the body, which starts Ray in `parent`, the environment of a cluster whose job this process may be."""
    before = os.environ.copy()
    os.environ.pop("RAY_JOB_CONFIG_JSON_ENV_VAR", None)
    os.environ["RAY_TMPDIR"] = parent
    try:
        yield
    finally:
        for name in ("RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_TMPDIR"):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@contextmanager
def _deaf_to_hangups() -> Iterator[None]:
    """Block SIGHUP in the processes that the body starts, and in this thread while the body runs.

    A terminal that is closed sends it to all of them. Without Ray's processes, the job could not end in good order.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shut_down(others: Sequence[psutil.Process]) -> None:
    """Shut Ray down, and kill what is left of it: agents outlive a raylet that ends as it starts."""
    import ray

    started = _started(others)
    ray.shutdown()
    psutil.wait_procs(started, timeout=END_S)
    _kill(others)


def _started(others: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return the processes below this one that are not among `others`."""
    return [process for process in psutil.Process().children(recursive=True) if process not in others]


def _kill(others: Sequence[psutil.Process]) -> None:
    """Kill all processes below this one that are not among `others`."""
    for process in _started(others):  # so that none starts another process that would be missed
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    left = _started(others)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=END_S)
