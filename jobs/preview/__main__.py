"""Entry point of `python -m jobs.preview`."""

import sys

from jobs.cli import start

sys.exit(start(["preview", *sys.argv[1:]]))
