"""Ends a process whose GPU has failed: from then on, all its work on the GPU fails, for every file."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import is_want_of_memory


@contextmanager
def ending_with_its_gpu() -> Iterator[None]:
    """End this process with status 1 if CUDA reports an error in the body (a faulty kernel, a GPU that is gone).

    Whoever started the process starts another one, and counts the death for the current file. Lack of memory, which
    CUDA reports in the same way outside of torch's own allocator, is raised as usual.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        if is_want_of_memory(error):
            raise
        traceback.print_exc()  # into the worker's log
        os._exit(1)
