"""On what the workers of a job run, and how many there are, by what the cluster has."""

from dataclasses import dataclass, replace
from typing import Any

from jobs.bulk.config import BulkConfig
from jobs.cluster.nodes import (
    all_have_fast_bf16,
    chosen_device,
    cluster_cpus,
    cluster_gpus,
    cluster_nodes,
    room_on_cpus,
    room_on_gpus,
)
from model import resolve_precision
from pipeline.errors import UsageError, plural


@dataclass(frozen=True, slots=True)
class Placement:
    """On what the workers of a job run, and how many there are."""

    device: str
    workers: int
    gpus_per_worker: float
    """0 on CPUs."""
    grows: bool = True
    """Whether more may be started as nodes join."""


def place(config: BulkConfig, worker_bytes: float, workers_per_core: int = 1, cpus_beside_gpu: float = 1) -> Placement:
    """Choose by what the cluster has. Needs an initialised Ray; raises UsageError.

    `worker_bytes`: memory that a worker on a CPU may take. `cpus_beside_gpu`: of a worker.
    """
    device = chosen_device(config.device, cluster_gpus())
    if device == "mps":
        return Placement(device, config.workers or 1, 0, grows=False)
    if device == "cpu":
        room = config.workers or room_on_cpus(worker_bytes, workers_per_core)
        # not where memory is the limit: Ray would start as many as there are cores
        return Placement(device, room, 0, grows=not config.workers and room >= cluster_cpus() * workers_per_core)
    room = room_on_gpus(cluster_nodes(), config.gpus_per_worker, cpus_beside_gpu)
    if room < (config.workers or 1):
        raise UsageError(
            f"the cluster's GPUs, and the cores of their nodes, have room for {plural(room, 'worker')} with "
            f"--gpus-per-worker {config.gpus_per_worker:g}, not for {config.workers or 1}; "
            "lower --gpus-per-worker or --workers"
        )
    return Placement(device, config.workers or room, config.gpus_per_worker, grows=not config.workers)


def settings_on(device: str, settings: Any) -> Any:
    """Settle which precision `auto` is, so that it does not depend on the node that a worker is on."""
    fast_bf16 = settings.precision == "auto" and all_have_fast_bf16(device)
    return replace(settings, precision=resolve_precision(settings.precision, fast_bf16=fast_bf16))
