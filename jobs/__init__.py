"""What a person starts: each job is `python -m jobs.NAME` and a `nightlift` sub-command."""

from __future__ import annotations  # older Pythons are told which one is needed

import sys
from types import TracebackType

from jobs.nightlift.entry import PACKAGES, in_our_own_directory, leave_out_current_directory, leave_windows

__all__ = ["PACKAGES", "in_our_own_directory"]


def _report_missing_packages(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Report in one line what cannot be imported, as on a node of a cluster that has another Python."""
    if not issubclass(kind, ImportError):
        sys.__excepthook__(kind, error, traceback)
        return
    here = f"Python {'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}"
    print(
        f"nightlift: {error} ({here}); nightlift needs Python 3.11 to 3.14 with its packages, on each node of a "
        'cluster too: pip install ".[cluster]" in a checkout, or the container image of infra/',
        file=sys.stderr,
    )


if sys.argv[:1] == ["-m"]:  # so Python calls a module that it is about to run: `python -m jobs.NAME`
    leave_windows()
    leave_out_current_directory()
    sys.excepthook = _report_missing_packages
