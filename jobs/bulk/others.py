"""`--others copy`: files that are not of the kinds that a job enhances, copied as they are, without Ray."""

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from itertools import islice

from jobs.bulk.estimate import Estimate
from jobs.bulk.job import Job, Media, Worker
from jobs.bulk.summary import by_other_runs
from jobs.progress import in_sight
from pipeline.errors import Stopped
from pipeline.planning.history import COPIED
from pipeline.planning.manifest import Manifest
from pipeline.planning.media_kinds import Others
from pipeline.planning.plan import Plan
from pipeline.records import Outcome, Record, settling
from pipeline.storage.copying import PIECE_BYTES, copy
from pipeline.storage.storage import Storage
from pipeline.video.reading.containers import written_as_it_is

FINGERPRINT = "copied"  # in the manifest: a copy depends on no setting
AT_ONCE = 16  # copies, which mostly wait for storage
OUT_OF_MEMORY = "not enough memory to copy this file"


def job_of_others(jobs: Sequence[Job]) -> Job:
    """Return the job that copies all files at the source that none of the `jobs` enhances."""
    first, kind = jobs[0], Others(kinds=tuple(job.media.kind for job in jobs))
    media = Media(
        kind=kind,
        settings=lambda config, checkpoint: None,
        wanted=lambda config: None,
        worker=lambda job: partial(_worker, job.storage),
        flow=Copies,
        progress=lambda copies, records: in_sight(copies.run(records), len(records), "file"),
        estimate=_estimate,
        worker_bytes=PIECE_BYTES,
        needs_ray=False,
    )
    return replace(
        first,
        media=media,
        settings=None,
        destination=replace(first.destination, kind=kind, format=None),
        manifest=Manifest(first.storage, first.destination.root, FINGERPRINT, {"others": "copy"}),
    )


class Copies:
    """A flow that copies files in threads of this process."""

    def __init__(self, job: Job) -> None:
        self.worker = job.media.worker(job)()

    def run(self, records: Sequence[Record]) -> Generator[Outcome]:
        """Yield exactly one outcome for each record, as they come. Copies that are under way at its end are dropped."""
        left, stop = iter(records), threading.Event()
        pool, running = ThreadPoolExecutor(AT_ONCE), set[Future[Outcome]]()

        def check(at: str = "") -> None:
            if stop.is_set():
                raise Stopped("the job was stopped")

        try:
            while True:
                running |= {pool.submit(self.worker, each, check) for each in islice(left, 2 * AT_ONCE - len(running))}
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in finished)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)

    def has_begun(self) -> bool:
        return True


def hand_over(heard: Sequence[Record], job: Job, plan: Plan) -> None:
    """Add sound that is named like videos to what is copied, which is found out only where it is opened."""
    named = [(record, written_as_it_is(record.source, record.destination)) for record in heard]
    records = [replace(record, destination=own) for record, own in named if own != record.source]
    if records and not (plan.records or plan.refused):
        job.manifest.begin()
    plan.records += records
    plan.ours += len(records)


def _worker(storage: Storage) -> Worker:
    return lambda record, on_part: copied(storage, record, on_part)


def copied(storage: Storage, record: Record, on_part: Callable[[], None] = lambda: None) -> Outcome:
    """Copy a file byte for byte. `on_part`: called before each part; what it raises ends the copy."""
    outcome = Outcome.of(record)
    with settling(record, outcome, out_of_memory=OUT_OF_MEMORY):
        on_part()
        outcome.bytes_out, outcome.sha256 = copy(storage, record, on_part)
        outcome.outcome, outcome.code, outcome.bytes_in = "done", COPIED, outcome.bytes_out
    return outcome


def _estimate(job: Job, plan: Plan, _px_of: Callable[[Record], float]) -> Estimate:
    """Return the counts that `--dry-run` prints; the time that copies take is not estimated."""
    lines = [f"other files to copy: {len(plan.records):,} ({plan.bytes_in / 1e6:,.1f} MB)", *by_other_runs(plan)]
    return Estimate(lines)
