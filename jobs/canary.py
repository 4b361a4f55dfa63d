"""A watch over a job that has done nothing yet: it tells workers that are slow to start from workers that never will.

Ray starts a worker that died again, for ever, and says so in pages of its own. That is right for a job that has moved.
Before that, after a while without a result, a canary is started: one worker that loads what all workers load. What
becomes of it is the diagnosis.
"""

import logging
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jobs.room import ray_folder
from jobs.stopping import check_not_stopped, forget_signals, heed_signals
from pipeline.errors import SAME_PACKAGES, ClusterError

FIRST_LOOK_S = 20.0  # without a result; the pause doubles each time that the canary is well
COMES_UP_S = 60.0  # at most; longer where the machine is overloaded
MOST_WAITS = 5  # of that length
OVERLOADED = 3.0  # processes that want to run, for each core
TRIES = 3  # as Ray may kill one for the memory that others take
MORE_MEMORY = "free some, use fewer --workers, or a machine that has more"
MEMORY = re.compile(r"was (\S+) used / (\S+) limit.*?\(([0-9.]+%) of", re.DOTALL)  # in Ray's words

log = logging.getLogger("nightlift")


class Watch:
    """What is known of a job: whether it has done something, and whether it never will."""

    def __init__(self) -> None:
        self.trouble = ""
        self._moved, self._lock, self._over = threading.Event(), threading.Lock(), False

    def moved(self) -> None:
        """Say that something was done: from now on the job may take its time. Raises what a signal did."""
        self._moved.set()
        check_not_stopped()

    def end(self) -> None:
        with self._lock:
            self._over = True
        self._moved.set()

    def look(self, diagnose: Callable[[], str], give_up: Callable[[], None]) -> None:
        """Look on until something was done. Calls `give_up` where `diagnose` tells why nothing will be."""
        pause_s = FIRST_LOOK_S
        while not self._moved.wait(pause_s):
            trouble = diagnose()
            with self._lock:
                if trouble and not self._over:
                    self.trouble = trouble
                    give_up()
                    return
            pause_s *= 2


@contextmanager
def watched() -> Iterator[Watch]:
    """Watch over the body, which calls `moved` with its first result. Needs an initialised Ray.

    Raises ClusterError, in one line, where workers cannot come up. The body is left as by SIGTERM, which a main thread
    alone can be: in another thread the line is logged.
    """
    watch, caller = Watch(), threading.current_thread()

    def give_up() -> None:
        if caller is threading.main_thread() and caller.ident is not None:
            signal.pthread_kill(caller.ident, signal.SIGTERM)  # SIGINT is ignored in a shell's background
        else:
            log.error("%s", watch.trouble)

    if caller is threading.main_thread():
        heed_signals()
    threading.Thread(target=watch.look, args=(diagnosis, give_up), name="watch", daemon=True).start()
    try:
        try:
            yield watch
        finally:
            watch.end()
    except KeyboardInterrupt:
        if watch.trouble:
            forget_signals()
            raise ClusterError(watch.trouble) from None
        raise


def diagnosis() -> str:
    """Start a canary. Returns why workers cannot come up, and what to do; "" where it is well, or Ray is gone."""
    import ray
    from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayError

    reason = ""
    for _ in range(TRIES):
        canary = ray.remote(num_cpus=0, max_retries=0)(come_up).remote()
        try:
            _wait(canary)
            return ""
        except GetTimeoutError:
            return (
                f"no worker came up in {COMES_UP_S:.0f} s; {_room()}; what Ray says of it is in "
                f"{ray_folder()}/session_latest/logs"
            )
        except OutOfMemoryError as error:
            found = MEMORY.search(str(error))
            used = f" ({found[1]} of {found[2]} are in use, above Ray's limit of {found[3]})" if found else ""
            reason = f"memory runs out, so that workers are killed before they can work{used}; {MORE_MEMORY}"
        except RayError as error:
            reason = f"workers cannot start ({last_line(error)}); {_room()}"
            if isinstance(getattr(error, "cause", None), ImportError):
                return f"workers cannot start ({last_line(error)}); {SAME_PACKAGES}"
    return reason


def come_up() -> None:
    """Load what every worker loads, and build a network."""
    from model import DEFAULT_WEIGHTS, Enhancer, load
    from pipeline import photos, videos  # noqa: F401 (as workers do)

    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    Enhancer(checkpoint, estimate_size=checkpoint.estimate_size)


def last_line(error: BaseException) -> str:
    """Return the last line of what an error says, above which Ray has a traceback; or its name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _wait(canary: Any) -> None:
    """Raises GetTimeoutError, and what became of the canary. A machine that is overloaded gets more time."""
    import ray
    from ray.exceptions import GetTimeoutError

    for left in reversed(range(MOST_WAITS)):
        try:
            ray.get(canary, timeout=COMES_UP_S)
            return
        except GetTimeoutError:
            if not left or os.getloadavg()[0] < OVERLOADED * (os.cpu_count() or 1):
                raise


def _room() -> str:
    """Return what is free where Ray keeps its files, in words."""
    folder = ray_folder()
    return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB are free in {folder}"
