"""Silence for C libraries that print remarks on broken files to stderr, without the files' names."""

import contextlib
import os
import threading
from collections.abc import Iterator

STDERR = 2
_STDERR = threading.Lock()


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Silence stderr of the whole process. What matters is raised by the libraries as well."""
    with _STDERR, contextlib.ExitStack() as undo:
        try:
            kept = os.dup(STDERR)
        except OSError:  # stderr is not open
            yield
            return
        undo.callback(os.close, kept)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        undo.callback(os.close, nowhere)
        os.dup2(nowhere, STDERR)
        undo.callback(os.dup2, kept, STDERR)
        yield
