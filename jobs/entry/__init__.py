"""Starts the console command: before any package of ours is imported, makes sure that it is ours.

`jobs`, `model` and `pipeline` are names that other distributions use too. So this package is installed a second
time, as `nightlift_entry`, at the top level, where nobody else puts theirs. It imports the standard library alone.
"""

import csv
import os
import sys
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

PACKAGES = "jobs", "model", "pipeline"
HERE = Path(__file__).parent
HOME = HERE.parents[1] if HERE.name == "entry" else HERE.parent  # the folder of our packages
REMEDY = (
    "install nightlift into an environment of its own (python -m venv, pipx install or uv tool install), "
    "or install it again here (pip install --force-reinstall --no-deps)"
)


def main() -> int:
    """Run the command line as `jobs.cli.main` does. Returns its exit status; 2 where our packages are not ours."""
    leave_out_current_directory()
    if fault := fault_of_installation():
        print(f"nightlift: {fault}; {REMEDY}", file=sys.stderr)
        return 2
    from jobs.start import main as run

    return run()


def in_our_own_directory() -> bool:
    """Return whether the current directory is the one that holds our packages, as a checkout does."""
    return HOME.samefile(os.curdir)


def leave_out_current_directory() -> None:
    """Keep the files of the current directory out of what this process, and those that it starts, import.

    Python looks there first where it runs `python -m`, `python -c`, or has an empty or relative entry in PYTHONPATH. A
    relative entry that names another directory was set on purpose: it stays, as an absolute path.
    """
    if in_our_own_directory():
        return
    try:
        current = Path.cwd()
    except FileNotFoundError:  # deleted: nothing can be imported from it
        return
    entries = [Path(entry) for entry in os.environ.pop("PYTHONPATH", "").split(os.pathsep) if entry]
    kept = [str(entry.absolute()) for entry in entries if entry.is_absolute() or entry.absolute() != current]
    if kept:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    os.environ["PYTHONSAFEPATH"] = "1"  # for the processes that this one starts
    script_directory = Path(sys.argv[0]).resolve().parent
    left_out = {"", str(current), str(script_directory)}.difference(kept)
    sys.path[:] = [entry for entry in sys.path if entry not in left_out]


def fault_of_installation() -> str | None:
    """Say which of our packages another distribution has replaced or taken away; None where all are whole."""
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None:
            return f"the package {package} is missing from {HOME}: the uninstall of another distribution took it away"
        (found, *_) = map(Path, spec.submodule_search_locations or [spec.origin or ""])
        if not (found.exists() and found.samefile(HOME / package)):
            return f"the package {package} is found at {found}, which is not nightlift's own"
    ours = next(iter(distributions(name="nightlift", path=[str(HOME)])), None)
    for name, size in _recorded(ours) if ours else ():
        file = HOME / name
        if not file.exists():
            return f"{name} is missing from {HOME}: the uninstall of another distribution took it away"
        if file.stat().st_size != size and (owner := _other_owner(name)):
            return f"{file} is no longer nightlift's own: {owner} has put its own file there"
    return None


def _recorded(distribution: Distribution) -> list[tuple[str, int]]:
    """Name and size in bytes of each Python file that was installed in our packages."""
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    return [
        (name, int(size)) for name, _, size in rows if size and name.endswith(".py") and name.split("/")[0] in PACKAGES
    ]


def _other_owner(name: str) -> str | None:
    """Find the distribution, other than ours, that lists the file as its own."""
    for distribution in distributions(path=[str(HOME)]):
        if distribution.name != "nightlift" and any(name == listed for listed, _ in _recorded(distribution)):
            return distribution.name
    return None
