"""How often tests try what is left to chance: a little on each commit, and much by `make test-all`."""

import os
from typing import TypeVar

import pytest

Counted = TypeVar("Counted")

FULL = os.environ.get("NIGHTLIFT_TESTS") == "full"
in_full_alone = pytest.mark.skipif(not FULL, reason="`make test-all` runs it; on each commit a sibling shows the same")


def count(each_commit: Counted, full: Counted) -> Counted:
    return full if FULL else each_commit
