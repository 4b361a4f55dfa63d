"""Photos on one core: the whole job against the codec alone, its stages, small photos."""

import itertools
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from jobs.benchmark.codecs import round_trip
from jobs.benchmark.measurement import Row, Section, side_by_side
from jobs.benchmark.media import night_jpeg
from model import DEFAULT_WEIGHTS, Checkpoint, apply_curve, build, load
from model.dce_net import PUBLISHED_DCE
from pipeline.errors import NightliftError
from pipeline.images import decode, encode
from pipeline.photos import PhotoSettings, PhotoSteps, PhotoWork
from pipeline.process import use_one_core
from pipeline.records import Record
from pipeline.storage.storage import Storage

STAGES = ("read", "decode", "enhance", "encode", "write")
SMALL_PX = 600, 400


def measure_photo(path: Path, title: str, rounds: int, extension: str | None = None) -> Section:
    """Time both shipped networks at their default settings, from file to file. Raises NightliftError if one fails.

    `extension`: of the output, if it differs from that of `path`.
    """
    use_one_core()
    data = path.read_bytes()
    with TemporaryDirectory(prefix="nightlift-") as folder:
        jobs = _jobs(path, Path(folder), extension or path.suffix)
        jobs["dce"]()
        codec = round_trip(data, Path(jobs["dce"].outcome.destination).read_bytes())
        fastest = side_by_side({"codec": codec, **jobs}, rounds)
    outcome = jobs["dce"].outcome
    megapixels = outcome.width_px * outcome.height_px * outcome.frames / 1e6
    rows = [Row("codec alone: decode the photo, encode the enhanced one", 1e3 * fastest["codec"], "ms")]
    for variant, job in jobs.items():
        rows += [
            *(Row(f"{variant}: {stage}", 1e3 * getattr(job.outcome, f"seconds_{stage}"), "ms") for stage in STAGES),
            Row(f"{variant}: whole job, from file to file", 1e3 * fastest[variant], "ms"),
            Row(f"{variant}: whole job / codec alone", fastest[variant] / fastest["codec"], "times"),
            Row(f"{variant}: photos", 1 / fastest[variant], "per second and core"),
            Row(f"{variant}: megapixels", megapixels / fastest[variant], "per second and core"),
        ]
    size = f"{outcome.width_px}x{outcome.height_px}, {len(data) / 1e6:.2f} MB"
    return Section(f"{title} ({size})", rows)


class RepeatedPhoto:
    """The whole job on one photo, once for each call; `outcome` is that of the fastest call."""

    def __init__(self, checkpoint: Checkpoint, path: Path, folder: Path, extension: str) -> None:
        settings = PhotoSettings(estimate_size=checkpoint.estimate_size)
        self._steps = PhotoSteps.of(Storage(), settings, checkpoint)
        # a new file each time: replacing a file can take a disk longer than writing one
        self._records = (record_of(path, folder / f"{count}{extension}") for count in itertools.count())
        self._fastest_s = float("inf")

    def __call__(self) -> None:
        record, start = next(self._records), time.perf_counter()
        outcome = self._steps(PhotoWork.of(record)).outcome
        if outcome.outcome != "done":
            raise NightliftError(outcome.message)
        elapsed_s = time.perf_counter() - start
        if elapsed_s < self._fastest_s:
            self._fastest_s, self.outcome = elapsed_s, outcome


def _jobs(path: Path, folder: Path, extension: str) -> dict[str, RepeatedPhoto]:
    """Build a repeatable job for each variant."""
    jobs: dict[str, RepeatedPhoto] = {}
    for variant, weights in DEFAULT_WEIGHTS.items():
        (folder / variant).mkdir()
        jobs[variant] = RepeatedPhoto(load(weights), path, folder / variant, extension)
    return jobs


def record_of(source: Path, destination: Path) -> Record:
    size_bytes = source.stat().st_size
    return Record(source=str(source), version="", size_bytes=size_bytes, destination=str(destination))


def measure_small_photos(rounds: int) -> Section:
    """Compare small photos with the original way: the published network in float32, at full size."""
    use_one_core()
    with TemporaryDirectory(prefix="nightlift-") as folder:
        path = Path(folder) / "small.jpg"
        path.write_bytes(night_jpeg(*SMALL_PX))
        ours = _jobs(path, Path(folder), path.suffix)
        original = Original(path.read_bytes())
        fastest = side_by_side({"original": original, **ours}, rounds)
    rows = [Row("original: published network at full size, with codec", 1e3 * fastest["original"], "ms")]
    for variant in ours:
        rows += [
            Row(f"{variant}: whole job, from file to file", 1e3 * fastest[variant], "ms"),
            Row(f"{variant}: photos per second / the original's", fastest["original"] / fastest[variant], "times"),
        ]
    return Section(f"small photos ({SMALL_PX[0]}x{SMALL_PX[1]})", rows)


class Original:
    """The published network applied at full size, with random weights."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._network = build(PUBLISHED_DCE).eval()

    @torch.inference_mode()
    def __call__(self) -> bytes:
        photo = decode(self._data, max_pixels=1 << 40)
        x_BCHW = torch.from_numpy(np.array(photo.frames[0].pixels)).permute(2, 0, 1)[None].contiguous() / 255
        enhanced_BCHW = apply_curve(x_BCHW, self._network(x_BCHW), 8)
        photo.frames[0].pixels[:] = (enhanced_BCHW[0] * 255).round().byte().permute(1, 2, 0).numpy()
        return encode(photo, "jpeg", quality=None)[0]
