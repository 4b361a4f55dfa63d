"""Workers of a Ray that are killed while they work, as the kernel does it when memory runs out."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random

import psutil  # comes with Ray, which conftest.py has imported

WORKERS = ("ray::MapWorker", "ray::MapBatches")  # how Ray names the processes in which a flow's steps run
JOINS = ("ray::_joined",)
STARTING = "__init__"


@contextmanager
def dying_workers(seed: int, kills: int, pause_s: float) -> Iterator[list[str]]:
    """While the body runs, workers of the Ray that this process started are killed at random moments.

    `kills`: at most. `pause_s`: at most, between two. One of five is any worker, also one that starts; the others are
    at work. Gives the list of those that are dead.
    """
    rng, dead, over = Random(seed), list[str](), threading.Event()

    def kill() -> None:
        while len(dead) < kills and not over.wait(rng.uniform(0, pause_s)):
            starting = rng.random() < 0.2
            workers = [worker for worker in _workers() if starting or STARTING not in worker[0]]
            if workers:
                name, worker = rng.choice(workers)
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
                    dead.append(name)

    killer = threading.Thread(target=kill, name="killer")
    killer.start()
    try:
        yield dead
    finally:
        over.set()
        killer.join()


def _workers() -> list[tuple[str, psutil.Process]]:
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process().children():
            if child.name() == "raylet":
                found += [(worker.name(), worker) for worker in child.children()]
    return sorted(
        ((name, worker) for name, worker in found if name.startswith(WORKERS + JOINS)), key=lambda worker: worker[1].pid
    )
