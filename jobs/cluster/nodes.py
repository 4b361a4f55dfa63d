"""What the nodes of a cluster have: CPUs, memory and GPUs, how many workers have room, and which device they use."""

import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from jobs.cluster.machine import usable_memory_bytes
from jobs.command_line.logs import steps
from model import cuda_problem, has_fast_bf16
from pipeline.errors import ClusterError, UsageError

LEAST_GPU_SHARE = 0.01

log = logging.getLogger("nightlift")


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


def room_on_cpus(worker_bytes: float, workers_per_core: int = 1) -> int:
    """Return how many workers the CPUs and the memory of all nodes have room for, at least 1. Logs if memory limits it.

    `worker_bytes`: what a worker may take. A node of which Ray does not know the memory counts as having enough.
    """
    import ray

    here = ray.get_runtime_context().get_node_id()
    by_cpus = by_memory = 0
    for node in ray.nodes():
        cpus = int(node["Resources"].get("CPU", 0)) * workers_per_core if node["Alive"] else 0
        memory = node["Resources"].get("memory", math.inf)
        if node["NodeID"] == here:  # Ray does not see every limit
            memory = min(memory, usable_memory_bytes())
        by_cpus += cpus
        by_memory += int(min(cpus, memory / worker_bytes))
    room = max(1, by_memory)
    if room < by_cpus:
        steps.info("workers: memory has room for %d, the cores for %d; --workers N sets another number", room, by_cpus)
    return room


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


def chosen_device(asked: str, gpus: int) -> str:
    """Return the torch device of workers: `cpu`, `cuda` or `mps`. `gpus`: how many Ray counts in the cluster.

    auto: `cuda` if torch can use the GPUs, else `cpu`, which is logged if there are any. Raises UsageError if what was
    `asked` for cannot be used, or can on some nodes only.
    """
    if asked == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: torch finds no Apple GPU on this machine; leave out --device to run on CPUs")
    if asked in ("cpu", "mps") or (asked == "auto" and not gpus):
        return "cpu" if asked == "auto" else asked
    problems = _gpu_problems() if gpus else [_why_none_counts()]
    problem = next(filter(None, problems), "")
    if problem and asked == "auto" and all(problems):
        log.warning("running on CPUs, as torch cannot use the GPUs (%s)", problem)
        return "cpu"
    if problem:
        where = f"--device {asked}:" if all(problems) else "on some nodes,"
        raise UsageError(f"{where} torch cannot use a GPU ({problem}); to run on CPUs: --device cpu")
    return "cuda"


def _why_none_counts() -> str:
    """Return why Ray counts no GPU."""
    if os.environ.get("RAY_ADDRESS"):
        return "the cluster has no GPU"
    return cuda_problem() or "Ray counts none; see CUDA_VISIBLE_DEVICES"


def _gpu_problems() -> list[str]:
    """Return for each node that has a GPU why torch cannot use it; "" if it can."""
    try:
        return _on_each_node("GPU", cuda_problem)
    except ClusterError:  # a node was lost just now: workers will report it
        return []


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
