"""Processes that are killed as a machine is lost: without a word."""

import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import psutil  # comes with Ray, which conftest.py has imported

ROOT = Path(__file__).parents[1]
WORKERS = ("ray::MapWorker", "ray::MapBatches")  # how Ray names the processes in which a flow's steps run
STARTING = "__init__"
FORKS = multiprocessing.get_context("forkserver")  # a process starts within milliseconds, with all modules imported


def killed_once(job: list[str], log: Path, ready: Callable[[], bool], within: float = 240, **environment: str) -> None:
    """Starts the job, and kills it and all that it started as soon as it is ready, or after `within` seconds."""
    with log.open("wb") as told:
        driver = subprocess.Popen(
            job, cwd=ROOT, env={**os.environ, **environment}, stdout=told, stderr=told, start_new_session=True
        )
        try:
            until = time.monotonic() + within
            while not ready() and driver.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
        finally:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()


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
        ((name, worker) for name, worker in found if name.startswith(WORKERS)), key=lambda worker: worker[1].pid
    )


def killed_at(step: int, then_s: float, work: Callable[..., None], *arguments: object) -> int:
    """Does the work in a process of its own, which is killed some seconds after so many steps. Returns how many it did.

    `work`: takes the arguments, and a counter of its steps whose `value` it raises.
    """
    counter = FORKS.RawValue("i", 0)
    process = FORKS.Process(target=work, args=(*arguments, counter))
    process.start()
    while counter.value < step and process.is_alive():
        time.sleep(0.0005)
    time.sleep(then_s)
    process.kill()
    process.join()
    process.close()
    return counter.value
