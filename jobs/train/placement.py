"""Who works at a training: how many workers, on what, in which precision, by what the cluster has."""

from collections.abc import Sequence
from dataclasses import dataclass

from ray.train import ScalingConfig

from jobs.cluster.joining import all_have_fast_bf16, check_gpus, cluster_cpus, cluster_gpus, cluster_nodes
from model import Precision
from pipeline.errors import UsageError

GPU_THREADS = 8  # that keep one GPU fed


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works at a training."""

    device: str
    workers: int
    threads: int
    """Processors of each worker."""

    @property
    def words(self) -> str:
        return f"{self.workers} worker{'s' if self.workers > 1 else ''} on {self.device}"

    @property
    def scaling(self) -> ScalingConfig:
        on_gpu = self.device == "cuda"
        each = {"CPU": self.threads, **({"GPU": 1} if on_gpu else {})}
        return ScalingConfig(num_workers=self.workers, use_gpu=on_gpu, resources_per_worker=each)


def choose_crew(asked_device: str, asked_workers: int | None, batch: int) -> Crew:
    """`asked_device`: auto, cpu or cuda. By what the cluster has. Raises UsageError where it has too little."""
    gpus = cluster_gpus()
    device = ("cuda" if gpus else "cpu") if asked_device == "auto" else asked_device
    if device == "cuda" and not gpus:
        raise UsageError(f"--device {asked_device}: the cluster has no GPU; leave --device out to train on CPUs")
    if device == "cuda":
        check_gpus()
    most = gpus if device == "cuda" else cluster_cpus()
    # several workers of few threads: examples are made by one thread, and threads that share cores wait for each other
    workers = asked_workers or max(count for count in range(1, most + 1) if batch % count == 0)
    if device == "cuda" and workers > gpus:
        raise UsageError(f"--workers is {workers}; the cluster has {gpus} GPUs")
    threads = most_threads(cluster_nodes(), workers, on_gpu=device == "cuda")
    if not threads:
        raise UsageError(f"--workers is {workers}; the cluster has not the processors for so many")
    return Crew(device, workers, threads)


def most_threads(nodes: Sequence[tuple[int, int]], workers: int, *, on_gpu: bool) -> int:
    """The most processors that each of `workers` can have, given the processors and GPUs of each node; 0: none.

    A worker on a GPU has its processors beside it, and has no use for more than a few.
    """
    most = max((cpus for cpus, _ in nodes), default=0)
    for threads in range(min(most, GPU_THREADS) if on_gpu else most, 0, -1):
        if sum(min(cpus // threads, gpus) if on_gpu else cpus // threads for cpus, gpus in nodes) >= workers:
            return threads
    return 0


def choose_precision(asked: Precision, device: str) -> str:
    """`fp32` or `bf16`, by what the cluster's machines are good at."""
    if asked != "auto":
        return asked
    return "bf16" if all_have_fast_bf16(device) else "fp32"
