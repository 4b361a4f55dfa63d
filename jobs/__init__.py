"""What a person starts: each job is `python -m jobs.NAME` and a `nightlift` sub-command."""

import sys

from jobs.entry import leave_out_current_directory

if sys.argv[:1] == ["-m"]:  # so Python calls a module that it is about to run: `python -m jobs.NAME`
    leave_out_current_directory()
