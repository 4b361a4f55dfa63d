"""Entry point of `python -m jobs.report`."""

import sys

from jobs.cli import start

sys.exit(start(["report", *sys.argv[1:]]))
