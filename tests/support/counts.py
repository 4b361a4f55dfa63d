"""How often tests try what is left to chance: a little on each commit, and much by `make test-all`."""

import os

FULL = os.environ.get("NIGHTLIFT_TESTS") == "full"


def count(each_commit: int, full: int) -> int:
    return full if FULL else each_commit
