"""How a process keeps its memory."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT_BYTES = 1 << 28  # at most, at the top of the heap


def keep_freed_memory() -> None:
    """Keep what is freed for the next photo or frame.

    glibc gives every large block back to the system at once and gets it again page by page, each of which the kernel
    clears: for pixels that takes longer than decoding them. Elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
