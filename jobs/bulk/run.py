"""The way of a job over many files: list, plan, enhance, record."""

import logging
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from glob import escape

from jobs.bulk.config import BulkConfig
from jobs.bulk.estimate import report
from jobs.bulk.here import Child, is_too_little_for_ray, may_be_done_here, outcomes_here
from jobs.bulk.job import Job, Media
from jobs.bulk.others import job_of_others
from jobs.bulk.summary import Tally, to_do
from jobs.clock import elapsed_s
from jobs.cluster.canary import watched
from jobs.cluster.joining import ray_cluster, tell_of_expiry
from jobs.cluster.machine import room_here
from jobs.report.job import report_at_end
from model import has_machine_code
from pipeline.errors import ManifestError, NoVideo, StorageError, plural, printable
from pipeline.planning.manifest import Manifest
from pipeline.planning.path_list import name_of, source_of
from pipeline.planning.plan import Plan, check_found
from pipeline.planning.same_place import proven
from pipeline.records import Outcome
from pipeline.storage.urls import FOLDER, join, redacted
from pipeline.storage.writing import is_abandoned

log = logging.getLogger("nightlift")

SHOWN_RESULTS = 5  # folders


def run_jobs(config: BulkConfig, media: Sequence[Media]) -> int:
    """List, plan, enhance, record. Returns the exit status; raises NightliftError for what stops it before work begins.

    `media`: the kinds of files that are enhanced, each by a job of its own.
    """
    child = Child() if may_be_done_here(config) and not config.dry_run else None
    try:
        checkpoint, source = config.checkpoint(), source_of(config.src)
        jobs = [Job.of(each, config, checkpoint, source) for each in media]
        if config.others == "copy" and not jobs[0].destination.file:
            jobs.append(job_of_others(jobs))
        return _run(jobs, child)
    finally:
        if child is not None:
            child.end()


def _run(jobs: Sequence[Job], child: Child | None) -> int:
    config, storage, root = jobs[0].config, jobs[0].storage, jobs[0].destination.root
    ignoring_case = storage.ignores_case(join(root, FOLDER), probe=not config.dry_run)
    plans = make_plans(jobs, ignoring_case=ignoring_case)
    if config.dry_run:
        print(estimated(jobs, plans), "nothing was written", sep="\n")
        return 0
    _begin(jobs, plans)
    tallies = [Tally() for _ in jobs]
    try:
        _carry_out(jobs, plans, tallies, child)
    finally:  # also where it is stopped, or gives up: what is done is done
        if any(plan.records for plan in plans):
            with suppress(StorageError):  # which the next run removes
                unfinished = jobs[0].storage.unfinished(root, below=not jobs[0].destination.file)
                jobs[0].storage.remove(name for name in unfinished if is_abandoned(name))
        for job, plan, tally in zip(jobs, plans, tallies, strict=True):
            if plan.ours:
                print(tally.summary(job.noun, plan))
        anything_new = any(tally.count for tally in tallies)
        if anything_new or not any(plan.records for plan in plans):  # stopped before a first file, nothing is there
            print(f"outputs:  {jobs[0].destination.file or root}\nmanifest: {jobs[0].manifest.url}", flush=True)
    if not config.no_report:
        report_at_end(jobs[0].storage, root, anything_new=anything_new, run_s=elapsed_s())
    found_nothing = not any(tally.count["done"] or plan.done for tally, plan in zip(tallies, plans, strict=True))
    only_sound = found_nothing and any(tally.count[NoVideo.code] for tally in tallies)
    return 1 if only_sound or any(tally.count["failed"] for tally in tallies) else 0


def estimated(jobs: Sequence[Job], plans: Sequence[Plan]) -> str:
    """Return lines that say what jobs would do, and about how long it would take."""
    config = jobs[0].config
    on_ray = not (may_be_done_here(config) and is_too_little_for_ray(*_for_workers(jobs, plans)))
    estimates = [job.media.estimate(job, plan) for job, plan in zip(jobs, plans, strict=True) if plan.ours]
    workers = config.workers or room_here(max(job.media.worker_bytes for job in jobs))
    return report(estimates, workers, on_ray=on_ray)


def make_plans(jobs: Sequence[Job], *, ignoring_case: bool = False) -> list[Plan]:
    """Plan what each job has to do, and together no more than --limit says. Raises what planning raises."""
    config, name = jobs[0].config, name_of(jobs[0].source)
    log.info("listing %s", name)
    inputs, kinds = jobs[0].inputs(), [job.media.kind for job in jobs]
    plans = [job.plan(inputs, kinds, ignoring_case=ignoring_case) for job in jobs]
    if plans[0].left_out is not None:
        inside = "%s lies inside the source and is left out of it; files there: %d"
        log.info(inside, jobs[0].destination.root, plans[0].left_out)
    check_found(name, plans, " or ".join(f"{job.noun}s" for job in jobs))
    _tell_of_results(list(dict.fromkeys(folder for plan in plans for folder in plan.results)))
    for folder in inputs.written_above(jobs[0].destination.root)[:SHOWN_RESULTS]:
        log.warning(
            "%s/ contains outputs of another job, which are now enhanced again; to leave them out, do not name them",
            printable(redacted(folder)),
        )
    left = config.limit
    for job, plan in zip(jobs, plans, strict=True):
        if left is not None:
            plan.later = max(0, len(plan.records) - left)
            plan.records = plan.records[:left]
            left -= len(plan.records)
        if plan.ours and not config.dry_run:  # which says so itself
            log.info("%s", to_do(job.noun, plan))
    return plans


def _begin(jobs: Sequence[Job], plans: Sequence[Plan]) -> None:
    """Prove that the destination is none of the sources, and begin the manifests. Raises StorageError, UsageError."""
    if any(plan.records or plan.refused for plan in plans):
        folders = set[str]().union(*(plan.folders for plan in plans))
        storage = proven(jobs[0].storage, jobs[0].destination.root, folders)
        for job in jobs:
            job.storage = storage
    for job, plan in zip(jobs, plans, strict=True):
        if plan.records or plan.refused:
            job.manifest.begin()


def _carry_out(jobs: Sequence[Job], plans: Sequence[Plan], tallies: Sequence[Tally], child: Child | None) -> None:
    """Do all that is planned, here or on Ray; each file gets its row in the manifest, and is counted.

    Raises Stopped where all further files would fail: those keep no row, and are work for the next run.
    """
    enhancing, enhanced = _for_workers(jobs, plans)
    if child is not None and not is_too_little_for_ray(enhancing, enhanced, child.px_of):
        child.end()
        child = None
    if enhancing and not os.environ.get("RAY_ADDRESS") and not has_machine_code():
        log.info("compiling the curve for this machine, which is kept: half a minute or more until the first file")
    needs_ray = child is None and bool(enhancing)
    if needs_ray:
        tell_of_expiry(jobs[0].storage)
    with ray_cluster(jobs[0].config.workers) if needs_ray else nullcontext():
        for job, plan, tally in zip(jobs, plans, tallies, strict=True):
            try:
                with _recording(job.manifest):
                    tally.add(job.manifest, (refusal.outcome() for refusal in plan.refused))
                    if plan.records:
                        with closing(_outcomes(job, plan, child)) as outcomes:
                            for outcome in job.media.tidy(job, plan.records, outcomes):
                                tally.check_storage(outcome)
                                tally.add(job.manifest, [outcome])
            finally:
                tally.seconds = elapsed_s() - sum(each.seconds for each in tallies)


def _for_workers(jobs: Sequence[Job], plans: Sequence[Plan]) -> tuple[list[Job], list[Plan]]:
    """Return the jobs that have work for workers, and their plans."""
    pairs = [(job, plan) for job, plan in zip(jobs, plans, strict=True) if job.media.needs_ray and plan.records]
    return [job for job, _ in pairs], [plan for _, plan in pairs]


def _outcomes(job: Job, plan: Plan, child: Child | None) -> Generator[Outcome]:
    """Do the work of a plan where it is to be done."""
    if not job.media.needs_ray:
        return job.media.progress(job.media.flow(job), plan.records)
    return _on_ray(job, plan) if child is None else outcomes_here(child, job, plan)


def _on_ray(job: Job, plan: Plan) -> Generator[Outcome]:
    """Enhance on Ray, which is there; watched until a first file is done, and counted for Prometheus."""
    from pipeline.flow.prometheus import counted

    flow = job.media.flow(job)
    with (
        watched(flow.has_begun) as watch,
        closing(job.media.progress(flow, plan.records)) as enhanced,
        closing(counted(job.noun, enhanced, len(plan.records))) as outcomes,
    ):
        for outcome in outcomes:
            watch.moved()
            yield outcome


@contextmanager
def _recording(manifest: Manifest) -> Iterator[None]:
    """Keep the manifest open for rows. Raises ManifestError where some could not be written."""
    try:
        yield
    except BaseException:
        try:
            manifest.close()
        except ManifestError as error:
            log.warning("%s", error)  # why it stopped comes last
        raise
    manifest.close()


def _tell_of_results(folders: Sequence[str]) -> None:
    for folder in folders[:SHOWN_RESULTS]:
        pattern = printable(f"{escape(folder)}/*")
        log.warning(
            "%s/ contains outputs of another job, which are now enhanced again; to leave them out, add --exclude '%s'",
            printable(folder),
            pattern,
        )
    if len(folders) > SHOWN_RESULTS:
        log.warning("outputs of other jobs are also in %s more", plural(len(folders) - SHOWN_RESULTS, "folder"))
