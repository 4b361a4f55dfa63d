"""What a local Ray needs of its machine: disk space for its files, and CPUs that are not overloaded."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from pipeline.errors import UsageError

OVERLOADED = 3.0  # processes that want to run, for each core
LEAST_BYTES = 50_000_000  # a session writes some 10 MB of logs and sockets at its start, and more as it works


def ray_folder() -> Path:
    """Return the folder for Ray's files by Ray's own rule, or its nearest parent that exists."""
    named = os.environ.get("RAY_TMPDIR") or (os.environ.get("TMPDIR") if sys.platform == "linux" else None) or "/tmp"
    folder = Path(named, "ray").absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def check_room() -> None:
    """Raise UsageError if the folder for Ray's files, or that for temporary files, is full or not writable."""
    for folder in dict.fromkeys((ray_folder(), Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        if free < LEAST_BYTES:
            raise UsageError(
                f"{folder}: only {free / 1e6:,.1f} MB are free, but Ray needs {LEAST_BYTES / 1e6:,.0f} MB for its "
                "files; free some space, or set TMPDIR to a folder on a disk with more"
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"{folder}: Ray cannot write its files to this folder; set TMPDIR to one that is writable")


def is_overloaded() -> bool:
    """Return whether this machine is so busy that everything takes much longer than it should."""
    return os.getloadavg()[0] >= OVERLOADED * (os.cpu_count() or 1)
