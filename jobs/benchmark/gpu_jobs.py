"""Jobs on a GPU: the split graph against the fused one on CPUs, videos with each encoder, training."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from jobs.benchmark.measurement import Row, Section, side_by_side
from jobs.benchmark.media import Pixels, night_clip
from jobs.benchmark.on_ray import span, written
from jobs.benchmark.photos import record_of
from jobs.cluster.joining import ray_cluster
from jobs.cluster.nodes import cluster_cpus, cluster_gpus
from jobs.train import job as train
from jobs.train.config import TrainConfig
from jobs.videos import VideosConfig
from model import DEFAULT_WEIGHTS, has_fast_bf16, load, resolve_precision
from model.precision import use_exact_fp32
from model.quality.metrics import psnr_db
from model.training.recipes import RECIPES
from model.training.step import Objective, descend, first_network, optimizer_of
from pipeline.errors import UsageError, plural
from pipeline.images import decode
from pipeline.photos import PhotoSettings
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from pipeline.video.writing.encode import EncodeSettings
from pipeline.video.writing.segment_files import check_starts
from pipeline.videos import VideoSteps

CLOSE_DB = 45.0  # least PSNR of results in bf16 against those in fp32 on a CPU
CLOSE_LUMA, CLOSE_LOSS = 0.005, 1e-3  # largest difference of mean luma; largest relative difference of losses


def measure_split(device: str, cores: int, count: int, size: tuple[int, int]) -> Section:
    """Time photos from file to file: split, on all GPUs of this machine, against fused, on CPUs only in fp32.

    The GPUs use a job's default precision. `cores`: at least. Raises NightliftError if a photo is not done.
    """
    with TemporaryDirectory(prefix="nightlift-") as folder:
        records = written(Path(folder) / "in", count, size)
        with ray_cluster(cores, join=False):
            cores, gpus = cluster_cpus(), cluster_gpus() if device == "cuda" else 0
            split, split_s = _developed(records, "split", device, max(1, gpus), 1 if gpus else 0)
            fused, fused_s = _developed(records, "fused", "cpu", cores, 0)
        near_db = min(_near_db(*pair) for pair in zip(_by_source(split), _by_source(fused), strict=True))
    codec_s = float(np.median([each.seconds_decode + each.seconds_encode for each in split]))
    enhance_s = float(np.median([each.seconds_enhance for each in split]))
    on_device = f"{plural(max(1, gpus), 'worker')} on {device}"
    rows = [
        Row(f"fused topology on {cores} cores", count / fused_s, "photos per second"),
        Row(f"split topology, {on_device}, fed by {cores} cores", count / split_s, "photos per second"),
        Row("one photo: decode and encode on one core", 1e3 * codec_s, "ms"),
        Row(f"one photo: enhance on {device}", 1e3 * enhance_s, "ms"),
        Row("cores that keep one worker busy", codec_s / enhance_s, "cores"),
        Row(f"lowest PSNR between the two (at least {CLOSE_DB:g})", near_db, "dB", passed=near_db >= CLOSE_DB),
    ]
    return Section(f"photos on Ray and {device} ({count} of {size[0]}x{size[1]})", rows)


def _developed(
    records: Sequence[Record], topology: Literal["fused", "split"], device: str, workers: int, gpus_per_worker: float
) -> tuple[list[Outcome], float]:
    """Run the photos twice. Returns outcomes and seconds of the second, warm run. Raises NightliftError."""
    from pipeline.flow.photos import PhotoFlow

    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    on_gpu = device == "cuda"
    precision = resolve_precision("auto", fast_bf16=has_fast_bf16(device)) if on_gpu else "fp32"
    flow = PhotoFlow(
        storage=Storage(),
        settings=PhotoSettings(estimate_size=checkpoint.estimate_size, precision=precision),
        checkpoint=checkpoint,
        device=device,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        topology=topology,
    )
    for _ in range(2):
        outcomes = list(flow.run([replace(each, destination=f"{each.destination}.{topology}.jpg") for each in records]))
        seconds, _ = span(outcomes, time.time())
    return outcomes, seconds


def _by_source(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.source)


def _near_db(one: Outcome, other: Outcome) -> float:
    return psnr_db(*(_pixels(Path(each.destination)) for each in (one, other)))


def _pixels(path: Path) -> Pixels:
    return decode(path.read_bytes(), max_pixels=1 << 40).frames[0].pixels


def measure_videos(device: str, codecs: Sequence[str], size: tuple[int, int], frames: int) -> Section:
    """Time a generated clip, enhanced on the device, with each of `codecs` that starts; before that, on the CPU.

    Each encoder has one thread, as in a worker that shares its machine.
    """
    rows = []
    with TemporaryDirectory(prefix="nightlift-") as folder:
        source = Path(folder) / "night.mp4"
        night_clip(source, *size, frames)
        expected, whole_s = _enhanced_clip(source, "cpu", codecs[0])
        rows.append(Row(f"{codecs[0]}, enhanced on the CPU", frames / whole_s, "frames per second"))
        for codec in codecs:
            try:
                outcome, whole_s = _enhanced_clip(source, device, codec)
            except UsageError:  # missing hardware: not every GPU has every encoder
                rows.append(Row(f"{codec}: not available on this machine", 0, "frames per second"))
                continue
            same = outcome.frames == frames and _is_near(outcome, expected)
            name = f"{codec}, enhanced on {device}: all frames there, as bright as on the CPU"
            rows.append(Row(name, frames / whole_s, "frames per second", passed=same))
    return Section(f"a video on {device} ({size[0]}x{size[1]}, {frames} frames)", rows)


def _enhanced_clip(source: Path, device: str, codec: str) -> tuple[Outcome, float]:
    """Enhance a clip. Returns its outcome, and the seconds taken. Raises UsageError if the encoder does not start."""
    check_starts(EncodeSettings(codec=codec))
    record = record_of(source, source.with_name(f"{device}-{codec}.mp4"))
    config = VideosConfig(src=record.source, dst=record.destination, codec=codec)
    checkpoint = config.checkpoint()
    steps = VideoSteps.of(Storage(), config.video_settings(checkpoint), checkpoint, device)
    start = time.perf_counter()
    outcome = steps(record, f"{record.destination}.segments")
    return outcome, time.perf_counter() - start


def _is_near(outcome: Outcome, expected: Outcome) -> bool:
    if outcome.outcome != "done" or outcome.luma_after is None or expected.luma_after is None:
        return False
    return abs(outcome.luma_after - expected.luma_after) <= CLOSE_LUMA


def measure_training_step(device: str, batch: int, side_px: int, rounds: int) -> Section:
    """Compare the published recipe's first step in fp32, by DDP over NCCL or Gloo, with the same on the CPU."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:  # a separate process, as it becomes the only member of a process group
        expected, _ = pool.apply(_first_losses, ("cpu", batch, side_px, 1))
        losses, step_s = pool.apply(_first_losses, (device, batch, side_px, rounds))
    rows = [Row("one step", 1e3 * step_s, "ms")]
    for name, loss in losses.items():
        apart = abs(loss - expected[name]) / max(abs(expected[name]), 1e-6)
        named = f"{name}: relative difference from the CPU (limit {CLOSE_LOSS:g})"
        rows.append(Row(named, apart, "", passed=apart <= CLOSE_LOSS))
    return Section(f"a step of training on {device} ({batch} squares of {side_px} px)", rows)


def _first_losses(device: str, batch: int, side_px: int, rounds: int) -> tuple[dict[str, float], float]:
    """Return the losses before the first step with the norm of their gradient, and the seconds of a step."""
    use_exact_fp32()
    recipe = RECIPES["published"]
    network = first_network(recipe, "dce", seed=0)
    image_BCHW = 0.3 * torch.rand(batch, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))
    with _group_of_one("nccl" if device == "cuda" else "gloo"):
        objective = DistributedDataParallel(Objective(network, recipe.losses["dce"]).to(device))
        optimizer, examples = optimizer_of(network, recipe), {"image": image_BCHW.to(device)}

        def step() -> dict[str, float]:
            terms = objective(examples)
            values = {name: float(term) for name, term in terms.items()}
            return values | {"gradient norm": descend(objective, optimizer, torch.stack(list(terms.values())).sum())}

        losses = step()
        return losses, side_by_side({"step": step}, rounds, time.perf_counter)["step"]


@contextmanager
def _group_of_one(backend: str) -> Iterator[None]:
    with TemporaryDirectory(prefix="nightlift-") as folder:
        dist.init_process_group(backend, init_method=f"file://{folder}/group", rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()


def measure_training_whole(device: Literal["cpu", "cuda"], count: int, cores: int) -> Section:
    """Run `nightlift train` for two epochs on few photos, with a worker on each GPU. Raises NightliftError."""
    with TemporaryDirectory(prefix="nightlift-") as folder:
        written(Path(folder) / "in", count, (320, 240))
        out = Path(folder) / "out"
        config = TrainConfig(
            places=(f"{folder}/in", str(out)), device=device, epochs=2, batch=4, size_px=32, estimate_size=64
        )
        start = time.perf_counter()
        with ray_cluster(cores, join=False), redirect_stdout(StringIO()):
            status = train.run(config)
        whole_s = time.perf_counter() - start
        variant = load(out / "weights.safetensors").network.architecture.variant
    passed = status == 0 and variant == "dce"
    return Section(
        f"training on Ray and {device}", [Row("two epochs, Ray's start included", whole_s, "s", passed=passed)]
    )
