"""Entry point of `python -m jobs.train`."""

import sys

from jobs.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
