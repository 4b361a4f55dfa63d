"""Where workers look for packages: never in the directory where a job was started, which holds the user's files.

A `model/` or a `torch.py` there would be imported, that is run, by every worker.
"""

import os
import site
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER_ALONE = getattr(os, "O_PATH", os.O_RDONLY)  # asks for no right to read the folder


@contextmanager
def standing_in(folder: str) -> Iterator[None]:
    """Stand in `folder` while the body runs, with nothing in PYTHONPATH that leads to where we stood.

    Ray lets workers import from where the driver stands when it starts or joins a cluster; the processes that it starts
    stand there, too, and inherit PYTHONPATH. A checkout that is not installed is put there, so that workers find it.
    """
    stood = os.open(".", FOLDER_ALONE)  # not by name, which may be gone
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(_entries(before or ""))
    os.chdir(folder)
    try:
        yield
    finally:
        os.fchdir(stood)
        os.close(stood)
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _entries(python_path: str) -> list[str]:
    """Return what workers get of a PYTHONPATH: its absolute entries, but for the current directory."""
    entries = [entry for entry in python_path.split(os.pathsep) if Path(entry).is_absolute() and not _is_here(entry)]
    installed = [Path(folder).resolve() for folder in (*site.getsitepackages(), site.getusersitepackages())]
    return entries if ROOT in installed else [str(ROOT), *entries]


def _is_here(entry: str) -> bool:
    try:
        return Path(entry).samefile(".")
    except OSError:  # one of them is gone
        return False
