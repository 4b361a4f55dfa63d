"""The way of a job over many files: list, plan, enhance, record."""

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import cache, partial
from glob import escape

from jobs.bulk.archives import check_is_no_archive, warn_of_archives
from jobs.bulk.config import BulkConfig
from jobs.bulk.estimate import px_of, report
from jobs.bulk.finish import Run, finish
from jobs.bulk.here import Child, is_too_little_for_ray, may_be_done_here, outcomes_here
from jobs.bulk.job import Job, Media
from jobs.bulk.lock import Lock
from jobs.bulk.others import hand_over, job_of_others
from jobs.bulk.rounds import Watch, stay
from jobs.bulk.summary import Tally, to_do
from jobs.clock import elapsed_s
from jobs.cluster.canary import watched
from jobs.cluster.joining import log_expiry, ray_cluster
from jobs.cluster.machine import room_here
from jobs.command_line.logs import steps
from jobs.flags import selection_of
from jobs.report.job import report_at_end
from model import has_machine_code
from pipeline.errors import ManifestError, SoundOnly, StorageError, plural, printable
from pipeline.planning.manifest import Manifest
from pipeline.planning.media_kinds import PHOTOS, VIDEOS
from pipeline.planning.path_list import Source, name_of, source_of
from pipeline.planning.plan import Plan, check_found
from pipeline.planning.same_place import proven
from pipeline.records import Outcome
from pipeline.storage.credentials import parse_options
from pipeline.storage.urls import FOLDER, join, redacted
from pipeline.storage.writing import is_abandoned

log = logging.getLogger("nightlift")

SHOWN_RESULTS = 5  # folders


def run_jobs(config: BulkConfig, media: Sequence[Media]) -> int:
    """List, plan, enhance, record. Returns the exit status; raises NightliftError for what stops it before work begins.

    `media`: the kinds of files that are enhanced, each by a job of its own.
    """
    once = partial(_once, media)
    if config.every is not None and not config.dry_run:
        return stay(config, once)
    run = Run(config=config)
    try:
        status = once(run)
    except BaseException as error:
        finish(run, error)
        raise
    finish(run)
    return status


def _once(media: Sequence[Media], run: Run, source: Source | None = None, watch: Watch | None = None) -> int:
    """Do one run, or one round of a run that stays. Returns the exit status.

    `run`: is filled in. `source`: that of the config, if it was read already. `watch`: what a run that stays remembers.
    """
    config = run.config
    first = watch is None or watch.round == 1
    child = Child(early=first) if may_be_done_here(config) and not config.dry_run else None
    try:
        checkpoint = config.checkpoint()
        source = source_of(config.src) if source is None else source
        if isinstance(source, str):
            check_is_no_archive(source, config.dst, parse_options(config.storage_options))
        jobs = [Job.of(each, config, checkpoint, source) for each in media]
        if config.others == "copy" and not jobs[0].destination.file:
            jobs.append(job_of_others(jobs))
        run.jobs = jobs
        return _run(run, child, watch)
    finally:
        if child is not None:
            child.end()


def _run(run: Run, child: Child | None, watch: Watch | None) -> int:
    jobs, config, storage, root = run.jobs, run.config, run.jobs[0].storage, run.jobs[0].destination.root
    ignoring_case = storage.ignores_case(join(root, FOLDER), probe=not config.dry_run)
    lock = lock_of(jobs)
    if not config.dry_run:
        lock.check_free()
    run.plans = make_plans(jobs, ignoring_case=ignoring_case, watch=watch)
    if config.dry_run:
        print(estimated(jobs, run.plans), "nothing was written", sep="\n")
        return 0
    run.tallies = [Tally() for _ in jobs]
    has_work = any(plan.records or plan.refused for plan in run.plans)
    if not has_work and watch is not None:
        return 0
    if has_work:
        _prove(jobs, run.plans)
    with lock.held() if has_work else nullcontext():
        if has_work and any(job.manifest.has_grown() for job in jobs):
            steps.info("another run has added to the manifest meanwhile; listing again")
            run.plans = make_plans(jobs, ignoring_case=ignoring_case, watch=watch)
        _do(run, child, lock.check, watch)
    return run.status


def _do(run: Run, child: Child | None, check: Callable[[], None], watch: Watch | None) -> None:
    """Do what is planned, and say what became of it. `check`: called after each file; what it raises ends the run."""
    jobs, plans, tallies, root = run.jobs, run.plans, run.tallies, run.jobs[0].destination.root

    def settled(outcome: Outcome) -> None:
        check()
        if watch is not None:
            watch.note(outcome)

    for job, plan in zip(jobs, plans, strict=True):
        if plan.records or plan.refused:
            job.manifest.begin()
    try:
        _carry_out(jobs, plans, tallies, child, settled)
    finally:  # also where it is stopped, or gives up: what is done is done
        if any(plan.records for plan in plans):
            with suppress(StorageError):  # which the next run removes
                unfinished = jobs[0].storage.unfinished(root, below=not jobs[0].destination.file)
                jobs[0].storage.remove(name for name in unfinished if is_abandoned(name))
        anything_new = any(tally.count for tally in tallies)
        if watch is None:
            _print_summary(run, anything_new=anything_new)
    if not run.config.no_report and (watch is None or anything_new):
        report_at_end(jobs[0].storage, root, anything_new=anything_new, run_s=elapsed_s(), name_it=watch is None)


def _print_summary(run: Run, *, anything_new: bool) -> None:
    for job, plan, tally in zip(run.jobs, run.plans, run.tallies, strict=True):
        if plan.ours:
            print(tally.summary(job.noun, plan))
            if run.config.price is not None and job.media.needs_ray and tally.core_s:
                print(tally.cost(job.noun, run.config.price))
    if anything_new or not any(plan.records for plan in run.plans):  # stopped before a first file, nothing is there
        job = run.jobs[0]
        print(f"outputs:  {job.destination.file or job.destination.root}\nmanifest: {job.manifest.url}", flush=True)


def estimated(jobs: Sequence[Job], plans: Sequence[Plan]) -> str:
    """Return lines that say what jobs would do, and about how long it would take."""
    config = jobs[0].config
    announced = cache(partial(px_of, storage=jobs[0].storage))  # each header is read once
    enhancing, enhanced = _for_workers(jobs, plans)
    is_little = partial(is_too_little_for_ray, enhancing, enhanced, lambda record, _: announced(record))
    on_ray = not (may_be_done_here(config) and is_little())
    estimates = [job.media.estimate(job, plan, announced) for job, plan in zip(jobs, plans, strict=True) if plan.ours]
    workers = config.workers or room_here(max(job.media.worker_bytes for job in jobs))
    return report(estimates, workers, on_ray=on_ray, price=config.price)


def make_plans(jobs: Sequence[Job], *, ignoring_case: bool = False, watch: Watch | None = None) -> list[Plan]:
    """Plan what each job has to do, and together no more than --limit says. Raises what planning raises.

    `watch`: chooses from it, and warns of places in the first round only.
    """
    config, name = jobs[0].config, name_of(jobs[0].source)
    steps.info("listing %s", name)
    inputs, kinds = jobs[0].inputs(), [job.media.kind for job in jobs]
    plans = [job.plan(inputs, kinds, ignoring_case=ignoring_case) for job in jobs]
    if plans[0].left_out is not None:
        inside = "%s lies inside the source and is left out of it; files there: %d"
        steps.info(inside, jobs[0].destination.root, plans[0].left_out)
    if config.others == "skip" and (watch is None or watch.round == 1):
        warn_of_archives(jobs[0].storage, inputs, selection_of(config), config.dst)
    if watch is None:
        check_found(name, plans, " or ".join(f"{job.noun}s" for job in jobs))
    else:
        watch.choose(plans)
    if watch is None or watch.round == 1:
        _warn_of_results(list(dict.fromkeys(folder for plan in plans for folder in plan.results)))
        for folder in inputs.written_above(jobs[0].destination.root)[:SHOWN_RESULTS]:
            log.warning(
                "%s/ contains outputs of another job, which are now enhanced again; to leave them out, do not name "
                "them",
                printable(redacted(folder)),
            )
    left = config.limit
    for job, plan in zip(jobs, plans, strict=True):
        if left is not None:
            plan.later = max(0, len(plan.records) - left)
            plan.records = plan.records[:left]
            left -= len(plan.records)
        if plan.ours and not config.dry_run:  # which says so itself
            steps.info("%s", to_do(job.noun, plan))
    return plans


def _prove(jobs: Sequence[Job], plans: Sequence[Plan]) -> None:
    """Prove that the destination is none of the sources. Raises StorageError, UsageError."""
    folders = set[str]().union(*(plan.folders for plan in plans))
    storage = proven(jobs[0].storage, jobs[0].destination.root, folders)
    for job in jobs:
        job.storage = storage


def lock_of(jobs: Sequence[Job]) -> Lock:
    """Return the lock for what the jobs write. Copies of other files may be what a job for videos or photos writes."""
    destination = jobs[0].destination
    kinds = [kind.noun for kind in (PHOTOS, VIDEOS)]
    if all(job.media.needs_ray for job in jobs):
        kinds = [job.noun for job in jobs]
    return Lock(jobs[0].storage, destination.root, kinds, destination.file)


def _carry_out(
    jobs: Sequence[Job],
    plans: Sequence[Plan],
    tallies: Sequence[Tally],
    child: Child | None,
    settled: Callable[[Outcome], None],
) -> None:
    """Do all that is planned, here or on Ray; each file gets its row in the manifest, and is counted.

    `settled`: called with each outcome after that. Raises Stopped where all further files would fail: those keep no
    row, and are work for the next run.
    """
    enhancing, enhanced = _for_workers(jobs, plans)
    if child is not None and not is_too_little_for_ray(enhancing, enhanced, child.px_of):
        child.end()
        child = None
    if enhancing and not os.environ.get("RAY_ADDRESS") and not has_machine_code():
        steps.info("compiling the curve for this machine, which is kept: half a minute or more until the first file")
    needs_ray = child is None and bool(enhancing)
    heard = set[str]()  # sound that is named like videos
    if needs_ray:
        log_expiry(jobs[0].storage)
    with ray_cluster(jobs[0].config.workers) if needs_ray else nullcontext():
        for job, plan, tally in zip(jobs, plans, tallies, strict=True):
            if job.media.kind.gives_way:
                hand_over(
                    [each for every in plans for each in every.records if redacted(each.source) in heard], job, plan
                )
            try:
                with _recording(job.manifest):
                    tally.add(job.manifest, (refusal.outcome() for refusal in plan.refused))
                    if plan.records:
                        with closing(_outcomes(job, plan, child)) as outcomes:
                            for outcome in job.media.tidy(job, plan.records, outcomes):
                                tally.check_storage(outcome)
                                tally.add(job.manifest, [outcome])
                                settled(outcome)
                                if outcome.outcome == "skipped" and outcome.code == SoundOnly.code:
                                    heard.add(outcome.source)
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


def _warn_of_results(folders: Sequence[str]) -> None:
    for folder in folders[:SHOWN_RESULTS]:
        pattern = printable(f"{escape(folder)}/*")
        log.warning(
            "%s/ contains outputs of another job, which are now enhanced again; to leave them out, add --exclude '%s'",
            printable(folder),
            pattern,
        )
    if len(folders) > SHOWN_RESULTS:
        log.warning("outputs of other jobs are also in %s more", plural(len(folders) - SHOWN_RESULTS, "folder"))
