"""Who works at a training: processors and GPUs of a cluster's nodes, shared out."""

import pytest

from jobs.training_crew import GPU_THREADS, most_threads


@pytest.mark.parametrize(
    ("nodes", "workers", "on_gpu", "threads"),
    [
        ([(2, 0)], 1, False, 2),
        ([(2, 0)], 2, False, 1),
        ([(2, 0)], 3, False, 0),
        ([(16, 0), (3, 0)], 3, False, 5),  # three on the large node, or two and one
        ([(64, 1)], 1, True, GPU_THREADS),
        ([(4, 1), (64, 0)], 1, True, 4),  # the large node has no GPU
        ([(4, 2)], 2, True, 2),
        ([(4, 1), (4, 1)], 2, True, 4),
        ([(4, 1)], 2, True, 0),
        ([], 1, False, 0),
    ],
)
def test_threads_fit_beside_the_gpus(nodes: list[tuple[int, int]], workers: int, on_gpu: bool, threads: int) -> None:
    assert most_threads(nodes, workers, on_gpu=on_gpu) == threads
