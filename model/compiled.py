"""Compilation of functions with numba, and a cache on disk of their machine code."""

import hashlib
import os
import pickle
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, _CacheLocator
from numba.core.registry import cpu_target

KEPT_S = 30 * 24 * 3600  # machine code of unused versions is deleted after this
LEAST_BYTES = 1 << 20  # free space, below which a folder is not used


class KernelFolder(_CacheLocator):
    """A place for the machine code of one function.

    The folder is named by a hash of our sources, not by their path, so copies of one version share it, such as those
    that Ray brings to the nodes of a cluster for each job.
    """

    def __init__(self, function: Callable[..., Any], folder: str) -> None:
        self._folder, self._line = folder, function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return self._folder

    def get_source_stamp(self) -> str:
        return _sources()

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Callable[..., Any], _: str) -> "KernelFolder | None":
        folder = kernel_folder()
        return cls(function, folder) if folder else None


class KernelFiles(IndexDataCacheFile):
    """Files of the machine code of one function, each with a checksum: damaged code would end the process."""

    def _save_data(self, name: str, data: Any) -> None:
        content: bytes = self._dump(data)  # type: ignore[no-untyped-call]
        with self._open_for_write(self._data_path(name)) as file:  # type: ignore[no-untyped-call]
            file.write(hashlib.sha256(content).digest() + content)

    def _load_data(self, name: str) -> Any:
        stored = Path(self._data_path(name)).read_bytes()  # type: ignore[no-untyped-call]
        checksum, content = stored[: hashlib.sha256().digest_size], stored[hashlib.sha256().digest_size :]
        if hashlib.sha256(content).digest() != checksum:
            raise ValueError(f"{name} is damaged")
        return pickle.loads(content)


class KernelCacheImpl(CompileResultCacheImpl):
    _locator_classes = [KernelFolder]  # noqa: RUF012 (numba's own is a list)


class KernelCache(FunctionCache):
    """Cache on disk of one function's machine code, which saves later processes the time to compile."""

    _impl_class = KernelCacheImpl

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = KernelFiles(self._cache_path, self._impl.filename_base, _sources())  # type: ignore[no-untyped-call]

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the cached machine code, or None. An unreadable file, such as one cut short, is started anew."""
        kept: Any = None
        try:
            kept = super().load_overload(signature, target)  # type: ignore[no-untyped-call]
        except Exception:  # unpickling a damaged file may raise anything
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
        if kept is not None and kept.signature.args != tuple(signature):
            kept = None  # another signature's code: numba does not stop two processes from writing to one file
        if kept is None:  # numba compiles next, and then needs the current directory
            _leave_a_deleted_directory()
        return kept

    def save_overload(self, signature: Any, compiled_code: Any) -> None:
        """Save the machine code, unless the disk is full or the index is damaged."""
        with suppress(Exception):  # this also reads the index, which another process may have damaged
            super().save_overload(signature, compiled_code)  # type: ignore[no-untyped-call]


def _leave_a_deleted_directory() -> None:
    """Change to / if the current directory is gone: Ray replaces it when a node joins that shares its disk."""
    try:
        os.getcwd()  # noqa: PTH109 (the file has no other use for paths)
    except FileNotFoundError:
        os.chdir(os.sep)


@cache
def _sources() -> str:
    """Return a hash of all modules of this package, as compiled functions call each other across modules."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel_folder() -> str | None:
    """Return the folder for machine code, which is made if it is missing; None if nothing can be written anywhere."""
    return _folder(numba.config.CACHE_DIR)  # type: ignore[attr-defined]


def has_machine_code() -> bool:
    """Return whether an earlier process has compiled functions of this version, so that this one need not."""
    folder = kernel_folder()
    return folder is not None and any(Path(folder).glob("*.nbi"))


@cache
def _folder(user_provided: str) -> str | None:
    """Make the folder for machine code and return it; None if nothing can be written anywhere.

    `user_provided`: the parent folder (`NUMBA_CACHE_DIR`); if empty, the user's folder for caches. If that cannot be
    written to, as in a container without a home directory, one among the temporary files that is this user's alone.
    """
    with suppress(OSError, RuntimeError):  # no space or permission; no home directory
        return _made(Path(user_provided or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightlift")
    with suppress(OSError):
        parent = Path(gettempdir()) / f"nightlift-cache-{os.getuid()}"
        parent.mkdir(mode=0o700, exist_ok=True)
        found = parent.lstat()  # code that others may have put there must not be run
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return _made(parent)
    return None


def _made(place: Path) -> str:
    """Make the folder for the present version, and remove what has not been used for long.

    Raises OSError, unless machine code is there that can at least be read, as in the image of a container.
    """
    folder = place / _sources()[:16]
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for other in place.iterdir():
                if other.stat().st_mtime < time.time() - KEPT_S:
                    shutil.rmtree(other, ignore_errors=True)
        os.utime(folder)  # marks it as in use
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(LEAST_BYTES))
    except OSError:
        if not any(folder.glob("*.nbi")):
            raise
    return str(folder)


def load_numba() -> None:
    """Load what numba needs before the first compiled function runs: half a second that can be spent while waiting."""
    cpu_target.target_context.refresh()


def inlined(function: Callable[..., Any], *, fused: bool = True) -> Any:
    """Return the function for use by compiled ones, as part of their machine code: a call with arrays takes 30 ns."""
    return compiled(function, forceinline=True, fused=fused)


def compiled(function: Callable[..., Any], *, forceinline: bool = False, fused: bool = True) -> Any:
    """Return the function as machine code, compiled when it is first called.

    `forceinline`: make it part of each function that calls it. `fused`: products and sums may be computed at once, with
    one rounding; otherwise results are those of numpy. Divisions by zero are not checked, as the checks would keep
    loops from being vectorised.
    """
    fastmath = {"contract"} if fused else set()
    kernel: Any = numba.njit(fastmath=fastmath, error_model="numpy", forceinline=forceinline)(function)
    with suppress(RuntimeError):  # there is no folder that can be written to
        # as `enable_caching` does, but with a cache that survives a full disk or a damaged file
        kernel._cache = KernelCache(function)
    return kernel
