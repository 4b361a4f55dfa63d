"""Overhead of Ray: small photos against a plain pool of processes with the same calls, more workers, start-up."""

import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.benchmark.measurement import Row, Section
from jobs.benchmark.media import night_jpeg
from jobs.benchmark.photos import SMALL_PX, STAGES, record_of
from jobs.cluster.joining import ray_cluster
from model import DEFAULT_WEIGHTS, Checkpoint, load
from pipeline.errors import NightliftError
from pipeline.photos import PhotoSettings, PhotoSteps, PhotoWork
from pipeline.process import use_one_core
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage

SEEDS = 16  # different photos

_steps: PhotoSteps  # set in each process of the pool


def measure_ray(workers: int, small: int, large: int, large_size: tuple[int, int]) -> Section:
    """Measure Ray on `small` photos of SMALL_PX, and on `large` photos of `large_size`."""
    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    with TemporaryDirectory(prefix="nightlift-") as folder:
        records = written(Path(folder) / "small", small, SMALL_PX)
        larges = written(Path(folder) / "large", large, large_size)
        started = time.monotonic()
        with ray_cluster(workers, join=False):
            ray_up_s = time.monotonic() - started
            times = [
                (
                    _timed_pool(records, workers),
                    _timed_flow(records, checkpoint, workers),
                    _timed_flow(larges, checkpoint, 1),
                    _timed_flow(larges, checkpoint, workers),
                )
                for _ in range(2)  # in turns: disturbances hit all alike
            ]
    (pool_s, _), (ray_s, first_s), (one_s, _), (all_s, _) = map(min, zip(*times, strict=True))
    rows = [
        Row("starting Ray on this machine", ray_up_s, "s"),
        Row("from then until the first photo starts", first_s, "s"),
        Row(f"{small} small photos, pool of {workers} processes", small / pool_s, "photos per second"),
        Row(f"{small} small photos, Ray with {workers} workers", small / ray_s, "photos per second"),
        Row("small photos: time on Ray / in the pool, without start-up", ray_s / pool_s, "times"),
        Row(f"{large} large photos, 1 worker", large / one_s, "photos per second"),
        Row(f"{large} large photos, {workers} workers", large / all_s, "photos per second"),
        Row(f"large photos: speed of {workers} workers / 1 worker", one_s / all_s, "times"),
    ]
    return Section("Ray", rows)


def written(folder: Path, count: int, size: tuple[int, int]) -> list[Record]:
    photos = [night_jpeg(*size, seed) for seed in range(min(count, SEEDS if size[0] < 1000 else 2))]
    records = []
    folder.mkdir()
    for index in range(count):
        path = folder / f"{index:05d}.jpg"
        path.write_bytes(photos[index % len(photos)])
        records.append(record_of(path, folder / "out" / path.name))
    return records


def _timed_flow(records: Sequence[Record], checkpoint: Checkpoint, workers: int) -> tuple[float, float]:
    """Return the seconds that the photos took, and those until the first one began."""
    from pipeline.flow.photos import PhotoFlow

    flow = PhotoFlow(
        storage=Storage(),
        settings=PhotoSettings(estimate_size=checkpoint.estimate_size),
        checkpoint=checkpoint,
        device="cpu",
        workers=workers,
        topology="fused",
    )
    started = time.time()
    return span(list(flow.run(records)), started)


def _timed_pool(records: Sequence[Record], workers: int) -> tuple[float, float]:
    started = time.time()
    with multiprocessing.get_context("spawn").Pool(workers, _begin) as pool:
        return span(list(pool.imap_unordered(_develop, records)), started)


def _begin() -> None:
    global _steps
    use_one_core()
    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    _steps = PhotoSteps.of(Storage(), PhotoSettings(estimate_size=checkpoint.estimate_size), checkpoint)


def _develop(record: Record) -> Outcome:
    return _steps(PhotoWork.of(record)).outcome


def span(outcomes: Sequence[Outcome], started: float) -> tuple[float, float]:
    """Return the seconds from the first photo's start to the end of the last, and from `started` to the first's start.

    Raises NightliftError if one was not done.
    """
    for outcome in outcomes:
        if outcome.outcome != "done":
            raise NightliftError(outcome.message)
    begun = [outcome.started_at.timestamp() for outcome in outcomes]
    ended = [
        at + sum(getattr(outcome, f"seconds_{stage}") for stage in STAGES)
        for at, outcome in zip(begun, outcomes, strict=True)
    ]
    return max(ended) - min(begun), min(begun) - started
