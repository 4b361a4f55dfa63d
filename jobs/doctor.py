"""`nightlift doctor`: what nightlift finds on this machine, and what is wrong with it, on one screen."""

import itertools
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import av
import numpy as np
import psutil
import torch
from packaging.requirements import Requirement

from jobs.cluster.machine import usable_cores, usable_memory_bytes
from jobs.flags import StorageOptions, positional
from model import DEFAULT_WEIGHTS, Enhancer, cuda_problem, kernel_folder, load
from pipeline.errors import MissingExtra, NightliftError, plural, printable
from pipeline.images.extras import extra
from pipeline.storage.credentials import parse_options
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted
from pipeline.video.writing.encode import DEFAULTS, HARDWARE, EncodeSettings
from pipeline.video.writing.segment_files import check_starts

PACKAGES = "torch", "ray", "pyarrow", "av", "pillow", "numpy", "numba", "fsspec", "s3fs", "botocore"
# environment variables that change what nightlift does, of which these hold no secrets
SHOWN = "RAY_ADDRESS", "TMPDIR", "AWS_PROFILE", "AWS_REGION", "CUDA_VISIBLE_DEVICES", "PYTHONPATH", "LC_ALL", "LANG"
NAMED = re.compile("(RAY|AWS|GOOGLE|AZURE|NUMBA|FSSPEC|SLURM)_|https?_proxy", re.IGNORECASE)
WIDEST = 110  # characters of a line
LEAST_FREE_BYTES = 1_000_000_000  # of disk space and of memory

log = logging.getLogger("nightlift")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Show what nightlift finds on this machine, and what is wrong with it, also for bug reports.

    Tries the network on a small image, the video encoders, and one worker on Ray (on the cluster that RAY_ADDRESS
    names, if it names one). Shows no keys and passwords.

    Examples:
      nightlift doctor
      nightlift doctor s3://bucket/in

    Exit status: 0 nothing is wrong; 1 something is; 2 wrong usage.
    """

    place: Annotated[str | None, positional("PLACE")] = None
    """Also try to list this folder or bucket: s3://BUCKET/FOLDER, a path, ..."""
    storage_options: StorageOptions = "{}"


class Report:
    """Lines about parts of the machine, and what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def add(self, part: str, *facts: str) -> None:
        """Print what is true of a part, in lines that fit a terminal."""
        text = f"{part:<12}{'; '.join(filter(None, facts))}"
        print(fill(text, min(WIDEST, shutil.get_terminal_size().columns), subsequent_indent=" " * 12), flush=True)

    def wrong(self, what: str) -> None:
        self.problems.append(what)


def run(config: DoctorConfig) -> int:
    """Examine each part in turn, and print what is found. Returns the exit status."""
    options = parse_options(config.storage_options)
    logging.getLogger("nightlift").setLevel(logging.WARNING)
    report = Report()
    parts: dict[str, Callable[[Report], None]] = {
        "machine": _machine,
        "packages": _packages,
        "devices": _devices,
        "photos": _photos,
        "videos": _videos,
        "folders": _folders,
        "environment": _environment,
        "network": _network,
        "Ray": _ray,
    }
    if config.place is not None:
        parts = {"place": partial(_place, place=config.place, options=options), **parts}
    for name, examine in parts.items():
        try:
            examine(report)
        except Exception as error:  # the report must go on: it is there for what nobody has thought of
            report.add(name, "failed")
            report.wrong(f"{name}: {_line(error)}")
    print()
    if not report.problems:
        print("nothing is wrong")
        return 0
    print(f"wrong ({len(report.problems)}):", *(f"  - {problem}" for problem in report.problems), sep="\n")
    return 1


def _machine(report: Report) -> None:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    report.add("nightlift", version("nightlift"), f"Python {platform.python_version()} ({sys.executable})", system)
    encodings = sys.getfilesystemencoding(), sys.stdout.encoding
    if any(encoding.lower().replace("-", "") != "utf8" for encoding in encodings):
        report.wrong(f"the locale is not UTF-8 ({', '.join(encodings)}): set LC_ALL=C.UTF-8 or PYTHONUTF8=1")
    cores, memory = usable_cores(), usable_memory_bytes()
    load = f"load {os.getloadavg()[0]:.1f}"
    whole = psutil.virtual_memory().total
    shared = Path("/dev/shm")
    shm = f"/dev/shm {_gb(shutil.disk_usage(shared).total)}" if shared.is_dir() else ""
    report.add("machine", f"{cores} of {os.cpu_count()} cores usable", load, f"{_gb(memory)} of {_gb(whole)} free", shm)
    if memory < LEAST_FREE_BYTES:
        report.wrong(f"only {_gb(memory)} of memory is free: a worker takes 0.7 GB for a photo of 24 megapixels")


def _packages(report: Report) -> None:
    report.add("packages", " ".join(f"{name} {version(name)}" for name in PACKAGES))
    extras = dict.fromkeys(metadata("nightlift").get_all("Provides-Extra") or [], "")
    del extras["dev"]
    for requirement in map(Requirement, requires("nightlift") or []):
        fault = _fault(requirement)
        if fault and requirement.marker is None:
            report.wrong(f"{fault}; install nightlift again")
        for name in extras:
            if fault and requirement.marker is not None and requirement.marker.evaluate({"extra": name}):
                extras[name] = fault
    report.add("extras", " ".join(extra for extra, fault in extras.items() if not fault) or "none installed")


def _fault(requirement: Requirement) -> str:
    """Return what is wrong with a package that is needed; "" if it is there, in a version that will do."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if found not in requirement.specifier:
        return f"{requirement.name} is {found}, not {requirement.specifier}"
    needed = map(Requirement, requires(requirement.name) or [])
    return next(filter(None, (_fault(each) for each in needed if _is_of(each, requirement.extras))), "")


def _is_of(requirement: Requirement, extras: Collection[str]) -> bool:
    """Return whether a package needs another one for some of its extras."""
    marker = requirement.marker
    return marker is not None and any(marker.evaluate({"extra": extra}) for extra in extras)


def _devices(report: Report) -> None:
    cuda = cuda_problem()
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if not cuda else []
    apple = "Apple GPU (mps)" if torch.backends.mps.is_available() else ""
    report.add("devices", "CPU", *(names or [f"no CUDA ({cuda.split(';')[0]})"]), apple)


def _photos(report: Report) -> None:
    from PIL import features

    codecs = {
        "jpg": "jpeg",
        "zlib": "png",
        "webp": "webp",
        "libtiff": "tiff",
        "avif": "avif",
        "littlecms2": "colour profiles",
    }
    has = {name: features.check(codec) for codec, name in codecs.items()}
    if heif := _extra(report, "pillow_heif", "heif"):
        has["heif" if heif.libheif_info()["HEIF"] else "heif (read)"] = True
    if rawpy := _extra(report, "rawpy", "raw"):
        has[f"raw (read, LibRaw {'.'.join(map(str, rawpy.libraw_version))})"] = True
    if imagecodecs := _extra(report, "imagecodecs", "jxl"):
        has[f"jxl ({imagecodecs.jpegxl_version()})"] = True
    report.add("photos", " ".join(name for name, there in has.items() if there))
    for name, there in has.items():
        if not there:
            report.wrong(f"pillow is built without {name}: install pillow from its wheel")


def _extra(report: Report, package: str, name: str) -> Any:
    """Import an optional package. None if it is not there, or does not load, which is reported."""
    try:
        return extra(package, name, f"to use {package}")
    except MissingExtra as error:
        if find_spec(package) is not None:
            report.wrong(str(error))
        return None


def _videos(report: Report) -> None:
    there = av.codec.codecs_available
    software = [name for name in DEFAULTS if name in there]
    hardware = [name for name in sorted(there) if name.rpartition("_")[2] in HARDWARE]
    working = [name for name in hardware if _starts(name)]
    text = f"hardware (experimental): {' '.join(working) or f'none of {len(hardware)} starts'}"
    report.add("videos", f"FFmpeg {av.ffmpeg_version_info}", " ".join(software), text)
    for name in DEFAULTS:
        if name not in there:
            report.wrong(f"PyAV's FFmpeg has no {name}: install av from its wheel")


def _starts(codec: str) -> bool:
    try:
        check_starts(EncodeSettings(codec=codec))
    except (NightliftError, av.FFmpegError, ValueError):
        return False
    return True


def _folders(report: Report) -> None:
    temporary = Path(tempfile.gettempdir())
    kernels = kernel_folder()
    report.add("folders", f"temporary files in {temporary} ({_gb(shutil.disk_usage(temporary).free)} free)",
               f"machine code in {kernels or 'no folder'}")  # fmt: skip
    if shutil.disk_usage(temporary).free < LEAST_FREE_BYTES:
        report.wrong(f"{temporary} is nearly full: free some space, or set TMPDIR to a folder on another disk")
    if kernels is None:
        report.wrong("no folder for machine code is writable, so each process compiles for half a minute: "
                     "set NUMBA_CACHE_DIR to one that is")  # fmt: skip


def _environment(report: Report) -> None:
    shown = [f"{name}={os.environ[name]}" for name in SHOWN if name in os.environ]
    named = sorted(name for name in os.environ if NAMED.match(name) and name not in SHOWN)
    report.add("environment", " ".join([*shown, *named]))


def _network(report: Report) -> None:
    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    started = time.monotonic()
    enhancer = Enhancer(checkpoint, estimate_size=checkpoint.estimate_size)
    dark = np.full((64, 64, 3), 20, dtype=np.uint8)
    (bright,) = enhancer.enhance([dark])
    report.add("network", f"a grey of 20 becomes {bright.mean():.0f}, after {time.monotonic() - started:.1f} s")
    if bright.mean() <= dark.mean():
        report.wrong("the network does not brighten a dark image")


def _ray(report: Report) -> None:
    from jobs.cluster.canary import diagnosis
    from jobs.cluster.joining import ray_cluster

    started = time.monotonic()
    with ray_cluster(1):
        import ray

        up = time.monotonic() - started
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        has = Counter[str]()
        for node in nodes:
            has.update(node)
        trouble = diagnosis(lambda: True)
        ready = time.monotonic() - started
    where = f"the cluster at {os.environ['RAY_ADDRESS']}" if os.environ.get("RAY_ADDRESS") else "a Ray of its own"
    resources = f"{plural(len(nodes), 'node')}, {has['CPU']:.0f} CPUs, {has['GPU']:.0f} GPUs, {_gb(has['memory'])}"
    report.add("Ray", f"{where}: {resources}", f"there after {up:.0f} s, a worker ready after {ready:.0f} s")
    if trouble:
        report.wrong(trouble)
    if has["GPU"] and not os.environ.get("RAY_ADDRESS") and (problem := cuda_problem()):
        report.wrong(f"Ray counts a GPU that torch cannot use: {problem}")


def _place(report: Report, place: str, options: dict[str, Any]) -> None:
    try:
        files = list(itertools.islice(Storage.from_environment([place], options).walk(place), 2))
        found = printable(files[0].relative) if files else "no files"
        report.add("place", f"{redacted(place)}: {found}{' and more' if len(files) > 1 else ''}")
    except NightliftError as error:
        report.add("place", f"{redacted(place)}: cannot be listed")
        report.wrong(printable(str(error)))


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def _line(error: Exception) -> str:
    if isinstance(error, NightliftError):
        return printable(str(error))
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


if __name__ == "__main__":
    from jobs.cli import start

    sys.exit(start(["doctor", *sys.argv[1:]]))
