"""Ships our packages to the workers of a cluster, and keeps workers from importing files of the current directory."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs import PACKAGES, in_our_own_directory

NAMES_A_PATH = re.compile(r"(^|_)(FILE|DIR|PATH|BUNDLE|CREDENTIALS|HOME)$")  # environment variables


@contextmanager
def shipped_folder(carried: Mapping[Path, str] | None = None) -> Iterator[Path]:
    """Yield a temporary folder with our packages and other files. `carried`: local files, each with its path there."""
    with TemporaryDirectory(prefix="nightlift-") as name:
        folder = Path(name)
        for package in PACKAGES:
            (place,) = import_module(package).__path__
            shutil.copytree(place, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        for path, there in (carried or {}).items():
            (folder / there).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / there)
        yield folder


@contextmanager
def shipped_environment() -> Iterator[dict[str, object]]:
    """Yield a Ray runtime environment that brings our packages, and nothing of the current directory, to a cluster.

    It is empty in a submitted Ray job whose working directory brings them already. The body must initialise Ray.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    if "working_dir" in (job.get("runtime_env") or {}):
        yield {}
        return
    with shipped_folder() as folder:
        yield {"working_dir": str(folder)}


@contextmanager
def standing_apart(empty: Path) -> Iterator[None]:
    """Change to an empty directory while the body starts a local Ray, unless our packages lie in the current one.

    Ray starts its workers in the directory that it is started in, which also comes first in their search path. So
    `empty` must last as long as they do. Paths in environment variables are made absolute, and stay so, to mean the
    same to workers.
    """
    if in_our_own_directory():
        yield
        return
    here = os.open(os.curdir, getattr(os, "O_PATH", os.O_RDONLY))  # can be returned to even if it is deleted
    try:
        for name, value in os.environ.items():
            if NAMES_A_PATH.search(name) and value and value[0] not in "/~$" and os.pathsep not in value:
                os.environ[name] = str(Path(value).absolute())
        os.chdir(empty)
        yield
    finally:
        os.fchdir(here)
        os.close(here)
