"""The photo job on a cluster whose GPUs are only said to be there: `python -m tests.pretended_gpu LOG ARGUMENT...`.

Ray hands out the GPUs, torch computes on the CPU. LOG gets a line for what each step did: its name, the node and the
process that it ran in, and how many photos the network saw at once.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from jobs.cli import main
from jobs.images import PhotoJob
from pipeline import flow
from pipeline.flow import Batch, DecodeTask, EncodeTask, EnhanceWorker, Handle, PhotoFlow

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
    """Begins once all workers are there. One of them dies at its first block."""

    def __init__(self, flow: PhotoFlow, attempts: Handle) -> None:
        super().__init__(flow, attempts)
        note("enhance")
        self.enhance.step.enhancer.on_batch = lambda images, seconds: note("network", images)  # type: ignore[attr-defined]
        assert self.enhance.together is not None
        self.enhance.together = dying_once(self.enhance.together)

    def __call__(self, batch: Batch) -> Batch:
        until = time.monotonic() + AT_MOST_S
        while len({pid for step, _, pid, _ in notes() if step == "enhance"}) < WORKERS and time.monotonic() < until:
            time.sleep(0.05)
        return super().__call__(batch)


def notes() -> list[tuple[str, str, int, int]]:
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()]


def dying_once(together: Callable[[Any], None]) -> Callable[[Any], None]:
    def dying(works: Any) -> None:
        if not any(step == "died" for step, *_ in notes()):
            note("died")
            os.kill(os.getpid(), signal.SIGKILL)
        together(works)

    return dying


def on_cpu(choose: Callable[[PhotoJob], PhotoFlow]) -> Callable[[PhotoJob], PhotoFlow]:
    return lambda job: replace(choose(job), device="cpu")


if __name__ == "__main__":
    flow.DecodeTask, flow.EncodeTask = noted(DecodeTask, "decode"), noted(EncodeTask, "encode")  # type: ignore[misc]
    flow.EnhanceWorker = Enhancing  # type: ignore[misc]
    PhotoJob._flow = on_cpu(PhotoJob._flow)  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
