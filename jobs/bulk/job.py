"""What the jobs over many files share: flags, the way from a listing to outcomes, and what is told of them."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from glob import escape
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import arg

from jobs.bulk.summary import Tally
from jobs.cluster.canary import watched
from jobs.cluster.joining import (
    LEAST_GPU_SHARE,
    all_have_fast_bf16,
    check_gpus,
    cluster_cpus,
    cluster_gpus,
    cluster_nodes,
    ray_cluster,
    room_on_gpus,
)
from jobs.flags import check_estimate_size, check_ranges, loaded, look_of
from jobs.report.job import report_at_end
from model import DEFAULT_WEIGHTS, Checkpoint, EstimateSize, Precision, Variant, fingerprint, settled
from pipeline.errors import ManifestError, StorageError, UsageError, printable
from pipeline.flow.time_limit import MOST_TIME_LIMIT_S, TIME_LIMIT_S
from pipeline.planning.destination import Destination
from pipeline.planning.manifest import Manifest
from pipeline.planning.media_kinds import Kind
from pipeline.planning.plan import Plan, Selection, check_found, make_plan
from pipeline.planning.same_place import proven
from pipeline.records import Outcome
from pipeline.storage.credentials import parse_options
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, join, shown
from pipeline.storage.writing import is_abandoned

log = logging.getLogger("nightlift")

SHOWN_RESULTS = 5  # folders


@dataclass(frozen=True, kw_only=True)  # without slots, which would not let `enhance` have the flags of two jobs
class BulkConfig:
    """The flags that jobs over many files share."""

    src: tyro.conf.Positional[Annotated[str, arg(metavar="SRC")]]
    """What to enhance: a folder (with all below it), a file, a quoted glob, or a URL (s3://, gs://, az://, https://)."""
    dst: tyro.conf.Positional[Annotated[str, arg(metavar="DST")]]
    """Where enhanced files and `_nightlift/` (the manifest) go: a folder or bucket URL; a file for one file."""

    iterations: int = 8
    """Steps of the light-enhancement curve, 0 to 16: fewer is darker, many more than 8 bring up noise."""
    strength: float = 1.0
    """Scale of the curve maps, 0 (no change) to 2; far above 1 brings up noise."""
    passes: int = 1
    """Times the whole enhancement is done, each on the result of the one before, 1 to 4."""
    denoise: float | Literal["auto"] = "auto"
    """Noise to smooth where the curve amplifies it, and in videos over time where nothing moves. auto: as much as is
    found in the file; 0: none, 1: a level of 8 bits, up to 2."""
    floor: Literal["auto", "off"] = "auto"
    """auto: what the camera did not see stays dark and grey, and what it saw is raised no further than it takes to be
    seen; off: all is lifted alike."""

    variant: Variant = "dce"
    """The network: dce, or plus (smaller, faster)."""
    weights: Annotated[Path | None, arg(metavar="FILE")] = None
    """Your own network instead of the shipped one: .safetensors, or a published Zero-DCE .pth."""
    estimate_size: EstimateSize = "auto"
    """Long side in pixels of the reduced copy that the network sees. auto: what the weights were trained for;
    full: no reduction, the published way: minutes and gigabytes for a photo of 12 megapixels."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: GPUs where the cluster has them."""
    precision: Precision = "auto"
    """Of the network: fp32, bf16. auto: bf16 on GPUs and processors that are fast with it, but for plus on a CPU."""

    include: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Only paths below SRC that match this pattern ('*.jpg', '2024/*'); may be given several times."""
    exclude: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """No paths below SRC that match this pattern; may be given several times."""
    follow_links: bool = False
    """Also follow links out of SRC, and links to folders, of a local SRC."""
    limit: Annotated[int | None, arg(metavar="INT")] = None
    """Do at most this many files in this run."""

    fresh: bool = False
    """Do everything again, whatever the manifest says."""
    dry_run: bool = False
    """List what would be done, with an estimate of the time, and write nothing."""
    workers: Annotated[int | None, arg(metavar="INT")] = None
    """How much is worked at once. By default as many as the cluster's cores, or its GPUs, have room for, and more as
    nodes join it."""
    gpus_per_worker: float = 1.0
    """Share of a GPU that each worker takes: at 0.5 two share one, which also share its memory."""
    no_report: bool = False
    """Do not draw `_nightlift/report.html` at the end."""
    time_limit: float = TIME_LIMIT_S
    """Seconds after which a photo is given up, or a video of which no further frame was finished. Where all of a file
    is read, a second more for each megabyte."""
    storage_options: Annotated[str, arg(metavar="JSON")] = "{}"
    """fsspec options for buckets, such as '{"anon": true}'; for two kinds of bucket keyed by protocol."""

    def __post_init__(self) -> None:
        check_ranges(self, limit=(1, None), workers=(1, None), time_limit=(1, MOST_TIME_LIMIT_S))
        check_estimate_size(self.estimate_size)
        check_ranges(self, gpus_per_worker=(LEAST_GPU_SHARE, None))
        look_of(self)
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise UsageError(f"--gpus-per-worker is {self.gpus_per_worker}; above 1 it must be a whole number")

    @property
    def selection(self) -> Selection:
        return Selection(include=self.include, exclude=self.exclude, follow_links=self.follow_links)

    def checkpoint(self) -> Checkpoint:
        """Raises UsageError."""
        return loaded(self.weights or DEFAULT_WEIGHTS[self.variant])

    def placement(self, workers_per_core: int = 1, cpus_beside_gpu: float = 1) -> "Placement":
        """By what the cluster has. `cpus_beside_gpu`: of a worker. Needs an initialised Ray; raises UsageError."""
        gpus = cluster_gpus()
        device = ("cuda" if gpus else "cpu") if self.device == "auto" else self.device
        if device == "cpu":
            return Placement(device, self.workers or cluster_cpus() * workers_per_core, 0)
        if not gpus:
            raise UsageError(f"--device {self.device}: the cluster has no GPU; leave --device out to run on CPUs")
        check_gpus()
        room = room_on_gpus(cluster_nodes(), self.gpus_per_worker, cpus_beside_gpu)
        if room < (self.workers or 1):
            raise UsageError(
                f"the cluster's GPUs, and the cores beside them, have room for {room} workers of --gpus-per-worker "
                f"{self.gpus_per_worker:g}, not for {self.workers or 1}; lower it or --workers"
            )
        return Placement(device, self.workers or room, self.gpus_per_worker)


@dataclass(frozen=True, slots=True)
class Placement:
    """On what the workers of a job run, and how many there are."""

    device: str
    workers: int
    gpus_per_worker: float
    """0 on CPUs."""


class BulkJob(ABC):
    """Files of one kind at one place, and what is to become of them.

    `settings`: a dataclass with all that decides an output but the weights. `wanted`: the format asked for.
    """

    kind: ClassVar[Kind]

    def __init__(self, config: BulkConfig, settings: Any, checkpoint: Checkpoint, wanted: str | None) -> None:
        self.config, self.settings, self.checkpoint = config, settings, checkpoint
        self.storage = Storage.from_environment([config.src, config.dst], parse_options(config.storage_options))
        self.destination = Destination.of(self.storage, config.src, config.dst, self.kind, wanted)
        weights = {"weights": str(config.weights or config.variant), "weights_fingerprint": fingerprint(checkpoint)}
        self.manifest = Manifest(
            self.storage, self.destination.root, settings.fingerprint(checkpoint), {**weights, **asdict(settings)}
        )

    def settings_on(self, device: str) -> Any:
        """The settings that workers get: which precision `auto` is does not depend on the machine that one is on."""
        asked, variant = self.config.precision, self.checkpoint.network.architecture.variant
        fast_bf16 = asked == "auto" and all_have_fast_bf16(device)
        return replace(self.settings, precision=settled(asked, device, variant, fast_bf16=fast_bf16))

    @abstractmethod
    def enhanced(self, plan: Plan) -> Generator[Outcome]:
        """Do the work, on Ray, which is there. Announces itself and shows its progress."""

    @abstractmethod
    def has_begun(self) -> bool:
        """Tell whether a worker has come up and begun a file."""

    @abstractmethod
    def dry_run(self, plan: Plan) -> str:
        """What would be done."""

    def plan(self) -> Plan:
        """Raises what `make_plan` raises."""
        history = self.manifest.history()
        if self.config.fresh:
            history = history.without_done()
        return make_plan(self.storage, self.config.src, self.destination, self.config.selection, history)

    def carry_out(self, plan: Plan, tally: Tally) -> None:
        """Everything that is planned; each file gets its row in the manifest, and is counted.

        Raises Stopped where all further files would fail: those keep no row, and are work for the next run.
        """
        started = time.monotonic()
        try:
            with self._recording():
                tally.add(self.manifest, (refusal.outcome() for refusal in plan.refused))
                if plan.records:
                    from pipeline.flow.prometheus import counted

                    with (
                        watched(self.has_begun) as watch,
                        closing(self.enhanced(plan)) as enhanced,
                        closing(counted(self.kind.noun, enhanced, len(plan.records))) as outcomes,
                    ):
                        for outcome in outcomes:
                            watch.moved()
                            tally.check_storage(outcome)
                            tally.add(self.manifest, [outcome])
        finally:
            tally.seconds = time.monotonic() - started

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """The manifest is open for rows. Raises ManifestError where some could not be written."""
        try:
            yield
        except BaseException:
            try:
                self.manifest.close()
            except ManifestError as error:
                log.warning("%s", error)  # why it stopped comes last
            raise
        self.manifest.close()


def run_jobs(jobs: Sequence[BulkJob]) -> int:
    """List, plan, enhance, record. Returns the exit status; raises NightliftError for what stops it before work begins.

    `jobs`: over the same source and destination, each for a kind of its own.
    """
    config, storage, root = jobs[0].config, jobs[0].storage, jobs[0].destination.root
    ignores_case = storage.ignores_case(join(root, FOLDER))
    plans = planned(jobs)
    if config.dry_run:
        print(*(job.dry_run(plan) for job, plan in zip(jobs, plans, strict=True) if plan.ours), sep="\n")
        print("nothing was written")
        return 0
    if any(plan.records or plan.refused for plan in plans):
        places = {plan.root for plan in plans if plan.root}
        places |= {join(plan.root, folder) for plan in plans for folder in plan.results}
        storage = proven(storage, root, places)
    for job, plan in zip(jobs, plans, strict=True):
        job.storage = storage
        if plan.records or plan.refused:
            job.manifest.begin()
    if storage.ignores_case(join(root, FOLDER)) and not ignores_case:  # now that a folder is there, it can be told
        plans = planned(jobs)
    tallies = [Tally() for _ in jobs]
    try:
        with ray_cluster(config.workers) if any(plan.records for plan in plans) else nullcontext():
            for job, plan, tally in zip(jobs, plans, tallies, strict=True):
                job.carry_out(plan, tally)
    finally:  # also where it is stopped, or gives up: what is done is done
        if any(plan.records for plan in plans):
            with suppress(StorageError):  # which the next run removes
                unfinished = storage.unfinished(root, below=not jobs[0].destination.file)
                storage.remove(name for name in unfinished if is_abandoned(name))
        for job, plan, tally in zip(jobs, plans, tallies, strict=True):
            if plan.ours:
                print(tally.summary(job.kind.noun, plan))
        print(f"outputs:  {jobs[0].destination.file or root}\nmanifest: {jobs[0].manifest.url}", flush=True)
    if not config.no_report:
        anything_new = any(tally.count for tally in tallies)
        report_at_end(storage, root, anything_new=anything_new, run_s=sum(tally.seconds for tally in tallies))
    return 1 if any(tally.count["failed"] for tally in tallies) else 0


def planned(jobs: Sequence[BulkJob]) -> list[Plan]:
    """What each job has to do, and together no more than --limit says. Raises what planning raises."""
    config = jobs[0].config
    log.info("listing %s", shown(config.src))
    plans = [job.plan() for job in jobs]
    check_found(config.src, plans, " or ".join(f"{job.kind.noun}s" for job in jobs))
    _tell_of_results(list(dict.fromkeys(folder for plan in plans for folder in plan.results)))
    _tell_once(jobs, plans)
    left = config.limit
    for job, plan in zip(jobs, plans, strict=True):
        if left is not None:
            plan.records = plan.records[:left]
            left -= len(plan.records)
        log.info(
            "%ss to do: %d, done before: %d, skipped before: %d, refused by name or place: %d",
            job.kind.noun,
            len(plan.records),
            plan.done,
            len(plan.skipped),
            len(plan.refused),
        )
    return plans


def _tell_of_results(folders: Sequence[str]) -> None:
    for folder in folders[:SHOWN_RESULTS]:
        pattern = printable(f"{escape(folder)}/*")
        log.warning(
            "%s/ contains another job's outputs, which would be enhanced again; to skip them: --exclude '%s'",
            printable(folder),
            pattern,
        )
    if len(folders) > SHOWN_RESULTS:
        log.warning("and so do %d more folders", len(folders) - SHOWN_RESULTS)


def _tell_once(jobs: Sequence[BulkJob], plans: Sequence[Plan]) -> None:
    """What is refused or was skipped falls to the job of its kind, and what is of no kind to the first."""

    def falls_to(source: str) -> BulkJob:
        return next((job for job in jobs if job.kind.accepts(source)), jobs[0])

    for job, plan in zip(jobs, plans, strict=True):
        plan.refused = [row for row in plan.refused if falls_to(row.source) is job]
        plan.skipped = [source for source in plan.skipped if falls_to(source) is job]
