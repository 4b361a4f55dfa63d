"""Use of cores, memory and process-wide settings by a process that works on pixels, which may be a user's own."""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT_BYTES = 1 << 28  # most freed memory to keep at the top of the heap


def use_one_core() -> None:
    """Limit torch to one thread, for workers that share cores (more are many times slower), and keep freed memory."""
    torch.set_num_threads(1)
    keep_freed_memory()


class WhileInside:
    """A process-wide setting that holds while any thread is inside, and is undone when the last one leaves.

    `set_up`: makes the setting, and returns what undoes it. Without this, a thread that leaves later would bring back
    what it found: the setting.
    """

    def __init__(self, set_up: Callable[[], ExitStack]) -> None:
        self._set_up, self._lock, self._threads, self._undo = set_up, threading.Lock(), 0, ExitStack()
        os.register_at_fork(after_in_child=self._leave_parent)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._threads:
                self._undo = self._set_up()
            self._threads += 1
        try:
            yield
        finally:
            with self._lock:
                self._threads = max(0, self._threads - 1)  # a forked child may leave what its parent entered
                if not self._threads:
                    self._undo.close()

    def _leave_parent(self) -> None:
        """End the setting in a forked child, where threads of its parent are not there."""
        self._lock = threading.Lock()
        if self._threads:
            self._threads = 0
            self._undo.close()


_torch_threads = 1  # that the process uses while no thread is inside


def _remember_torch_threads() -> ExitStack:
    global _torch_threads
    _torch_threads = torch.get_num_threads()
    return ExitStack()


_ONE_THREAD = WhileInside(_remember_torch_threads)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch to the calling thread, inside.

    The network sees little, so more threads gain nothing, wait for each other on a busy machine, and hang in a process
    that was forked after they had started. torch counts threads for each thread, and lets new ones begin with the
    number that was set last.
    """
    with _ONE_THREAD():
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(_torch_threads)


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Give all threads of this process, after the block, the scheduling that this one had before it. Linux only.

    If opened by root, SVT-AV1 makes its own threads and the calling one real-time threads, which block everything else
    on the machine: also Ray's own processes, which then count as dead.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in (int(task.name) for task in Path("/proc/self/task").iterdir()):
            with suppress(ProcessLookupError):  # the thread has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, priority)


def keep_freed_memory() -> None:
    """Keep freed memory for the next photo or frame. Does nothing without glibc.

    glibc returns every large block to the system at once and gets it again page by page, each of which the kernel
    clears: for pixels that takes longer than decoding them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
