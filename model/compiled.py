"""Functions that numba compiles, and where their machine code is kept between processes."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

KEPT_S = 30 * 24 * 3600  # machine code of sources that are not in use any more is kept for so long


class KernelCache(FunctionCache):
    """Machine code of one function, kept on disk for the next process: it saves time, and nothing depends on it.

    It lies in a folder named for the text of our sources, wherever they lie: copies of one version share it, such as
    those that Ray brings to the nodes of a cluster for each job. Where no such folder can be made, it lies where numba
    puts it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        folder = _folder(numba.config.CACHE_DIR) or self._cache_path  # type: ignore[attr-defined]
        self._cache_file = IndexDataCacheFile(folder, self._impl.filename_base, _sources())  # type: ignore[no-untyped-call]

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return what was kept, or None. A file that cannot be read, as one cut off by a full disk, is begun anew."""
        kept: Any = None
        try:
            kept = super().load_overload(signature, target)  # type: ignore[no-untyped-call]
        except Exception:  # unpickling what is damaged may raise anything
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
        if kept is not None and kept.signature.args != tuple(signature):
            kept = None  # numba does not keep processes from writing to one file what each of them compiled
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


@cache
def _sources() -> str:
    """Return a hash of all modules of this package: any of them may hold a function that another one calls."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _folder(user_provided: str) -> str | None:
    """Make the folder for machine code, in the user's own place (`NUMBA_CACHE_DIR`) or that for caches.

    None where nothing can be written.
    """
    try:
        place = Path(user_provided or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightlift"
        folder = place / _sources()[:16]
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for other in place.iterdir():
                if other.stat().st_mtime < time.time() - KEPT_S:
                    shutil.rmtree(other, ignore_errors=True)
        os.utime(folder)  # in use
        TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # no room, no rights; no home
        return None
    return str(folder)


def compiled(function: Callable[..., Any]) -> Any:
    """Return the function as machine code, made when it is first called.

    Divisions are not looked at for zeros, which would keep loops from becoming vector code.
    """
    kernel: Any = numba.njit(fastmath={"contract"}, error_model="numpy")(function)
    with suppress(RuntimeError):  # neither beside the source nor in the user's cache folder is there a place for it
        # what `enable_caching` does, but for a cache that a full disk or a damaged file cannot stop
        kernel._cache = KernelCache(function)
    return kernel
