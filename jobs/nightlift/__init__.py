"""The console command. Installed as a package of its own, `nightlift`, whose name no other distribution has.

Other distributions do have packages named `jobs`, `model` or `pipeline`. Where one is installed into the same
environment, its files take the place of ours, or take them along when it is removed.
"""

import os
import sys
from importlib.metadata import PackageNotFoundError, PackagePath, distribution
from importlib.util import find_spec
from pathlib import Path

ROOTS = Path(__file__).resolve().parents[1:3]  # where packages lie that a wheel has put there, and those of a checkout
PACKAGES = "jobs", "model", "pipeline"
REMEDY = (
    "another distribution has put it there or taken ours away; install nightlift into an environment of its own "
    "(python -m venv, pipx install, uv tool install)"
)


def main() -> int:
    """Run the console command, if the packages that it is made of are ours. Returns the exit status."""
    leave_out_current_directory()
    found = foreign_file()
    if found:
        print(f"nightlift: {found}: {REMEDY}", file=sys.stderr)
        return 2
    from jobs.start import main as start

    return start()


def leave_out_current_directory() -> None:
    """Take the current directory off the path, where `python -m` or an empty entry of PYTHONPATH has put it.

    A `model/` or a `torch.py` of the user's would be imported, that is run, in place of the package. A checkout stays.
    """
    try:
        here = os.getcwd()  # noqa: PTH109 (nothing that could be found there is imported before)
    except OSError:  # it was removed
        here = ""
    if not here or not os.path.samefile(here, ROOTS[1]):  # noqa: PTH121
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


def foreign_file() -> str:
    """Return which file of ours is missing or somebody else's, in words; "" where all are as they were installed."""
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            return f"the package {name} is not whole, {ROOTS[0] / name / '__init__.py'} is not there"
        if Path(spec.origin).resolve().parents[1] not in ROOTS:
            return f"the package {name} is not nightlift's, but that of {spec.origin}"
    try:
        files = distribution("nightlift").files or ()
    except PackageNotFoundError:
        files = ()
    changed = (file for file in files if file.suffix == ".py" and not _is_whole(file))
    return next((f"{file.locate()} is not as it was installed" for file in changed), "")


def _is_whole(file: PackagePath) -> bool:
    try:
        return file.size in (None, Path(str(file.locate())).stat().st_size)
    except OSError:
        return False
