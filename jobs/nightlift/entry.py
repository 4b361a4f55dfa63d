"""Starts the console command, after a check that the packages about to be imported are nightlift's own.

`jobs`, `model` and `pipeline` are names that other distributions, and users, give to theirs too. The library makes the
same check before its first use.
"""

from __future__ import annotations  # older Pythons are told which one is needed

import os  # Python has loaded only os and sys already; other modules are imported once the search path is safe
import sys

PACKAGES = "jobs", "model", "pipeline"
PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOME = os.path.dirname(PARENT) if os.path.basename(PARENT) == "jobs" else PARENT  # folder of our packages
REMEDY = (
    "install nightlift into an environment of its own (python -m venv, pipx install or uv tool install), "
    "or install it again here (pip install --force-reinstall --no-deps)"
)
WINDOWS = (
    "Windows itself lacks what it needs; type wsl --install to get the Windows Subsystem for Linux, and install and "
    "start nightlift there"
)
CHECKOUT = "it is a checkout of nightlift: install that one (pip install --editable .), or start in another folder"
RENAME = "nightlift needs this name: rename yours, or start Python in another folder"


def main() -> int:
    """Run the command line with `jobs.cli.start`. Returns its exit status; 2 if packages are missing or not ours."""
    leave_windows()
    try:
        leave_out_current_directory()
        if fault := fault_of_installation():
            print(f"nightlift: {fault}", file=sys.stderr)
            return 2
        from jobs.cli import start

        return start()
    except KeyboardInterrupt:  # while packages load; `start` handles later ones itself
        print("nightlift: stopped before the job began", file=sys.stderr)
        return 130


def leave_windows() -> None:
    """End this process with one line on Windows, which lacks much that other modules use from their first line on."""
    if sys.platform == "win32":
        print(f"nightlift: {WINDOWS}", file=sys.stderr)
        sys.exit(2)


def check_for_library() -> None:
    """Raise ImportError where the library would import others' packages in place of ours, and on Windows."""
    if fault := WINDOWS if sys.platform == "win32" else fault_of_installation():
        raise ImportError(f"nightlift: {fault}")


def in_our_own_directory() -> bool:
    """Return whether the current directory is the one that holds our packages, as a checkout does."""
    return os.path.samefile(HOME, os.curdir)


def leave_out_current_directory() -> None:
    """Prevent this process, and those that it starts, from importing files of the current directory.

    Python looks there first with `python -m`, `python -c`, or an empty or relative entry in PYTHONPATH. A relative
    entry that names another directory was set on purpose: it stays, as an absolute path.
    """
    # Under `uv run` Ray would take the current directory to the workers, and start them by uv once more. It reads this
    # when it is imported, which some jobs do early.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if in_our_own_directory():
        return
    try:
        current = os.getcwd()
    except FileNotFoundError:  # deleted: nothing can be imported from it
        return
    entries = [entry for entry in os.environ.pop("PYTHONPATH", "").split(os.pathsep) if entry]
    kept = [os.path.abspath(entry) for entry in entries if os.path.isabs(entry) or os.path.abspath(entry) != current]
    if kept:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    os.environ["PYTHONSAFEPATH"] = "1"  # for the processes that this one starts
    script_directory = os.path.dirname(os.path.realpath(sys.argv[0]))
    left_out = {"", current, script_directory}.difference(kept)
    sys.path[:] = [entry for entry in sys.path if entry not in left_out]


def fault_of_installation() -> str | None:
    """Return what others have put in the way of our packages, replaced or removed, and what to do; None if nothing."""
    from importlib.metadata import distributions

    for package in PACKAGES:
        found = _place_of(package)
        if found is None:
            return (
                f"the package {package} is missing from {HOME}: uninstalling another distribution removed it; {REMEDY}"
            )
        if not (os.path.isdir(found) and os.path.samefile(found, os.path.join(HOME, package))):
            installed = "site-packages" in found or "dist-packages" in found
            is_checkout = os.path.exists(os.path.join(os.path.dirname(found), "jobs", "nightlift", "entry.py"))
            advice = CHECKOUT if is_checkout else REMEDY if installed else RENAME
            return f"the package {package} is found at {found}, which is not nightlift's own; {advice}"
    ours = next(iter(distributions(name="nightlift", path=[HOME])), None)
    for name, size in _recorded(ours.read_text("RECORD")) if ours else ():
        file = os.path.join(HOME, name)
        if not os.path.exists(file):
            return f"{name} is missing from {HOME}: uninstalling another distribution removed it; {REMEDY}"
        if os.path.getsize(file) != size and (owner := _other_owner(name)):
            return f"{file} is no longer nightlift's own: {owner} has put its own file there; {REMEDY}"
    return None


def _place_of(package: str) -> str | None:
    """Return the folder or file that an import of this package gets, or has got; None if there is none."""
    from importlib.util import find_spec

    try:
        spec = find_spec(package)
    except ValueError:  # it was made by a program, and not found
        return str(getattr(sys.modules[package], "__file__", None) or "no file")
    if spec is None:
        return None
    return next(iter(spec.submodule_search_locations or ()), spec.origin or "")


def _recorded(record: str | None) -> list[tuple[str, int]]:
    """Return name and size in bytes of the Python files that a RECORD lists in packages named like ours."""
    import csv

    rows = csv.reader((record or "").splitlines())
    return [
        (name, int(size)) for name, _, size in rows if size and name.endswith(".py") and name.split("/")[0] in PACKAGES
    ]


def _other_owner(name: str) -> str | None:
    """Find the distribution, other than ours, that lists the file as its own."""
    from importlib.metadata import distributions

    for distribution in distributions(path=[HOME]):
        listed = _recorded(distribution.read_text("RECORD"))
        if distribution.name != "nightlift" and name in dict(listed):
            return distribution.name
    return None
