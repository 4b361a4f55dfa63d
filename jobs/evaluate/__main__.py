"""Entry point of `python -m jobs.evaluate`."""

import sys

from jobs.cli import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
