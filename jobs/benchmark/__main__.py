"""Entry point of `python -m jobs.benchmark`."""

import sys

from jobs.cli import start

sys.exit(start(["benchmark", *sys.argv[1:]]))
