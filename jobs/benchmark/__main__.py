"""Entry point of `python -m jobs.benchmark`."""

import sys

from jobs.cli import main

sys.exit(main(["benchmark", *sys.argv[1:]]))
