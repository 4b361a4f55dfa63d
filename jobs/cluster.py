"""Ray for a job: joins the cluster that RAY_ADDRESS names, or starts a local one and says so."""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from jobs.import_path import standing_in
from jobs.room import check_room
from jobs.stopping import Terminated, check_not_stopped, heed_signals
from model import cuda_problem, has_fast_bf16
from pipeline.errors import UsageError

CONNECT_S, END_S = 10.0, 2.0  # that a cluster may take to answer, and Ray's processes to end
LEAST_GPU_SHARE = 0.01

log = logging.getLogger("nightlift")


@contextmanager
def ray_cluster(workers: int | None, *, join: bool = True) -> Iterator[None]:
    """An initialised Ray while the body runs; a local one has a core for each worker. Raises UsageError.

    `join`: the cluster that RAY_ADDRESS names, where it names one.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray Data starts its actors in a way that Ray's core reports as an error each time (ray issue 53727)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # else Ray sends the current directory to workers that run under `uv run`, and installs everything there anew
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray  # takes a second: only once there is work

    check_not_stopped()
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") if join else None
    log.info(f"joining the Ray cluster at {address}" if address else "starting Ray on this machine (a few seconds)")
    if not address:
        check_room()
    others = psutil.Process().children(recursive=True)
    with TemporaryDirectory(prefix="nightlift-") as empty, _told_nothing_by_ray():
        try:
            _start(address, max(workers or 0, os.cpu_count() or 1), empty)
            heed_signals()
            check_not_stopped()
            if address:
                _tell_of_no_room()
            yield
        finally:
            _shut_down(others)


def _shut_down(others: Sequence[psutil.Process]) -> None:
    """Leave Ray. What it has started and does not end is killed: its agents outlive a raylet that ends as it starts."""
    import ray

    started = [process for process in psutil.Process().children(recursive=True) if process not in others]
    ray.shutdown()
    _, left = psutil.wait_procs(started, timeout=END_S)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _start(address: str | None, cores: int, empty: str) -> None:
    """Join the cluster at `address`, or start a local one. `empty`: a folder for Ray to stand in. Raises UsageError."""
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address:
            check_answers(address)
        with _silenced_stderr(), standing_in(empty):
            if address:
                ray.init(address=address, runtime_env=_our_code(), **quiet)
            else:
                ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
    except SystemExit as stop:  # Ray's way with SIGTERM
        raise Terminated from stop
    except (OSError, RuntimeError, ValueError) as error:
        place = f"RAY_ADDRESS={address}: no cluster answers" if address else "Ray did not start on this machine"
        token = "; where it wants a token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" if address else ""
        raise UsageError(f"{place} ({error}{token})") from error


def check_answers(address: str) -> None:
    """Raises OSError within seconds where nothing listens: Ray itself would try for minutes."""
    host, separator, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()


def _tell_of_no_room() -> None:
    """Where others have all processors: a job may wait for hours, and looks as if it stood still."""
    import ray

    free, most = ray.available_resources().get("CPU", 0), ray.cluster_resources().get("CPU", 0)
    if most and free < 1:
        log.info("other jobs have all %d processors of the cluster: workers start as some become free", most)


@contextmanager
def _told_nothing_by_ray() -> Iterator[None]:
    """Ray prints what becomes of its tasks to standard output, page after page; its logs have it, too."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Ray's core writes its log level to the process's standard error, past Python; what matters it raises."""
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
    """Processors and GPUs of each node."""
    import ray

    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive]


def room_on_gpus(nodes: Sequence[tuple[int, int]], share: float, cpus_each: float = 0) -> int:
    """Workers that there is room for on `cluster_nodes`, each of which takes that share of a GPU, or several of one.

    `cpus_each`: that a worker takes beside it, of the same node.
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


def check_gpus() -> None:
    """Raise UsageError where torch cannot use the GPUs that the cluster has."""
    problem = next(filter(None, _on_each_node("GPU", cuda_problem)), "")
    if problem:
        raise UsageError(f"the cluster has GPUs that torch cannot use ({problem}); --device cpu runs on processors")


def all_have_fast_bf16(device: str) -> bool:
    """Tell whether every node with a GPU, or with CPUs, computes in bf16: then results do not depend on the node."""
    import ray

    kind = "GPU" if device.startswith("cuda") else "CPU"
    if kind == "CPU" and _nodes_with(kind) == [ray.get_runtime_context().get_node_id()]:  # without a worker's start
        return has_fast_bf16(device)
    return all(_on_each_node(kind, has_fast_bf16, device))


def _nodes_with(kind: str) -> list[str]:
    """Return the ids of all nodes that have a GPU, or a CPU."""
    import ray

    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(kind, 0) >= 1]


def _on_each_node(kind: str, ask: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return what a function gives on each node that has a GPU, or a CPU. Raises RayError."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asking: Any = ray.remote(num_cpus=0, num_gpus=LEAST_GPU_SHARE if kind == "GPU" else 0)(ask)
    places = (NodeAffinitySchedulingStrategy(node, soft=False) for node in _nodes_with(kind))
    return list(ray.get([asking.options(scheduling_strategy=place).remote(*arguments) for place in places]))


def _our_code() -> dict[str, object]:
    """Sends the packages that run here to the workers. A submitted Ray job has them in its working directory."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return {}
    import jobs
    import model
    import pipeline

    return {"py_modules": [jobs, model, pipeline]}
