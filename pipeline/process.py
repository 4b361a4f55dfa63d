"""Use of cores and memory by a process that works on pixels."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT_BYTES = 1 << 28  # most freed memory to keep at the top of the heap


def use_one_core() -> None:
    """Limit torch to one thread, for workers that share cores (more are many times slower), and keep freed memory."""
    torch.set_num_threads(1)
    keep_freed_memory()


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
