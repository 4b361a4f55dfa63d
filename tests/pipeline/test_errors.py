"""Words that messages are made of."""

import pytest

from pipeline.errors import plural


@pytest.mark.parametrize(("count", "words"), [(0, "0 photos"), (1, "1 photo"), (2, "2 photos"), (1204, "1,204 photos")])
def test_a_count_with_its_noun(count: int, words: str) -> None:
    assert plural(count, "photo") == words
