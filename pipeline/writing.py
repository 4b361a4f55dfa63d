"""Files being written: under a name of their own, or under none, until they are whole."""

import hashlib
import os
import posixpath
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

PART_SUFFIX = ".nightlift-part"  # of a file being written


@contextmanager
def beside(
    path: str, move: Callable[[str, str], object], fs: Any, errors: Callable[[], AbstractContextManager[None]]
) -> Iterator[str]:
    """A path beside `path`, in fsspec's `fs`, for a file that takes its place once the block has ended well.

    `errors`: turns what `fs` raises into errors of ours.
    """
    folder, name = posixpath.split(path)
    with errors():
        fs.makedirs(folder, exist_ok=True)
    # a name of this write's own: a worker that outlived its job may be writing the same file
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    part = posixpath.join(folder, f".{digest}-{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        yield part
        with errors():
            move(part, path)
    except BaseException:
        with suppress(OSError):
            fs.rm_file(part)
        raise


@contextmanager
def nameless() -> Iterator[str]:
    """A path for a file on its way elsewhere. On Linux no folder lists it: a process that is killed leaves nothing."""
    if sys.platform == "linux":
        with tempfile.TemporaryFile() as file:
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.TemporaryDirectory(prefix="nightlift-") as folder:
            yield posixpath.join(folder, "whole")
