"""The photo job: `nightlift images SRC DST`, or `python -m jobs.images SRC DST` from a checkout."""

import logging
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import arg

from jobs.cluster import cluster_cpus, cluster_gpus, ray_cluster
from jobs.dry_run import dry_run_report
from jobs.progress import Progress
from model import DEFAULT_WEIGHTS, Checkpoint, EstimateSize, Look, Precision, Variant, WeightsError, load
from pipeline.credentials import parse_options
from pipeline.errors import UsageError
from pipeline.images import FORMATS, format_of
from pipeline.manifest import Manifest
from pipeline.photos import PhotoSettings, PhotoSteps
from pipeline.plan import Destination, Plan, Selection, make_plan
from pipeline.records import Outcome
from pipeline.storage import Storage, shown

if TYPE_CHECKING:
    from pipeline.flow import PhotoFlow  # imports Ray: at run time only once there is work

log = logging.getLogger("nightlift")

SHOWN_FAILURES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagesConfig:
    """Enhance photos: a folder, a file, a glob or a bucket in, the same tree out, and a manifest beside it.

    Run it again to do only what is new, changed or failed. Exit status: 0 all done, 1 some inputs failed,
    2 wrong usage or nothing to read.
    """

    src: tyro.conf.Positional[Annotated[str, arg(metavar="SRC")]]
    """Photos: a folder (with all below it), a file, a quoted glob, or a URL (s3://, gs://, az://, https://)."""
    dst: tyro.conf.Positional[Annotated[str, arg(metavar="DST")]]
    """Where enhanced photos and `_nightlift/` (the manifest) go: a folder or bucket URL; a file for one photo."""

    iterations: int = 8
    """Steps of the light-enhancement curve, 0 to 16: fewer is darker, many more than 8 bring up noise."""
    strength: float = 1.0
    """Scale of the curve maps, 0 (no change) to 2; far above 1 brings up noise."""
    passes: int = 1
    """Times the whole enhancement is done, each on the result of the one before, 1 to 4."""
    denoise: float = 0.0
    """Smooths the noise that the curve amplified, 0 (off) to 2: 0.5 keeps more detail, 1 suits very dark photos."""

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
    """Of the network: fp32, bf16. auto: bf16 on GPUs that have it."""

    format: Annotated[str | None, arg(metavar="NAME")] = None
    """Write every photo in this format (jpeg, png, webp, tiff, bmp, gif, avif, pnm). By default each keeps its own."""
    quality: Annotated[int | None, arg(metavar="INT")] = None
    """1 to 100, of JPEG, WebP and AVIF. By default a JPEG's own."""
    skip_bright: Literal["no", "copy", "leave"] = "no"
    """What to do with photos that need nothing: enhance them all the same, copy them unchanged, or leave them out."""
    bright_luma: float = 0.45
    """Mean luma, 0 to 1, from which a photo counts as bright for --skip-bright."""
    max_pixels: int = 500_000_000
    """Refuse photos with more pixels than this (all frames of an animation together)."""

    include: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Only paths below SRC that match this pattern ('*.jpg', '2024/*'); may be given several times."""
    exclude: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """No paths below SRC that match this pattern; may be given several times."""
    limit: Annotated[int | None, arg(metavar="INT")] = None
    """Do at most this many photos in this run."""

    fresh: bool = False
    """Do everything again, whatever the manifest says."""
    dry_run: bool = False
    """List what would be done, with an estimate of the time, and write nothing."""
    workers: Annotated[int | None, arg(metavar="INT")] = None
    """Photos worked at once: CPU cores, or GPUs. By default all that the cluster has."""
    topology: Literal["auto", "fused", "split"] = "auto"
    """fused: each worker does all steps; split: decode, enhance and encode apart. auto: split on GPUs."""
    storage_options: Annotated[str, arg(metavar="JSON")] = "{}"
    """fsspec options for buckets, such as '{"anon": true}'; for two kinds of bucket keyed by protocol."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit is {self.limit}; it must be 1 or more")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers is {self.workers}; it must be 1 or more")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"--quality is {self.quality}; it must be between 1 and 100")
        if isinstance(self.estimate_size, int) and self.estimate_size < 16:
            raise UsageError(f"--estimate-size is {self.estimate_size}; it must be 16 or more, or full")
        if not 0 <= self.bright_luma <= 1:
            raise UsageError(f"--bright-luma is {self.bright_luma}; it must be between 0 and 1")
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels is {self.max_pixels}; it must be 1 or more")

    @property
    def selection(self) -> Selection:
        return Selection(include=self.include, exclude=self.exclude)

    @property
    def format_name(self) -> str | None:
        """The format's own name. Raises UsageError for one that cannot be written."""
        if self.format is None:
            return None
        found = format_of(f"photo.{self.format}")
        if found is None or not found.writable:
            known = ", ".join(name for name, known in FORMATS.items() if known.writable)
            raise UsageError(f"--format {self.format}: cannot be written; choose one of {known}")
        return found.name

    def settings(self, checkpoint: Checkpoint) -> PhotoSettings:
        try:
            look = Look(iterations=self.iterations, passes=self.passes, strength=self.strength, denoise=self.denoise)
        except ValueError as error:
            raise UsageError(f"--{error}") from error
        return PhotoSettings(
            look=look,
            estimate_size=checkpoint.estimate_size_for(self.estimate_size),
            precision=self.precision,
            format=self.format_name,
            quality=self.quality,
            skip_bright=self.skip_bright,
            bright_luma=self.bright_luma,
            max_pixels=self.max_pixels,
        )


def run(config: ImagesConfig) -> int:
    """The whole job. Returns the exit status; raises NightliftError for what stops it before the first photo."""
    checkpoint = _checkpoint(config)
    settings = config.settings(checkpoint)
    storage = Storage.from_environment([config.src, config.dst], parse_options(config.storage_options))
    destination = Destination.of(storage, config.src, config.dst, settings.format)
    manifest = Manifest(storage, destination.root, settings.fingerprint(checkpoint), asdict(settings))
    log.info("listing %s", shown(config.src))
    history = manifest.history()
    if config.fresh:
        history = replace(history, done={})
    plan = make_plan(storage, config.src, destination, config.selection, history)
    plan.records = plan.records[: config.limit]
    log.info(
        "to do: %d, done before: %d, refused by name or place: %d", len(plan.records), plan.done, len(plan.refused)
    )
    if config.dry_run:
        print(dry_run_report(plan, PhotoSteps.of(storage, settings, checkpoint), config.workers))
        return 0
    unfinished = storage.unfinished(destination.root)
    if plan.records or plan.refused:
        manifest.begin()
    tally = Tally()
    try:
        tally.add(manifest, plan.refused)
        if plan.records:
            with ray_cluster(config.workers):
                flow = _flow(config, storage, settings, checkpoint)
                _carry_out(flow, plan, manifest, tally)
        storage.remove(unfinished)  # of an earlier run: by now nobody is at work on them
    finally:
        manifest.close()
    print(tally.summary(destination.file or destination.root, manifest.url, plan.done))
    return 1 if tally.count["failed"] else 0


def _carry_out(flow: "PhotoFlow", plan: Plan, manifest: Manifest, tally: "Tally") -> None:
    log.info("enhancing with %d workers (%s, %s)", flow.workers, flow.device, flow.topology)
    progress = Progress(len(plan.records), "photo")
    try:
        for outcome in flow.run(plan.records):
            tally.add(manifest, [outcome])
            progress.advance(failed=outcome.outcome == "failed")
    finally:
        progress.close()


def _flow(config: ImagesConfig, storage: Storage, settings: PhotoSettings, checkpoint: Checkpoint) -> "PhotoFlow":
    """Choose device, workers and topology by what the cluster has."""
    from pipeline.flow import PhotoFlow

    gpus = cluster_gpus()
    device = ("cuda" if gpus else "cpu") if config.device == "auto" else config.device
    on_gpu = device == "cuda"
    if on_gpu and not gpus:
        raise UsageError(f"--device {config.device}: the cluster has no GPU; leave --device out to run on CPUs")
    topology = ("split" if on_gpu else "fused") if config.topology == "auto" else config.topology
    return PhotoFlow(
        storage=storage,
        settings=settings,
        checkpoint=checkpoint,
        device=device,
        workers=config.workers or (gpus if on_gpu else cluster_cpus()),
        topology=topology,
    )


def _checkpoint(config: ImagesConfig) -> Checkpoint:
    try:
        return load(config.weights or DEFAULT_WEIGHTS[config.variant])
    except WeightsError as error:
        raise UsageError(str(error)) from error


class Tally:
    """Counts outcomes on their way into the manifest, and remembers what to tell at the end."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self._failures: list[str] = []
        self._started = time.monotonic()

    def add(self, manifest: Manifest, outcomes: list[Outcome]) -> None:
        manifest.append(outcomes)
        for outcome in outcomes:
            self.count[outcome.outcome] += 1
            if outcome.outcome == "failed" and len(self._failures) < SHOWN_FAILURES:
                self._failures.append(f"  {outcome.code}: {outcome.message}")

    def summary(self, destination: str, manifest: str, done_before: int) -> str:
        seconds = time.monotonic() - self._started
        lines = [
            f"{self.count['done']} done, {self.count['skipped']} skipped, {self.count['failed']} failed, "
            f"{done_before} done before, in {seconds:.0f} s",
            *self._failures,
        ]
        if self.count["failed"] > len(self._failures):
            lines.append(f"  ... and {self.count['failed'] - len(self._failures)} more: see the manifest")
        return "\n".join([*lines, f"photos:   {destination}", f"manifest: {manifest}"])


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["images", *sys.argv[1:]]))
