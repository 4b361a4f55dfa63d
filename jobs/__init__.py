"""What a person starts: each job is `python -m jobs.NAME` and a `nightlift` sub-command."""

import os
import sys

from jobs.nightlift_entry import leave_out_current_directory, leave_windows

if sys.argv[:1] == ["-m"]:  # so Python calls a module that it is about to run: `python -m jobs.NAME`
    leave_windows()
    leave_out_current_directory()

# Under `uv run` Ray would take the current directory to the workers, and start them by uv once more. It reads this
# when it is imported, which some jobs do early.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
