"""How a process that works at pixels uses its core, and keeps its memory."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT_BYTES = 1 << 28  # at most, at the top of the heap


def use_one_core() -> None:
    """For a worker beside others: several threads on shared cores are many times slower."""
    torch.set_num_threads(1)
    keep_freed_memory()


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """The threads of this process, old and new, are scheduled after the body as this one was before. Linux alone.

    Where root opens it, SVT-AV1 makes the thread that calls it and its own ones real-time threads, before which all
    else on the machine waits: Ray's own processes too, which then count as dead.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in (int(task.name) for task in Path("/proc/self/task").iterdir()):
            with suppress(ProcessLookupError):  # it has come to its end
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, priority)


def keep_freed_memory() -> None:
    """Keep what is freed for the next photo or frame.

    glibc gives every large block back to the system at once and gets it again page by page, each of which the kernel
    clears: for pixels that takes longer than decoding them. Elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
