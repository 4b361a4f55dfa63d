"""Entry point of `python -m jobs.evaluate`."""

import sys

from jobs.cli import start

sys.exit(start(["evaluate", *sys.argv[1:]]))
