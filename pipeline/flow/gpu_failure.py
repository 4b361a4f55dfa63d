"""An end to a process whose GPU fails: nothing that it sends there comes out any more, of whichever file."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import is_want_of_memory


@contextmanager
def ending_with_its_gpu() -> Iterator[None]:
    """Where CUDA reports an error in the body (a faulty kernel, a GPU that is gone), this process ends with status 1.

    Whoever started the process starts another one, and counts the death for the file that it was at. Want of memory,
    which CUDA reports in the same way outside of torch's own allocator, is no such error.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        if is_want_of_memory(error):
            raise
        traceback.print_exc()  # into the worker's log
        os._exit(1)
