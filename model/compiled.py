"""Functions that numba compiles, and where their machine code is kept between processes."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache


@cache
def _sources() -> str:
    """A hash of all modules beside this one: any of them may hold a function that another one calls."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class KernelCache(FunctionCache):
    """Machine code of one function, kept on disk for the next process: it saves time, and nothing depends on it.

    It holds the code of the functions that are called, too, so it is made anew where any source has changed.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        with suppress(OSError):  # else numba's own mark: time and size of the function's file
            self._cache_file._source_stamp = _sources()

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return what was kept, or None. A file that cannot be read, as one cut off by a full disk, is begun anew."""
        kept: Any = None
        try:
            kept = super().load_overload(signature, target)  # type: ignore[no-untyped-call]
        except Exception:  # unpickling what is damaged may raise anything
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
        if kept is None:  # it is compiled next, and numba then names source files relative to the current directory
            _leave_a_deleted_directory()
        return kept

    def save_overload(self, signature: Any, compiled_code: Any) -> None:
        """Keep it, where there is room."""
        with suppress(Exception):  # the index of another process is read here, too
            super().save_overload(signature, compiled_code)  # type: ignore[no-untyped-call]


def _leave_a_deleted_directory() -> None:
    """Ray replaces the directory that workers of a cluster stand in, where a node joins that shares its disk."""
    try:
        os.getcwd()  # noqa: PTH109 (the file has no other use for paths)
    except FileNotFoundError:
        os.chdir(os.sep)


def compiled(function: Callable[..., Any]) -> Any:
    """Return the function as machine code, made when it is first called.

    Divisions are not looked at for zeros, which would keep loops from becoming vector code.
    """
    kernel: Any = numba.njit(fastmath={"contract"}, error_model="numpy")(function)
    with suppress(RuntimeError):  # neither beside the source nor in the user's cache folder is there a place for it
        # what `enable_caching` does, but for a cache that a full disk or a damaged file cannot stop
        kernel._cache = KernelCache(function)
    return kernel
