"""How often tests try what is left to chance: a little on each commit, and much by `make test-all`."""

import os
from collections.abc import Iterable
from itertools import combinations, product
from typing import Any, TypeVar

import pytest

Counted = TypeVar("Counted")

FULL = os.environ.get("NIGHTLIFT_TESTS") == "full"
in_full_alone = pytest.mark.skipif(not FULL, reason="`make test-all` runs it; on each commit a sibling shows the same")


def count(each_commit: Counted, full: Counted) -> Counted:
    return full if FULL else each_commit


def crossed(*parameters: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Combinations of the parameters' values: on each commit a few that hold every pair of values, in full all."""
    every = list(product(*map(list, parameters)))
    if FULL:
        return every
    pairs_of = [set(combinations(enumerate(map(repr, each)), 2)) for each in every]
    open_pairs, chosen = set().union(*pairs_of), list[tuple[Any, ...]]()
    while open_pairs:
        best = max(range(len(every)), key=lambda at: len(pairs_of[at] & open_pairs))
        chosen.append(every[best])
        open_pairs -= pairs_of[best]
    return chosen
