"""Entry point of `python -m jobs.report`."""

import sys

from jobs.cli import main

sys.exit(main(["report", *sys.argv[1:]]))
