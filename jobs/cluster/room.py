"""What a local Ray needs of its machine: disk space for its files, and CPUs that are not overloaded."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from pipeline.errors import UsageError

OVERLOADED = 3.0  # processes that want to run, for each core
# bytes of a folder's path: a socket's has room for 107 (on macOS 103), and Ray makes one in a folder of its own
LONGEST = (107 if sys.platform == "linux" else 103) - len(
    "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
)
LEAST_BYTES = 50_000_000  # a session writes some 10 MB of logs and sockets at its start, and more as it works


def ray_parent() -> str:
    """Return the absolute path of the folder in which a local Ray makes its own: RAY_TMPDIR, TMPDIR or /tmp.

    A TMPDIR whose path is too long for Ray's sockets is not used; for such a RAY_TMPDIR, raises UsageError.
    """
    named = _absolute(os.environ.get("RAY_TMPDIR"))
    if len(os.fsencode(named)) > LONGEST:
        raise UsageError(f"RAY_TMPDIR={named}: longer than the {LONGEST} bytes that Ray has room for; shorten it")
    temporary = _absolute(os.environ.get("TMPDIR")) if sys.platform == "linux" else ""
    return named or (temporary if len(os.fsencode(temporary)) <= LONGEST else "") or "/tmp"


def _absolute(path: str | None) -> str:
    return str(Path(path).absolute()) if path else ""


def ray_folder() -> Path:
    """Return the folder for a local Ray's files, or its nearest parent that exists."""
    folder = Path(ray_parent(), "ray").absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def check_room() -> None:
    """Raise UsageError if the folder for Ray's files, or that for temporary files, is full or not writable."""
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise UsageError("no folder for temporary files is writable; set TMPDIR to one that is") from error
    for folder, variable in {temporary: "TMPDIR", ray_folder(): "RAY_TMPDIR"}.items():
        free = shutil.disk_usage(folder).free
        if free < LEAST_BYTES:
            raise UsageError(
                f"{folder}: only {free / 1e6:,.1f} MB are free, but Ray needs {LEAST_BYTES / 1e6:,.0f} MB for its "
                f"files; free some space, or set {variable} to a folder on a disk with more"
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"{folder}: Ray cannot write to this folder; set {variable} to one that is writable")


def is_overloaded() -> bool:
    """Return whether this machine is so busy that everything takes much longer than it should."""
    return os.getloadavg()[0] >= OVERLOADED * (os.cpu_count() or 1)
