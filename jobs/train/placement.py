"""The choice of workers for a training: their number, device, threads and precision, to fit the cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

from ray.train import ScalingConfig

from jobs.cluster.nodes import all_have_fast_bf16, chosen_device, cluster_gpus, cluster_nodes, room_on_cpus
from model import Precision
from pipeline.errors import UsageError, plural

GPU_THREADS = 8  # enough to keep one GPU busy
WORKER_BYTES = 1e9  # memory of a worker


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers of a training."""

    device: str
    workers: int
    threads: int
    """Processors of each worker."""

    @property
    def words(self) -> str:
        return f"{plural(self.workers, 'worker')} on {self.device}"

    @property
    def scaling(self) -> ScalingConfig:
        on_gpu = self.device == "cuda"
        each = {"CPU": self.threads, **({"GPU": 1} if on_gpu else {})}
        return ScalingConfig(num_workers=self.workers, use_gpu=on_gpu, resources_per_worker=each)


def choose_crew(asked_device: str, asked_workers: int | None, batch: int) -> Crew:
    """Choose workers to fit the cluster. `asked_device`: auto, cpu or cuda. Raises UsageError if it has too little."""
    gpus = cluster_gpus()
    device = chosen_device(asked_device, gpus)
    if asked_workers is not None and device == "cuda" and asked_workers > gpus:
        raise UsageError(f"--workers is {asked_workers}; it must be at most {gpus}, the number of GPUs in the cluster")
    # many workers with few threads: examples are made by one thread, and threads that share cores wait for each other
    workers = asked_workers
    if workers is None:
        most = gpus if device == "cuda" else room_on_cpus(WORKER_BYTES)
        workers = max(count for count in range(1, most + 1) if batch % count == 0)
    threads = most_threads(cluster_nodes(), workers, on_gpu=device == "cuda")
    if not threads:
        raise UsageError(f"--workers is {workers}; the cluster has too few CPU cores, so use fewer workers")
    return Crew(device, workers, threads)


def most_threads(nodes: Sequence[tuple[int, int]], workers: int, *, on_gpu: bool) -> int:
    """Return the most processors that each of `workers` can have; 0 if there are too few.

    `nodes`: processors and GPUs of each node. A worker on a GPU has its processors on the same node, and has no use for
    more than GPU_THREADS.
    """
    most = max((cpus for cpus, _ in nodes), default=0)
    for threads in range(min(most, GPU_THREADS) if on_gpu else most, 0, -1):
        if sum(min(cpus // threads, gpus) if on_gpu else cpus // threads for cpus, gpus in nodes) >= workers:
            return threads
    return 0


def choose_precision(asked: Precision, device: str) -> str:
    """Return the precision asked for; for auto, `bf16` if all machines of the cluster are fast with it, else `fp32`."""
    if asked != "auto":
        return asked
    return "bf16" if all_have_fast_bf16(device) else "fp32"
