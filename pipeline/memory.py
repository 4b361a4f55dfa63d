"""How a process that works at pixels uses its core, and keeps its memory."""

import ctypes

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT_BYTES = 1 << 28  # at most, at the top of the heap


def use_one_core() -> None:
    """For a worker beside others: several threads on shared cores are many times slower."""
    torch.set_num_threads(1)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Keep what is freed for the next photo or frame.

    glibc gives every large block back to the system at once and gets it again page by page, each of which the kernel
    clears: for pixels that takes longer than decoding them. Elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
