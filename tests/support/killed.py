"""Processes that are killed as a machine is lost: without a word."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HANGS_S = 900  # a command that takes longer hangs, however busy the machine is
FORKS = multiprocessing.get_context("forkserver")  # a process starts within milliseconds, with all modules imported


def killed_once(
    job: Sequence[str | Path],
    log: Path,
    ready: Callable[[], bool],
    within: float = HANGS_S,
    cwd: Path = ROOT,
    **environment: str,
) -> None:
    """Starts the job, and kills it and all that it started as soon as it is ready, or after `within` seconds."""
    with log.open("wb") as told:
        driver = subprocess.Popen(
            job, cwd=cwd, env={**os.environ, **environment}, stdout=told, stderr=told, start_new_session=True
        )
        try:
            wait_until(ready, driver, within)
        finally:
            with suppress(ProcessLookupError):  # it is over, and left nothing behind
                os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()


def wait_until(ready: Callable[[], bool], job: subprocess.Popen[Any] | None = None, within: float = HANGS_S) -> None:
    """Until it is ready, or a job is over, or so many seconds are."""
    until = time.monotonic() + within
    while True:
        asked = time.monotonic()
        if ready() or (job is not None and job.poll() is not None) or time.monotonic() > until:
            return
        time.sleep(max(0.02, 3 * (time.monotonic() - asked)))  # asking must not take the processors from the job


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
