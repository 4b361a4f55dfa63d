"""How fast nightlift is on this machine: `nightlift benchmark`, or `python -m jobs.benchmark` from a checkout."""

import json
import logging
import os
import platform
import posixpath
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import torch
from llvmlite.binding import get_host_cpu_name

from jobs.benchmark.gpu import check_gpu, measure_gpu
from jobs.benchmark.inside import measure_curves, measure_networks
from jobs.benchmark.measurement import Section
from jobs.benchmark.media import night_clip, night_jpeg
from jobs.benchmark.memory import measure_memory
from jobs.benchmark.on_ray import measure_ray
from jobs.benchmark.photos import measure_photo, measure_small_photos
from jobs.benchmark.training import measure_training
from jobs.benchmark.videos import measure_video
from jobs.bulk.estimate import spread
from jobs.bulk.job import Job
from jobs.bulk.run import estimated, make_plans
from jobs.cluster.machine import usable_cores
from jobs.command_line.options import Shown
from jobs.enhance import EnhanceConfig
from jobs.flags import StorageOptions, check_ranges, optional, positional
from jobs.images import PHOTO_MEDIA
from jobs.videos import VIDEO_MEDIA
from pipeline.errors import NightliftError, UsageError, plural
from pipeline.planning.path_list import source_of
from pipeline.planning.plan import Plan
from pipeline.records import Record
from pipeline.storage.ownership import Claim
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted

log = logging.getLogger("nightlift")

Part = Literal["photos", "memory", "inside", "videos", "ray", "training"]

SAMPLES = 3  # files of each kind at SRC that are measured
PACKAGES = "nightlift", "torch", "ray", "av", "pillow", "simplejpeg", "numba"


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Measure how fast nightlift is on this machine, with generated photos and videos or with your own.

    Without SRC, it measures generated media: the codec alone, each stage, the whole job, memory, Ray and training. With
    SRC, it measures a few of your photos and videos, and estimates how long all of them will take. dce and plus are the
    two networks, at their default settings. Times hold for this machine; ratios within one run are reliable if the
    machine does little else. Only the file of --json is written.

    Examples:
      nightlift benchmark --quick
      nightlift benchmark photos --json speed.json

    Exit status: 0 measured; 1 nothing could be measured or a check failed; 2 wrong usage; 130, 143 or 129 stopped by
    Ctrl-C, SIGTERM or SIGHUP.
    """

    src: Annotated[str | None, positional("SRC")] = None
    """Your own photos and videos: a folder with its subfolders, a file, a quoted glob, or a URL (s3://, gs://, az://).
    By default photos and videos are generated."""
    only: Annotated[tuple[Part, ...], Shown(repeatable=True)] = ()
    """Measure only this part. By default all parts. Not with SRC or --device cuda."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device to measure. cuda: measure the GPUs of this machine and check their results against the CPU: the kernel,
    the network in each precision, batches, copies, lack of memory, both topologies, hardware encoders and training.
    cuda is experimental: it has not been run on real GPUs yet. Not with SRC."""
    json: Annotated[Path | None, optional("FILE")] = None
    """Local file to write all numbers to; its name must end in .json. By default no file is written."""
    quick: bool = False
    """Measure small media, once each. This shows whether everything works here, not how fast it is."""
    workers: Annotated[int | None, optional("INT")] = None
    """Number of processes in the part ray and in the estimate, and of threads in the part training.
    By default the number of CPU cores of this machine."""
    storage_options: StorageOptions = "{}"

    def __post_init__(self) -> None:
        check_ranges(self, workers=(1, None))
        if self.src is not None and self.only:
            raise UsageError("--only selects parts of the benchmark of generated media; leave out --only or SRC")
        if self.device == "cuda" and (self.src is not None or self.only):
            raise UsageError("--device cuda measures everything, with generated media; leave out SRC and --only")
        if self.json is not None and self.json.suffix != ".json":
            raise UsageError(f"--json {self.json}: the name of this local file must end in .json")

    @property
    def cores(self) -> int:
        return self.workers or usable_cores()


def run(config: BenchmarkConfig) -> int:
    """Measure and print. Returns the exit status; raises NightliftError."""
    if config.device == "cuda":
        check_gpu()
    machine = describe_machine(config.device)
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    results: dict[str, Any] = {"machine": machine, "sections": [], "estimates": []}
    _write(config.json, results)
    failed = 0
    for each in _measured(config):
        if isinstance(each, Section):
            results["sections"].append(asdict(each))
            failed += sum(row.passed is False for row in each.rows)
        else:
            results["estimates"].append(each)
        print(f"\n{each}", flush=True)
        _write(config.json, results)
    if config.json is not None:
        log.info("wrote all numbers to %s", config.json)
    if failed:
        log.info("%s failed", plural(failed, "check"))
    return 0 if results["sections"] and not failed else 1


def _is_measurement(content: bytes) -> bool:
    """Return whether a file was written by an earlier benchmark, complete or not."""
    return content.lstrip().startswith(b"{") and b'"machine"' in content and b'"sections"' in content


def _measured(config: BenchmarkConfig) -> Iterator[Section | str]:
    if config.device == "cuda":
        return measure_gpu(config.cores, quick=config.quick)
    return _made(config) if config.src is None else _of_source(config)


def _write(path: Path | None, results: Mapping[str, Any]) -> None:
    """Write what has been measured so far. Raises StorageError, InTheWay."""
    if path is not None:
        content = json.dumps(results, indent=1) + "\n"
        Storage().write(str(path.absolute()), content.encode(), Claim(recognised=_is_measurement))


def describe_machine(device: str = "cpu") -> Mapping[str, str]:
    """Describe the machine and the versions that the numbers depend on."""
    gpu = {"gpu": f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"} if device == "cuda" else {}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": get_host_cpu_name(),
        "cores": str(usable_cores()),
        **gpu,
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _made(config: BenchmarkConfig) -> Iterator[Section]:
    """Measure generated media."""
    rounds, cores = 1 if config.quick else 7, config.cores
    large = (800, 600) if config.quick else (4000, 3000)
    parts: Mapping[Part, Sequence[Callable[[], Section]]] = {
        "photos": (lambda: _made_photo(large, rounds), lambda: measure_small_photos(rounds)),
        "memory": (lambda: measure_memory(_large_sizes(config.quick)),),
        "inside": (lambda: measure_curves(rounds, large), lambda: measure_networks(rounds)),
        "videos": (lambda: _made_video(config.quick),),
        "ray": (lambda: measure_ray(cores, *((40, 4, large) if config.quick else (2000, 60, large))),),
        "training": (lambda: measure_training(cores, *((1, 2, 32) if config.quick else (3, 8, 256))),),
    }
    for part, measures in parts.items():
        if not config.only or part in config.only:
            log.info("measuring %s", part)
            yield from (measure() for measure in measures)


def _large_sizes(quick: bool) -> Mapping[str, tuple[int, int]]:
    return {"1 megapixel": (1250, 800)} if quick else {"24 megapixels": (6000, 4000), "200 megapixels": (25000, 8000)}


def _made_photo(size: tuple[int, int], rounds: int) -> Section:
    with TemporaryDirectory(prefix="nightlift-") as folder:
        path = Path(folder) / "night.jpg"
        path.write_bytes(night_jpeg(*size))
        return measure_photo(path, "generated photo", rounds)


def _made_video(quick: bool) -> Section:
    width, height, frames, rounds = (320, 180, 12, 1) if quick else (1920, 1080, 100, 2)
    with TemporaryDirectory(prefix="nightlift-") as folder:
        path = Path(folder) / "night.mp4"
        night_clip(path, width, height, frames)
        return measure_video(path, "generated video", frames, rounds)


def _of_source(config: BenchmarkConfig) -> Iterator[Section | str]:
    """Measure a few of the files at SRC, and estimate the time of all files of their kind."""
    with TemporaryDirectory(prefix="nightlift-") as folder:
        for job, plan in _plans(config, folder):
            yield from _sampled(job, plan, Path(folder), 1 if config.quick else 3)
            yield estimated([job], [plan])


def _plans(config: BenchmarkConfig, folder: str) -> list[tuple[Job, Plan]]:
    """Plan a job for each kind of file at SRC. Raises what planning raises."""
    assert config.src is not None
    flags = {"workers": config.workers, "storage_options": config.storage_options, "dry_run": True}
    enhance = EnhanceConfig(src=config.src, dst=str(Path(folder) / "out"), **flags)  # type: ignore[arg-type]
    checkpoint, source = enhance.checkpoint(), source_of(config.src)
    jobs = [Job.of(media, enhance, checkpoint, source) for media in (PHOTO_MEDIA, VIDEO_MEDIA)]
    return [(job, plan) for job, plan in zip(jobs, make_plans(jobs), strict=True) if plan.records]


def _sampled(job: Job, plan: Plan, folder: Path, rounds: int) -> Iterator[Section]:
    """Measure a few files of a kind, from small to large, copied here first; those that fail are logged."""
    for record in spread(plan.records, SAMPLES):
        name = posixpath.basename(redacted(record.source))
        log.info("measuring %s", name)
        try:
            path, extension = _copied(job.storage, record, folder), Path(record.destination).suffix
            if job.media is PHOTO_MEDIA:
                yield measure_photo(path, f"photo {name}", rounds, extension)
            else:
                yield measure_video(path, f"video {name}", 24 if rounds == 1 else 100, min(rounds, 2), extension)
        except NightliftError as error:
            log.info("left out: %s", error)


def _copied(storage: Storage, record: Record, folder: Path) -> Path:
    path = folder / f"sample{Path(redacted(record.source)).suffix}"
    with storage.open(record.source) as source, path.open("wb") as file:
        shutil.copyfileobj(source, file)
    return path
