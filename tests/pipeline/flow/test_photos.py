"""What the graphs of photos are made of: blocks, and the watch on workers that die."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import ray
import torch
from ray.data import DataContext

from jobs.evaluate.job import EvaluateConfig, _judged
from jobs.evaluate.scoring import Pair
from model import DEFAULT_WEIGHTS, Enhancer, load
from pipeline.errors import ClusterError
from pipeline.flow.attempts import ATTEMPTS
from pipeline.flow.photos import BYTES_PER_WORKER, PLENTY_BYTES, blocks_of_sequences, limits_of_blocks
from pipeline.flow.ray_data import BLOCK_BYTES, RECORDS_PER_BLOCK, blocks_of, dataset_of, ray_errors, records_of
from pipeline.flow.supervised_step import Watched, new_attempts
from pipeline.images.photo import Frame, Photo
from pipeline.images.seen.view import parts_of
from pipeline.photos import Enhance, PhotoSettings, PhotoWork
from pipeline.records import Place, Record
from pipeline.sequences.light_over_time import REACH


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


def test_blocks_grow_where_there_is_plenty_or_where_workers_are_many() -> None:
    assert limits_of_blocks(_records(100, 1_000_000), 2) == (RECORDS_PER_BLOCK, BLOCK_BYTES)
    assert limits_of_blocks(_records(10_000, 1_000_000), 10) == (RECORDS_PER_BLOCK, 10_000_000_000 // 640)
    assert limits_of_blocks(_records(10_000, 4_000_000), 2) == (RECORDS_PER_BLOCK, PLENTY_BYTES)
    records = _records(100_000, 3_000_000)
    assert limits_of_blocks(records, 1000) == (1000, 1000 * BYTES_PER_WORKER)
    lengths = [len(block) for block in blocks_of(records, 1000, *limits_of_blocks(records, 1000))]
    assert (max(lengths), len(lengths)) == (25, 4000)  # four for each worker, so that all end at about one time


def test_a_cluster_that_grows_is_asked_for_gpus_by_jobs_on_gpus_alone(ray_session: object) -> None:
    for on_gpus, most in ((True, inf), (False, 0.0), (True, inf)):
        dataset = dataset_of([_records(1)], block_bytes=1, patience_s=-1, on_gpus=on_gpus)
        assert dataset.context.execution_options.resource_limits.gpu == most


def test_neighbours_travel_once_for_a_block_of_a_sequence(ray_session: object) -> None:
    urls = tuple(f"/archive/2025/night/IMG_{number:06}.jpg" for number in range(1000))
    records = [replace(record, source=url) for record, url in zip(_records(1000), urls, strict=True)]
    placed = [replace(record, place=Place(urls, rank)) for rank, record in enumerate(records) if rank % 7]
    blocks = blocks_of_sequences(placed, 4)
    dataset = dataset_of(blocks, block_bytes=1 << 50, patience_s=-1)
    assert dataset.size_bytes() < 300 * len(placed)
    back = [record for batch in dataset.iter_batches(batch_size=None) for record in records_of(batch)]
    assert [each.place and each.place.within(REACH) for each in back] == [
        each.place and each.place.within(REACH) for each in placed
    ]
    assert [replace(each, place=None) for each in back] == [replace(each, place=None) for each in placed]


def test_settings_of_ray_data_that_the_caller_has_stay(ray_session: object) -> None:
    before = repr(DataContext.get_current())
    dataset = dataset_of([_records(1)], block_bytes=1, patience_s=1234)
    with ray_errors():
        assert dataset.map_batches(lambda batch: batch).count() == 1
    assert dataset.context.execution_no_progress_timeout_s == 1234
    assert repr(DataContext.get_current()) == before


@pytest.fixture
def attempts(ray_session: object) -> object:
    return new_attempts()


def _step(work: PhotoWork) -> PhotoWork:
    work.outcome.outcome = "done"
    return work


class _Done:
    def __call__(self, work: PhotoWork) -> PhotoWork:
        return _step(work)


def test_a_block_that_is_done_at_once_is_not_watched(attempts: object) -> None:
    works = [PhotoWork.of(record) for record in _records(3)]
    done = list(Watched(_Done(), attempts)(works))
    assert [work.outcome.outcome for work in done] == ["done"] * 3


class Lacking:
    """What a worker that lacks a package cannot unpickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return __import__, ("nobody_has_this",)


def test_a_worker_that_lacks_a_package_is_told_as_that(attempts: object) -> None:
    told = r"workers cannot start on \S+ \(No module named 'nobody_has_this'\); install the same packages on every node"
    with pytest.raises(ClusterError, match=told), ray_errors():
        ray.get(ray.remote(lambda _: None).remote(Lacking()))
    with pytest.raises(ClusterError, match=told), ray_errors():
        ray.data.range(2).map_batches(_step, fn_args=(Lacking(),)).materialize()
    pair = Pair(name="a.jpg", photo="a.jpg")
    with pytest.raises(ClusterError, match=told):
        list(_judged(Lacking(), [pair], EvaluateConfig(src="in", out="out"), attempts))  # type: ignore[arg-type]


class Death(BaseException):
    """As good as the end of the process: nothing more is told."""


class Killer:
    """A step at which workers die, at some photos."""

    def __call__(self, work: PhotoWork) -> PhotoWork:
        if Path(work.record.source).stem in ("1", "3", "4"):
            raise Death
        return _step(work)


def test_only_the_photos_at_which_workers_died_are_given_up(attempts: object) -> None:
    """However many there are in a block, each costs its own attempts, and the block one more that is not watched."""
    records = _records(6)
    for _ in range(1 + 3 * ATTEMPTS):
        with pytest.raises(Death):
            list(Watched(Killer(), attempts)([PhotoWork.of(record) for record in records]))
    last = list(Watched(Killer(), attempts)([PhotoWork.of(record) for record in records]))
    assert [work.outcome.code for work in last] == ["", "worker_died", "", "worker_died", "worker_died", ""]
    assert {work.outcome.attempts for work in last if work.outcome.code} == {ATTEMPTS}


def test_a_step_that_leaves_python_ends_its_worker_as_a_crash_does(
    attempts: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts another worker only where one did not seem to end on purpose."""

    def leave(work: PhotoWork) -> PhotoWork:
        raise SystemExit

    def end(status: int) -> NoReturn:
        raise Death(status)

    monkeypatch.setattr("os._exit", end)
    with pytest.raises(Death, match="1"):
        list(Watched(leave, attempts)([PhotoWork.of(_records(1)[0])]))


def test_a_failed_gpu_ends_the_worker_and_not_the_photo(attempts: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the steps themselves: they settle whatever else goes wrong."""

    told = "CUDA error: unspecified launch failure"

    def fail(enhancer: Enhancer, images: object, floors: object) -> None:
        raise torch.AcceleratorError(told)

    def end(status: int) -> NoReturn:
        raise SystemExit(status)

    monkeypatch.setattr(Enhancer, "_estimated", fail)
    monkeypatch.setattr("os._exit", end)
    work = PhotoWork.of(_records(1)[0])
    work.photo = Photo(format="JPEG", frames=[Frame(pixels=np.zeros((8, 8, 3), np.uint8))])
    work.parts = parts_of(work.photo)
    enhance = Enhance(load(DEFAULT_WEIGHTS["plus"]), PhotoSettings(), "cpu")
    with pytest.raises(SystemExit):
        list(Watched(enhance, attempts, together=enhance.estimate_together)([work]))
    assert work.outcome.code == ""
    told = "CUDA error: out of memory"  # of pinned memory, which torch's allocator of the GPU knows nothing of
    list(Watched(enhance, new_attempts())([work]))
    assert work.outcome.code == "out_of_memory"


def test_one_step_does_not_count_for_another(attempts: object) -> None:
    """In the split graph they work at one block side by side."""
    records = [PhotoWork.of(record) for record in _records(3)]
    begun = Watched(Killer(), attempts)(records)
    next(begun)
    assert list(Watched(_Done(), attempts)(records)) == records
    with pytest.raises(Death):
        next(begun)
    again = Watched(Killer(), attempts)(records)
    assert next(again).outcome.attempts == 1
    assert ray.get(attempts.begin.remote("Killer: block of /in/0.jpg")) == (3, False)  # type: ignore[attr-defined]


@pytest.mark.parametrize("ends", ["together", "later"])
def test_a_block_is_prepared_together_unless_a_worker_died_at_it(attempts: object, ends: str) -> None:
    """Then each of its photos goes by itself, as the one at fault is to be found."""
    works = [PhotoWork.of(record) for record in _records(3)]
    prepared: list[int] = []

    def together(block: Sequence[PhotoWork]) -> None:
        prepared.append(len(block))
        if ends == "together":
            raise Death

    step = _Done() if ends == "together" else Killer()
    with pytest.raises(Death):
        list(Watched(step, attempts, together=together)(works))
    assert prepared == [3]
    again = Watched(_Done(), attempts, together=together) if ends == "together" else Watched(step, attempts)
    assert next(again(works)).outcome.attempts == 1
    assert prepared == [3]
