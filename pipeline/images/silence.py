"""Silence for codecs: for C libraries that print remarks on broken files, and for Pillow, which warns of them."""

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

from pipeline.process import WhileInside

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


def _lift_limits() -> contextlib.ExitStack:
    undo = contextlib.ExitStack()
    undo.enter_context(warnings.catch_warnings())
    undo.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None
    return undo


_PILLOW = WhileInside(_lift_limits)


def quiet_pillow() -> contextlib.AbstractContextManager[None]:
    """Return a context that ignores warnings, and lifts Pillow's own limit of pixels, which warns before it refuses.

    What matters is noted or raised. Our limit is a setting of the job, which every reader checks with `check_size`
    before it decodes pixels.
    """
    return _PILLOW()
