"""The photo job on a cluster of pretended GPUs: `python -m tests.support.pretended_gpu LOG ARGUMENT...`.

Ray hands out the GPUs, torch computes on the CPU. LOG gets a line for what each step did: its name, the node and the
process that it ran in, and how many photos the network saw at once.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch

from jobs import images
from jobs.bulk.job import Job
from jobs.cli import main
from jobs.cluster import nodes
from model import Enhancer
from pipeline.flow import photos as graphs
from pipeline.flow.photos import DecodeTask, EncodeTask, EnhanceWorker, PhotoFlow
from pipeline.flow.ray_data import Batch

WORKERS, AT_MOST_S = 2, 60.0

log = Path(sys.argv[1])


def note(step: str, images: int = 0) -> None:
    with log.open("a") as file:
        file.write(json.dumps((step, ray.get_runtime_context().get_node_id(), os.getpid(), images)) + "\n")


def noted(step: type, name: str) -> type:
    class Noted(step):  # type: ignore[misc]
        def __call__(self, batch: Batch) -> Any:
            note(name)
            return super().__call__(batch)

    return Noted


class Enhancing(EnhanceWorker):
    """Begins once all workers are there. The GPU of one of them fails at its first block, and from then on."""

    def __init__(self, flow: PhotoFlow) -> None:
        super().__init__(flow)
        note("enhance")
        self.enhance.step.enhancer.on_batch = lambda images, seconds: note("network", images)  # type: ignore[attr-defined]
        assert self.enhance.together is not None
        self.enhance.together = failing_once(self.enhance.together, self.enhance.step.enhancer)  # type: ignore[attr-defined]

    def __call__(self, batch: Batch) -> Batch:
        until = time.monotonic() + AT_MOST_S
        while len({pid for step, _, pid, _ in notes() if step == "enhance"}) < WORKERS and time.monotonic() < until:
            time.sleep(0.05)
        return super().__call__(batch)


def notes() -> list[tuple[str, str, int, int]]:
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()]


def failing_once(together: Callable[[Any], None], enhancer: Enhancer) -> Callable[[Any], None]:
    def fail(images: Any, floors: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    def failing(works: Any) -> None:
        if not any(step == "failed" for step, *_ in notes()):
            note("failed")
            enhancer._estimated = fail  # type: ignore[method-assign]
        together(works)

    return failing


def on_cpu(choose: Callable[[Job], PhotoFlow]) -> Callable[[Job], PhotoFlow]:
    return lambda job: replace(choose(job), device="cpu")


if __name__ == "__main__":
    graphs.DecodeTask, graphs.EncodeTask = noted(DecodeTask, "decode"), noted(EncodeTask, "encode")  # type: ignore[misc]
    graphs.EnhanceWorker = Enhancing  # type: ignore[misc]
    nodes._gpu_problems = lambda: [""]
    images.PHOTO_MEDIA = replace(images.PHOTO_MEDIA, flow=on_cpu(images.PHOTO_MEDIA.flow))
    sys.exit(main(sys.argv[2:]))
