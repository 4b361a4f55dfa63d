"""Hundreds of broken photos and clips, or thousands: each has an outcome that says what is wrong with it.

No process dies or hangs of them, nor takes more memory than whole files do and a little. `fuzzing.py` hunts longer.
"""

from collections import Counter

import pytest

from tests.support.counts import count
from tests.support.fuzzing import findings

PHOTOS, CLIPS = count(500, 10_000), count(40, 1000)
SEED = 1  # other seeds, other files


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("photos", PHOTOS), ("clips", CLIPS)])
def test_whatever_is_broken_has_an_outcome_with_a_code(kind: str, count: int) -> None:
    found = list(findings(kind, SEED, count))
    assert [each.number for each in found] == list(range(count))
    assert [each for each in found if each.is_fault] == []
    codes = Counter(each.code for each in found)
    assert count / 10 < codes[""] < count * 9 / 10, codes  # neither is nothing broken, nor all beyond reading
