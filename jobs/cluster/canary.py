"""A watch over a job that has done nothing yet: it tells workers that are slow to start from workers that never will.

Ray restarts dead workers for ever, and prints pages about it. That is right for a job that has made progress. Before
that, after a while without a result, a canary is started: one worker that loads what all workers load. Whether it
starts, or why not, is the diagnosis.
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

from jobs.cluster.nodes import nodes_with, tasks_on
from jobs.cluster.room import is_overloaded, ray_folder
from jobs.signals import check_not_stopped, forget_signals, heed_signals
from pipeline.errors import ClusterError, failed_import

FIRST_LOOK_S = 20.0  # without a result; the pause doubles each time the canary is well
COMES_UP_S = 60.0  # time limit for a canary to start; longer if the machine is overloaded
MOST_WAITS = 5  # of that length, on an overloaded machine
LOOK_S = 0.5  # how often a wait for canaries checks whether the job still wants the answer
JOIN_S = 5.0  # how long the end of a job waits for its watch, as Ray must not shut down during a call of it
MOST_NODES = 8  # on which canaries are started
TRIES = 3  # as Ray may kill a canary for the memory that others take
MORE_MEMORY = "free some memory, use fewer --workers, or use a machine with more memory"
THRESHOLD = "RAY_memory_usage_threshold"  # Ray's setting
MEMORY = re.compile(r"was (\S+) used / (\S+) limit.*?\(([0-9.]+%) of", re.DOTALL)  # Ray's wording

log = logging.getLogger("nightlift")


class Watch:
    """State of a job: whether it has done something yet, or why it never will."""

    def __init__(self, has_begun: Callable[[], bool]) -> None:
        self.trouble = ""
        self._has_begun, self._moved, self._lock = has_begun, threading.Event(), threading.Lock()

    def moved(self) -> None:
        """Note that the job has done something: from now on it may take its time. Raises again what a signal raised."""
        self._moved.set()
        check_not_stopped()

    def end(self) -> None:
        """Note that the job is over, so that the watch no longer ends it."""
        with self._lock:  # not between the check in `look` and its `give_up`
            self._moved.set()

    def wants_to_know(self) -> bool:
        """Return whether the job has done nothing yet and is not over."""
        return not self._moved.is_set()

    def look(self, diagnose: Callable[[], str], give_up: Callable[[], None]) -> None:
        """Watch until the job has done something. Calls `give_up` if `diagnose` returns why it never will."""
        pause_s, silent = FIRST_LOOK_S, False
        while not self._moved.wait(pause_s) and not self._has_begun():
            try:
                trouble, silent = diagnose(), False
            except Exception as error:  # as when Ray is gone, whether or not the job is over
                trouble = f"Ray does not answer ({last_line(error)})" if silent else ""  # a head node may come back
                silent = True
            if trouble and self._has_begun():  # it has begun meanwhile
                return
            with self._lock:
                if trouble and not self._moved.is_set():  # it may have moved meanwhile
                    self.trouble = trouble
                    give_up()
                    return
            pause_s *= 2


@contextmanager
def watched(has_begun: Callable[[], bool] = lambda: False) -> Iterator[Watch]:
    """Watch over the body, which calls `moved` at its first result. Needs an initialised Ray.

    `has_begun`: returns whether a worker has started and begun to work, for jobs whose first result may take long.

    Raises ClusterError, with a message of one line, if workers cannot start. The body is interrupted by SIGTERM, which
    only the main thread can be: in another thread the message is logged.
    """
    watch, caller = Watch(has_begun), threading.current_thread()

    def give_up() -> None:
        if caller is threading.main_thread() and caller.ident is not None:
            signal.pthread_kill(caller.ident, signal.SIGTERM)  # background jobs of a shell ignore SIGINT
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
            thread.join(JOIN_S)  # Ray's core ends a process, with status 1, that calls it while it shuts down
    except KeyboardInterrupt:
        if watch.trouble:
            forget_signals()
            raise ClusterError(watch.trouble) from None
        raise


def diagnosis(wanted: Callable[[], bool]) -> str:
    """Start a canary on each node that has CPUs, or on `MOST_NODES` of them at random.

    Returns why no worker can start, and what to do; "" if one can, if there is no node yet, if Ray is gone, or if the
    answer is no longer wanted.
    """
    import ray

    reason = ""
    for _ in range(TRIES):
        # not on a head node without CPUs
        nodes = nodes_with("CPU") if ray.is_initialized() else []
        nodes = random.sample(nodes, min(len(nodes), MOST_NODES))
        canaries = tasks_on(nodes, come_up, max_retries=0)
        if not _waited(canaries, wanted):
            return ""
        fates = [_fate(canary, node) for canary, node in zip(canaries, nodes, strict=True)]
        if not fates or not all(reason for reason, _ in fates):
            _log_waiting()
            return ""
        reason = fates[0][0]
        if not any(by_chance for _, by_chance in fates):
            return reason
    return reason


def _log_waiting() -> None:
    """Log that a job waits, as it may do for hours on a cluster that other jobs use."""
    import ray

    cpus = ray.cluster_resources().get("CPU", 0)
    used = cpus - ray.available_resources().get("CPU", 0)
    log.info("still waiting for the first result; %d of %d CPUs are in use, by this job or others", used, cpus)


def _fate(canary: Any, node: dict[str, Any]) -> tuple[str, bool]:
    """Return why a canary did not start ("" if it did), and whether that may have been chance."""
    import ray
    from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayError

    name = node["NodeManagerHostname"]
    try:
        ray.get(canary, timeout=0)
    except GetTimeoutError:
        return f"no worker started within {COMES_UP_S:.0f} s on {name}; {_room(node)}", not _is_here(node)
    except OutOfMemoryError as error:
        found = MEMORY.search(str(error))
        used = f" ({found[1]} of {found[2]} in use, above Ray's limit of {found[3]})" if found else ""
        remedy = f"raise {THRESHOLD}, {MORE_MEMORY}" if THRESHOLD in os.environ else MORE_MEMORY
        return f"too little memory: Ray kills workers before they can work{used}; {remedy}", True
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
    """Return the last line of an error's message, as Ray puts a traceback above it; the error's type if it is empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _waited(canaries: list[Any], wanted: Callable[[], bool]) -> bool:
    """Wait until all canaries have started or died, for up to `COMES_UP_S`; longer if the machine is overloaded.

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
    """Return whether a node is this machine, whose load is known."""
    import ray

    return bool(node["NodeID"] == ray.get_runtime_context().get_node_id())


def _room(node: dict[str, Any]) -> str:
    """Return words on where Ray's logs are, and on the free disk space if the node is this machine."""
    if not _is_here(node):
        return "see Ray's logs on that node"
    folder = ray_folder()
    free_mb = shutil.disk_usage(folder).free / 1e6
    return f"see Ray's logs in {folder}/session_latest/logs; {free_mb:,.0f} MB are free there"
