"""What the graphs of photos are made of: blocks, and the watch on workers that die."""

import pytest

from pipeline.flow import ATTEMPTS, BLOCK_BYTES, RECORDS_PER_BLOCK, Watched, _new_attempts, blocks_of
from pipeline.photos import Development
from pipeline.records import Record


def _records(count: int, size_bytes: int = 1000) -> list[Record]:
    return [
        Record(source=f"/in/{index}.jpg", version="", size_bytes=size_bytes, destination=f"/out/{index}.jpg")
        for index in range(count)
    ]


def _lengths(records: list[Record], workers: int) -> list[int]:
    blocks = blocks_of(records, workers)
    assert [record for block in blocks for record in block] == records
    return [len(block) for block in blocks]


def test_small_photos_fill_blocks() -> None:
    assert _lengths(_records(1000), 2) == [RECORDS_PER_BLOCK] * 31 + [8]


def test_few_photos_are_spread_over_the_workers() -> None:
    assert _lengths(_records(8), 2) == [1] * 8
    assert _lengths(_records(24), 2) == [3] * 8
    assert _lengths(_records(1), 16) == [1]


def test_a_block_holds_no_more_bytes_than_is_said_but_for_one_large_photo() -> None:
    assert _lengths(_records(100, BLOCK_BYTES // 3), 1) == [3] * 33 + [1]
    assert _lengths(_records(3, 10 * BLOCK_BYTES), 1) == [1] * 3
    assert _lengths(_records(200, 0), 1)[0] == RECORDS_PER_BLOCK  # web servers may tell no size


@pytest.fixture
def attempts(ray_session: object) -> object:
    return _new_attempts()


def _step(work: Development) -> Development:
    work.outcome.outcome = "done"
    return work


def test_a_block_that_is_done_at_once_is_not_watched(attempts: object) -> None:
    works = [Development.of(record) for record in _records(3)]
    done = list(Watched(_step, attempts)(works))
    assert [work.outcome.outcome for work in done] == ["done"] * 3


def test_only_the_photo_at_which_workers_died_is_given_up(attempts: object) -> None:
    class Killer:
        def __call__(self, work: Development) -> Development:
            if work.record.source.endswith("1.jpg"):
                raise SystemExit  # as good as dead: nothing more is told
            return _step(work)

    records = _records(3)
    for _ in range(1 + ATTEMPTS):
        with pytest.raises(SystemExit):
            list(Watched(Killer(), attempts)([Development.of(record) for record in records]))
    last = list(Watched(Killer(), attempts)([Development.of(record) for record in records]))
    assert [(work.outcome.outcome, work.outcome.code) for work in last] == [
        ("done", ""),
        ("failed", "worker_died"),
        ("done", ""),
    ]
    assert last[1].outcome.attempts == ATTEMPTS
