"""Entry point of `python -m jobs.compare`."""

import sys

from jobs.cli import start

sys.exit(start(["compare", *sys.argv[1:]]))
