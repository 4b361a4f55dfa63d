"""Entry point of `python -m jobs.train`."""

import sys

from jobs.cli import start

sys.exit(start(["train", *sys.argv[1:]]))
