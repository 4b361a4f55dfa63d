"""Entry point of `python -m jobs.verify`."""

import sys

from jobs.cli import start

sys.exit(start(["verify", *sys.argv[1:]]))
