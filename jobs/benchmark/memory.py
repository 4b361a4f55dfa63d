"""Peak memory of a worker, measured in a process that imports what a worker imports and enhances one photo."""

import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from jobs.benchmark.measurement import Row, Section
from jobs.benchmark.media import QUALITY, night_pixels
from pipeline.errors import NightliftError

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


def measure_memory(sizes: Mapping[str, tuple[int, int]]) -> Section:
    """Measure a worker's peak memory at photos of these sizes. Raises NightliftError if a worker fails."""
    rows = []
    with TemporaryDirectory(prefix="nightlift-") as folder:
        for name, (width, height) in sizes.items():
            path = Path(folder) / "large.jpg"
            _write(path, width, height)
            command = [sys.executable, "-m", __name__, str(path)]
            worker = subprocess.run(command, capture_output=True, text=True, check=False)
            if worker.returncode:
                raise NightliftError(
                    f"the worker for {name} ended with exit status {worker.returncode}: {worker.stderr[-500:]}"
                )
            before_bytes, peak_bytes = map(int, worker.stdout.split())
            rows.append(Row(f"a worker that enhances {name} ({width}x{height})", peak_bytes / 1e6, "MB"))
    rows.append(Row("a worker before its first photo", before_bytes / 1e6, "MB"))
    return Section("peak memory", rows)


def _write(path: Path, width: int, height: int) -> None:
    tile = night_pixels(min(width, 2000), min(height, 1500))
    pixels = np.tile(tile, (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1))[:height, :width]
    Image.fromarray(pixels).save(path, quality=QUALITY)


def _be_a_worker(path: Path) -> None:
    """Print the peak of bytes in memory before the photo, and after enhancing it twice."""
    from jobs.benchmark.photos import RepeatedPhoto
    from model import DEFAULT_WEIGHTS, load
    from pipeline.flow import photos as graphs  # imported as by a worker
    from pipeline.process import use_one_core

    assert graphs

    use_one_core()
    job = RepeatedPhoto(load(DEFAULT_WEIGHTS["dce"]), path, path.parent, path.suffix)
    before_bytes = _peak_bytes()
    job()
    job()
    print(before_bytes, _peak_bytes())


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # on Linux `ru_maxrss` starts at the memory of the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES


if __name__ == "__main__":
    _be_a_worker(Path(sys.argv[1]))
