"""Entry point of `python -m jobs.preview`."""

import sys

from jobs.cli import main

sys.exit(main(["preview", *sys.argv[1:]]))
