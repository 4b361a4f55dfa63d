"""A watch over a job that has done nothing yet: it tells workers that are slow to start from workers that never will.

Ray starts a worker that died again, for ever, and says so in pages of its own. That is right for a job that has moved.
Before that, after a while without a result, a canary is started: one worker that loads what all workers load. What
becomes of it is the diagnosis.
"""

import logging
import os
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from jobs.cluster.joining import nodes_with, tasks_on
from jobs.cluster.room import is_overloaded, ray_folder
from jobs.signals import check_not_stopped, forget_signals, heed_signals
from pipeline.errors import ClusterError, failed_import

FIRST_LOOK_S = 20.0  # without a result; the pause doubles each time that the canary is well
COMES_UP_S = 60.0  # at most; longer where the machine is overloaded
MOST_WAITS = 5  # of that length
LOOK_S = 0.5  # how often a wait for canaries looks whether the job still wants to know
JOIN_S = 5.0  # that the end of a job waits for its watch: it asks something of Ray, which must not be shut down then
MOST_NODES = 8  # that canaries are started on
TRIES = 3  # as Ray may kill one for the memory that others take
MORE_MEMORY = "free some, use fewer --workers, or a machine that has more"
THRESHOLD = "RAY_memory_usage_threshold"  # Ray's setting
MEMORY = re.compile(r"was (\S+) used / (\S+) limit.*?\(([0-9.]+%) of", re.DOTALL)  # in Ray's words

log = logging.getLogger("nightlift")


class Watch:
    """What is known of a job: whether it has done something, and whether it never will."""

    def __init__(self, has_begun: Callable[[], bool]) -> None:
        self.trouble = ""
        self._has_begun, self._moved, self._lock = has_begun, threading.Event(), threading.Lock()

    def moved(self) -> None:
        """Say that something was done: from now on the job may take its time. Raises what a signal did."""
        self._moved.set()
        check_not_stopped()

    def end(self) -> None:
        """Say that the job is over, so that nothing ends it any more."""
        with self._lock:  # not between a look at it and the signal
            self._moved.set()

    def wants_to_know(self) -> bool:
        """Tell whether nothing was done yet, and the job is not over."""
        return not self._moved.is_set()

    def look(self, diagnose: Callable[[], str], give_up: Callable[[], None]) -> None:
        """Look on until something was done. Calls `give_up` where `diagnose` tells why nothing will be."""
        pause_s, silent = FIRST_LOOK_S, False
        while not self._moved.wait(pause_s) and not self._has_begun():
            try:
                trouble, silent = diagnose(), False
            except Exception as error:  # as where Ray is gone, with a job that is over or without
                trouble = f"Ray does not answer ({last_line(error)})" if silent else ""  # a head may come back
                silent = True
            if trouble and self._has_begun():  # meanwhile
                return
            with self._lock:
                if trouble and not self._moved.is_set():  # it may have moved meanwhile
                    self.trouble = trouble
                    give_up()
                    return
            pause_s *= 2


@contextmanager
def watched(has_begun: Callable[[], bool] = lambda: False) -> Iterator[Watch]:
    """Watch over the body, which calls `moved` with its first result. Needs an initialised Ray.

    `has_begun`: tells whether a worker has come up and begun to work, where a first result may take long.

    Raises ClusterError, in one line, where workers cannot come up. The body is left as by SIGTERM, which a main thread
    alone can be: in another thread the line is logged.
    """
    watch, caller = Watch(has_begun), threading.current_thread()

    def give_up() -> None:
        if caller is threading.main_thread() and caller.ident is not None:
            signal.pthread_kill(caller.ident, signal.SIGTERM)  # SIGINT is ignored in a shell's background
        else:
            log.error("%s", watch.trouble)

    if caller is threading.main_thread():
        heed_signals()
    diagnose = partial(diagnosis, watch.wants_to_know)
    thread = threading.Thread(target=watch.look, args=(diagnose, give_up), name="watch", daemon=True)
    thread.start()
    try:
        try:
            yield watch
        finally:
            watch.end()
            thread.join(JOIN_S)  # Ray's core ends a process, with status 1, that asks it something as it shuts down
    except KeyboardInterrupt:
        if watch.trouble:
            forget_signals()
            raise ClusterError(watch.trouble) from None
        raise


def diagnosis(wanted: Callable[[], bool]) -> str:
    """Start a canary on each node that has processors, or on some of many.

    Returns why no worker can come up, and what to do; "" where one can, where there is no node yet, Ray is gone, or
    nobody wants to know any more.
    """
    import ray

    reason = ""
    for _ in range(TRIES):
        # not on a head that only looks after others
        nodes = nodes_with("CPU") if ray.is_initialized() else []
        nodes = random.sample(nodes, min(len(nodes), MOST_NODES))
        canaries = tasks_on(nodes, come_up, max_retries=0)
        if not _waited(canaries, wanted):
            return ""
        fates = [_fate(canary, node) for canary, node in zip(canaries, nodes, strict=True)]
        if not fates or not all(reason for reason, _ in fates):
            return ""
        reason = fates[0][0]
        if not any(by_chance for _, by_chance in fates):
            return reason
    return reason


def _fate(canary: Any, node: dict[str, Any]) -> tuple[str, bool]:
    """Return why a canary did not come up, "" if it did, and whether it was ended by what may have been chance."""
    import ray
    from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayError

    name = node["NodeManagerHostname"]
    try:
        ray.get(canary, timeout=0)
    except GetTimeoutError:
        return f"no worker came up in {COMES_UP_S:.0f} s on {name}; {_room(node)}", not _is_here(node)
    except OutOfMemoryError as error:
        found = MEMORY.search(str(error))
        used = f" ({found[1]} of {found[2]} are in use, above Ray's limit of {found[3]})" if found else ""
        remedy = f"raise {THRESHOLD}, {MORE_MEMORY}" if THRESHOLD in os.environ else MORE_MEMORY
        return f"memory runs out, so that workers are killed before they can work{used}; {remedy}", True
    except RayError as error:
        if lacking := failed_import(error):
            return str(lacking), False
        return f"workers cannot start on {name} ({last_line(error)}); {_room(node)}", True
    return "", False


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


def _waited(canaries: list[Any], wanted: Callable[[], bool]) -> bool:
    """Wait until all have come up or died, for as long as that may take; longer where the machine is overloaded.

    Returns whether the answer is still `wanted`.
    """
    import ray

    started, waits = time.monotonic(), 1
    while canaries and wanted():
        if not ray.wait(canaries, num_returns=len(canaries), timeout=LOOK_S)[1]:
            break
        if time.monotonic() - started > waits * COMES_UP_S:
            waits += 1
            if waits > MOST_WAITS or not is_overloaded():
                break
    return wanted()


def _is_here(node: dict[str, Any]) -> bool:
    """Tell whether a node is this machine, whose load is known."""
    import ray

    return bool(node["NodeID"] == ray.get_runtime_context().get_node_id())


def _room(node: dict[str, Any]) -> str:
    """Return where to look, in words: what Ray says, and how much is free there if that is this machine."""
    if not _is_here(node):
        return "what Ray says of it is in its logs there"
    folder = ray_folder()
    free_mb = shutil.disk_usage(folder).free / 1e6
    return f"{free_mb:,.0f} MB are free in {folder}; what Ray says of it is in {folder}/session_latest/logs"
