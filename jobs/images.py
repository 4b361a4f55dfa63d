"""The photo job: `nightlift images SRC DST`, or `python -m jobs.images SRC DST` from a checkout."""

import itertools
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from jobs.bulk.config import BulkConfig
from jobs.bulk.estimate import Estimate, photo_estimate
from jobs.bulk.job import Job, Media, OnPart, Worker
from jobs.bulk.placement import place, settings_on
from jobs.bulk.run import run_jobs
from jobs.command_line.logs import steps
from jobs.command_line.options import Shown
from jobs.flags import check_ranges, look_of, optional
from jobs.progress import in_sight
from model import DEFAULT_WEIGHTS, Checkpoint
from pipeline.errors import MissingExtra, UsageError, plural
from pipeline.images import FORMATS, format_of
from pipeline.images.extras import extra
from pipeline.images.jxl import libjxl
from pipeline.images.metadata.mark import Mark, agent
from pipeline.images.photo import DEFLATE_LEVEL
from pipeline.photos import MAX_PIXELS, PhotoSettings, PhotoSteps, PhotoWork
from pipeline.planning.media_kinds import PHOTOS, Photos
from pipeline.planning.path_list import Source, places_of
from pipeline.planning.plan import Plan
from pipeline.planning.raw_pairs import RawPairs
from pipeline.records import Outcome, Record
from pipeline.sequences.steps import EstimateLight, LightWork, SequenceSteps
from pipeline.storage.storage import Storage
from pipeline.storage.urls import LOCAL, protocol_of

if TYPE_CHECKING:
    from pipeline.flow.photos import PhotoFlow  # imports Ray: at run time only once there is work

WORKERS_PER_CORE = 2  # where photos come from or go to a bucket


@dataclass(frozen=True, kw_only=True)
class ImagesConfig(BulkConfig):
    """Enhance photos: from a folder, a file, a glob or a bucket into the same tree at DST, with a manifest.

    Run the same command again to enhance only what is new, changed or failed.

    Examples:
      nightlift images photos bright
      nightlift images 's3://photos/in/*.jpg' s3://photos/out --quality 90

    Exit status: 0 all done; 1 some inputs failed, or the job could not continue; 2 wrong usage or nothing to read; 130,
    143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP.
    """

    sequence: Annotated[Literal["no", "name", "time"], Shown(bare="name")] = "no"
    """Take the photos of each folder for frames of a film, such as a time-lapse, and smooth their light over time, so
    that it does not flicker. name: in the order of their names (2 before 10); time: as they were taken, by EXIF.
    At the end of a command, --sequence alone means name."""
    format: Annotated[str | None, optional("NAME")] = None
    """Format of all outputs: jpeg, png, webp, tiff, bmp, gif, avif, jxl, pnm or heic.
    By default each photo keeps its own, HEIC becomes JPEG, and camera raw becomes TIFF. heic needs the extra
    nightlift[heif], whose encoder, x265, is under the GPL."""
    quality: Annotated[int | None, optional("INT")] = None
    """Quality of JPEG, WebP, AVIF, JPEG XL and HEIC outputs, 1 to 100; JPEG XL is lossless at 100. By default a JPEG
    keeps its own, and lossless WebP and JPEG XL stay so; else 92 for JPEG, 90 for WebP and JPEG XL, 85 for AVIF, 70 for
    HEIC."""
    deflate_level: Annotated[int, optional("INT")] = DEFLATE_LEVEL
    """How hard PNG and TIFF outputs are compressed, 1 to 9. They lose nothing at any level: 1 is fast, 9 makes the
    smallest files."""
    hdr: Literal["keep", "sdr"] = "keep"
    """What to do with HDR photos (HLG and PQ). keep: write HDR with the same tags; sdr: convert to SDR.
    Only AVIF, JPEG XL and PNG hold HDR; photos written in other formats, as HEIC is, are converted, with a note."""
    skip_hdr: bool = False
    """Leave out photos for HDR screens, such as those with gain maps."""
    max_pixels: int = MAX_PIXELS
    """Largest photo that is enhanced, in pixels, all frames of an animation together. Larger photos fail."""
    no_mark: bool = False
    """Do not write into the metadata of enhanced photos that nightlift edited them, and with which settings."""
    raw: Literal["develop", "preview"] = "develop"
    """Camera raw files. develop: from the sensor's data, written as TIFF of 16 bits; or as --format says.
    preview: the JPEG that the camera has put into the file, written as JPEG; faster and smaller."""
    raw_pairs: RawPairs = "both"
    """Which to enhance where a raw file and a JPEG or HEIC have the same name: both, or only the one or the other."""
    topology: Literal["auto", "fused", "split"] = "auto"
    """How photo workers share the steps. fused: each worker does all steps; auto: split on GPUs, else fused.
    split: workers only enhance, while other CPUs decode and encode."""

    workers_per_core: Annotated[int | None, optional("INT")] = None
    """Photo workers that share a core, 1 to 8: one works while others wait for storage.
    By default 2 if SRC or DST is not local, else 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, quality=(1, 100), deflate_level=(1, 9), max_pixels=(1, None), workers_per_core=(1, 8))
        if self.sequence != "no" and self.topology == "split":
            raise UsageError("--topology split enhances each photo by itself; leave it out, or leave out --sequence")

    @property
    def asks_for_ray(self) -> bool:
        return super().asks_for_ray or self.topology != "auto" or self.workers_per_core is not None

    def sharing_a_core(self, source: Source) -> int:
        """Return how many workers share a core."""
        if self.workers_per_core is not None:
            return self.workers_per_core
        local = all(protocol_of(place) == LOCAL for place in itertools.chain(places_of(source), [self.dst]))
        return 1 if local else WORKERS_PER_CORE

    @property
    def format_name(self) -> str | None:
        """Return the format's own name. Raises UsageError for one that cannot be written."""
        if self.format is None:
            return None
        found = format_of(f"photo.{self.format}")
        if found is None or not found.writable:
            known = ", ".join(each.extensions[0].removeprefix(".") for each in FORMATS.values() if each.writable)
            raise UsageError(f"--format {self.format}: nightlift cannot write this format; choose from {known}")
        try:
            if found.name == "heif":
                extra("pillow_heif", "heif", "to write it")
            elif found.name == "jxl":
                libjxl.library()
        except MissingExtra as error:
            raise UsageError(f"--format {self.format}: {error}") from None
        return found.name

    def photo_settings(self, checkpoint: Checkpoint) -> PhotoSettings:
        estimate_size = checkpoint.estimate_size_for(self.estimate_size)
        if self.sequence != "no" and estimate_size is None:  # of dozens of photos
            raise UsageError(
                "--sequence needs too much memory at full size; give --estimate-size a number, such as 256"
            )
        return PhotoSettings(
            look=look_of(self),
            estimate_size=estimate_size,
            precision=self.precision,
            format=self.format_name,
            quality=self.quality,
            deflate_level=self.deflate_level,
            hdr=self.hdr,
            skip_bright=self.skip_bright,
            skip_hdr=self.skip_hdr,
            bright_luma=self.bright_luma,
            max_pixels=self.max_pixels,
            mark=None if self.no_mark else self._mark(),
            raw=self.raw,
            sequence=self.sequence,
        )

    def _mark(self) -> Mark:
        settings = [f"{name} {value}" for name, value in asdict(look_of(self)).items()]
        weights = self.weights or DEFAULT_WEIGHTS[self.variant]
        return Mark(agent=agent(), parameters=", ".join([*settings, f"weights {weights.name}"]))


def _worker(storage: Storage, settings: PhotoSettings, checkpoint: Checkpoint) -> Worker:
    steps = PhotoSteps.of(storage, settings, checkpoint)
    if settings.sequence != "no":
        return _SequenceWorker(steps)
    return lambda record, on_part: steps(PhotoWork.of(record)).outcome


class _SequenceWorker:
    """Worker that also looks at other photos than the one it is asked for, and says so."""

    def __init__(self, steps: PhotoSteps) -> None:
        self._estimate, self._develop = EstimateLight(steps), steps
        self._on_part: Callable[[str], None] = lambda at: None
        self._steps = SequenceSteps(steps, self._estimated, self._developed)

    def __call__(self, record: Record, on_part: OnPart) -> Outcome:
        self._on_part = on_part
        return self._steps(PhotoWork.of(record)).outcome

    def _estimated(self, work: LightWork) -> LightWork:
        self._on_part(work.record.source)
        return self._estimate(work)

    def _developed(self, work: PhotoWork) -> PhotoWork:
        self._on_part(work.record.source)
        return self._develop(work)


def _flow(job: Job) -> "PhotoFlow":
    """Choose device, workers and topology by what the cluster has."""
    from pipeline.flow.photos import PhotoFlow

    config: ImagesConfig = job.config  # type: ignore[assignment]
    sharing = config.sharing_a_core(job.source)
    is_sequence = config.sequence != "no"
    # where the steps are split, tasks beside the workers take the cores
    fused = config.topology == "fused" or is_sequence
    placed = place(config, job.media.worker_bytes, sharing, 1 / sharing if fused else 0)
    by_device: Literal["fused", "split"] = "split" if placed.device == "cuda" and not is_sequence else "fused"
    flow = PhotoFlow(
        storage=job.storage,
        settings=settings_on(placed.device, job.settings),
        checkpoint=job.checkpoint,
        device=placed.device,
        workers=placed.workers,
        grows=placed.grows,
        workers_per_core=sharing,
        gpus_per_worker=placed.gpus_per_worker,
        topology=by_device if config.topology == "auto" else config.topology,
        time_limit_s=config.time_limit,
    )
    workers = plural(flow.workers, "worker")
    steps.info("starting %s (%s, %s); this takes a few seconds", workers, flow.device, flow.topology)
    return flow


def _in_sight(flow: "PhotoFlow", records: Sequence[Record]) -> Generator[Outcome]:
    return in_sight(flow.run(records), len(records), "photo")


def _estimate(job: Job, plan: Plan, _px_of: Callable[[Record], float]) -> Estimate:
    worker = _worker(job.storage, job.settings, job.checkpoint)
    return photo_estimate(plan, lambda record: worker(record, lambda *at: None))


PHOTO_MEDIA = Media(
    kind=PHOTOS,
    settings=ImagesConfig.photo_settings,
    variant=lambda settings: str(settings.raw),
    wanted=lambda config: config.format_name,
    worker=lambda job: partial(_worker, job.storage, job.settings, job.checkpoint),
    flow=_flow,
    progress=_in_sight,
    estimate=_estimate,
    worker_bytes=0.7e9,  # at 24 megapixels
)


def photo_media(config: ImagesConfig) -> Media:
    """Return how photos are enhanced, with the names and pairs of camera raw files, and sequences, as the flags say."""
    kind = Photos(
        raw_as="jpeg" if config.raw == "preview" else None,
        raw_pairs=config.raw_pairs,
        sequence=None if config.sequence == "no" else config.sequence,
    )
    return replace(PHOTO_MEDIA, kind=kind)


def run(config: ImagesConfig) -> int:
    """Run the whole job. Returns the exit status; raises NightliftError for what stops it before the first photo."""
    return run_jobs(config, [photo_media(config)])


if __name__ == "__main__":
    from jobs.cli import start

    sys.exit(start(["images", *sys.argv[1:]]))
