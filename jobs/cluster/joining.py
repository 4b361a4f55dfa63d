"""Joins the Ray cluster that RAY_ADDRESS names, or starts a local one, and describes its nodes."""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from jobs.cluster.local_ray import local_ray
from jobs.cluster.shipment import shipped_environment
from jobs.signals import Terminated, check_not_stopped, heed_signals, leave_without_ray
from model import cuda_problem, has_fast_bf16
from pipeline.errors import ClusterError, UsageError

CONNECT_S = 10.0
QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
LEAST_GPU_SHARE = 0.01
SHOWN = 300  # characters of what Ray says

log = logging.getLogger("nightlift")


@contextmanager
def ray_cluster(workers: int | None, *, join: bool = True) -> Iterator[None]:
    """Initialise Ray while the body runs. Raises UsageError.

    A local Ray has a CPU for each worker, and at least as many as the machine. `join`: use the cluster that RAY_ADDRESS
    names, if it names one.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray Data starts its actors in a way that Ray's core reports as an error each time (ray issue 53727)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # otherwise a canary that is requested while the job leaves Ray would start another Ray
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    import ray  # takes a second, so only once there is work

    check_not_stopped()
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") if join else None
    log.info(f"joining the Ray cluster at {address}" if address else "starting Ray on this machine (a few seconds)")
    there = _joined(address) if address else local_ray(max(workers or 0, os.cpu_count() or 1), **QUIET)
    with _told_nothing_by_ray(), _started(there, address):
        heed_signals()  # after Ray has started, as it installs its own handlers
        check_not_stopped()
        if address:
            _tell_of_no_room()
        yield


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
            place = f"RAY_ADDRESS={address}: no cluster answers" if address else "Ray did not start on this machine"
            token = "; if it requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" if address else ""
            raise UsageError(f"{place} ({shorten(str(error), SHOWN)}{token})") from error
        yield


def check_answers(address: str) -> None:
    """Raise OSError within `CONNECT_S` if nothing listens at the address: Ray itself would try for minutes."""
    host, separator, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()


def _tell_of_no_room() -> None:
    """Log it if other jobs use all CPUs or GPUs: this job may wait for hours, and would look as if it hung."""
    import ray

    free, all_of_them = ray.available_resources(), ray.cluster_resources()
    for kind in ("CPU", "GPU"):
        if all_of_them.get(kind, 0) and free.get(kind, 0) < (LEAST_GPU_SHARE if kind == "GPU" else 1):
            log.info("all %d %ss are in use by other jobs; waiting for free ones", all_of_them[kind], kind)


@contextmanager
def _told_nothing_by_ray() -> Iterator[None]:
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


def cluster_cpus() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def cluster_gpus() -> int:
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def cluster_nodes() -> list[tuple[int, int]]:
    """Return the numbers of CPUs and GPUs of each node."""
    import ray

    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive]


def room_on_gpus(nodes: Sequence[tuple[int, int]], share: float, cpus_each: float = 0) -> int:
    """Return how many workers have room on `nodes`, as given by `cluster_nodes`.

    `share`: of a GPU that each worker takes; above 1, a number of whole GPUs. `cpus_each`: CPUs of the same node that
    each worker takes, too.
    """
    on_one = int(1 / share + 1e-9)  # 1 / 0.1 may come out below 10
    room = 0
    for cpus, gpus in nodes:
        by_gpus = gpus * on_one if share <= 1 else gpus // int(share)
        room += min(by_gpus, int(cpus / cpus_each + 1e-9)) if cpus_each else by_gpus
    return room


def cluster_memory_bytes() -> float:
    import ray

    return float(ray.cluster_resources().get("memory", 0))


def chosen_device(asked: str, gpus: int) -> str:
    """Return `cuda` or `cpu`; for auto, `cuda` if the cluster has `gpus`. Raises UsageError if they cannot be used."""
    if asked == "cpu" or (asked == "auto" and not gpus):
        return "cpu"
    if not gpus:
        raise UsageError(f"--device {asked}: the cluster has no GPU; leave out --device to run on CPUs")
    check_gpus()
    return "cuda"


def check_gpus() -> None:
    """Raise UsageError if torch cannot use the cluster's GPUs."""
    try:
        problem = next(filter(None, _on_each_node("GPU", cuda_problem)), "")
    except ClusterError:  # a node was lost just now: workers will report it
        return
    if problem:
        raise UsageError(f"the cluster has GPUs that torch cannot use ({problem}); add --device cpu to run on CPUs")


def all_have_fast_bf16(device: str) -> bool:
    """Return whether all nodes with a GPU (or CPUs) have fast bf16, so that results do not depend on the node."""
    import ray

    kind = "GPU" if device.startswith("cuda") else "CPU"
    here = ray.get_runtime_context().get_node_id()
    if kind == "CPU" and [node["NodeID"] for node in nodes_with(kind)] == [here]:  # no need to start a worker
        return has_fast_bf16(device)
    return all(_on_each_node(kind, has_fast_bf16, device))


def nodes_with(kind: str) -> list[dict[str, Any]]:
    """Return all live nodes that have resources of a kind ("GPU" or "CPU"), as `ray.nodes` describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(kind, 0) >= 1]


def tasks_on(nodes: Sequence[dict[str, Any]], call: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
    """Call a function on each of the nodes, taking no CPUs. Returns references. `options`: for `ray.remote`."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(num_cpus=0, **options)(call)
    places = (NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes)
    return [task.options(scheduling_strategy=place).remote(*arguments) for place in places]


def _on_each_node(kind: str, ask: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return a function's results on all nodes that have a GPU, or a CPU. Raises ClusterError."""
    import ray

    from pipeline.flow.ray_data import ray_errors

    share = LEAST_GPU_SHARE if kind == "GPU" else 0
    with ray_errors():
        return list(ray.get(tasks_on(nodes_with(kind), ask, *arguments, num_gpus=share)))
