"""Jobs of their own process that are killed as a machine is lost: without a word."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def killed_once(job: list[str], log: Path, ready: Callable[[], bool], within: float = 240) -> None:
    """Starts the job, and kills it and all that it started as soon as it is ready, or after `within` seconds."""
    with log.open("wb") as told:
        driver = subprocess.Popen(job, cwd=ROOT, stdout=told, stderr=told, start_new_session=True)
        try:
            until = time.monotonic() + within
            while not ready() and driver.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
        finally:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
