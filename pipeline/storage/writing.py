"""Temporary files for whole-or-nothing writes: under a name of their own, or none, until they are whole."""

import hashlib
import os
import posixpath
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.storage.errors import takes_new

PART_SUFFIX = ".nightlift-part"  # of a file being written
ABANDONED_S = 3600.0  # no writer pauses for this long


@contextmanager
def beside(
    path: str, move: Callable[[str, str], object], fs: Any, errors: Callable[[], AbstractContextManager[None]]
) -> Iterator[str]:
    """Yield a path beside `path`, in fsspec's `fs`, for a file that is moved to `path` when the block ends well.

    `move`: does so; called with both paths. `errors`: converts what `fs` raises into our own errors.
    """
    folder, name = posixpath.split(path)
    with errors(), takes_new(folder):
        fs.makedirs(folder, exist_ok=True)
    part = posixpath.join(folder, part_name(name))
    try:
        yield part
        with errors():
            move(part, path)
    except BaseException:
        with suppress(OSError):
            fs.rm_file(part)
        raise


def part_name(name: str) -> str:
    """Return a temporary name for the file `name`, unique to one write, as a lost worker may be writing it too."""
    return f".{_digest(os.fsencode(name))}-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{PART_SUFFIX}"


def is_abandoned(part: str) -> bool:
    """Return whether nobody writes to this file: its process on this machine has ended, or it is unchanged for long."""
    try:
        *_, machine, process, _ = posixpath.basename(part).removesuffix(PART_SUFFIX).split("-")
        if machine == _machine():
            os.kill(int(process), 0)  # another process may have this number by now
        return time.time() - Path(part).stat().st_ctime > ABANDONED_S  # its other time may be that of a source
    except (ProcessLookupError, ValueError):
        return True
    except OSError:  # another user's process, or the file is whole by now
        return False


def _machine() -> str:
    return _digest(socket.gethostname().encode())[:8]


def _digest(name: bytes) -> str:
    return hashlib.sha256(name).hexdigest()[:16]


@contextmanager
def nameless() -> Iterator[str]:
    """Yield a path for a file to be sent elsewhere. On Linux it has no name: a killed process leaves nothing behind."""
    if sys.platform == "linux":
        with tempfile.TemporaryFile() as file:
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.TemporaryDirectory(prefix="nightlift-") as folder:
            yield posixpath.join(folder, "whole")
