"""Less memory than a file needs: it says so, and is neither damaged nor an internal error; the next file is done."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.clips import clip, street, streets
from tests.support.counts import count
from tests.support.killed import HANGS_S, ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the memory of a process")

# For ever more room, in a process of its own: the large file, and then the small one
WITHIN = """
import ctypes, json, os, resource, sys
from pathlib import Path
from model import DEFAULT_WEIGHTS, load
from pipeline.process import use_one_core
from pipeline.photos import PhotoWork, PhotoSettings, PhotoSteps
from pipeline.records import Record
from pipeline.storage.storage import Storage
from pipeline.video.writing.encode import EncodeSettings
from pipeline.video.enhancing.smoothing import Window
from pipeline.videos import VideoSettings, VideoSteps

small, large, *rooms_mb = sys.argv[1:]
checkpoint = load(DEFAULT_WEIGHTS["plus"])
use_one_core()
photos = PhotoSteps.of(Storage(), PhotoSettings(), checkpoint)
encode = EncodeSettings(preset="ultrafast")
videos = VideoSteps.of(Storage(), VideoSettings(estimate_size=32, window=Window(every=8), encode=encode), checkpoint)

def run(source, room_mb):
    suffix = Path(source).suffix.replace("heic", "jpg")  # as which it is written by default
    target = f"{source}.out/{room_mb}{suffix}"
    record = Record(source=source, version="", size_bytes=0, destination=target)
    is_photo = not source.endswith(".mp4")
    outcome = photos(PhotoWork.of(record)).outcome if is_photo else videos(record, target + ".segments")
    return outcome.code, outcome.message, outcome.notes

run(small, 0)
ctypes.CDLL(None).malloc_trim(0)
pages = int(Path("/proc/self/statm").read_text().split()[0])
for room_mb in map(int, rooms_mb):
    if not os.fork():
        limit = pages * resource.getpagesize() + (room_mb << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        told = [run(source, room_mb) for source in (large, small)]
        print(json.dumps(told), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, room_mb
"""


def _codes(small: Path, large: Path, rooms_mb: list[int]) -> list[str]:
    """Of the large file, by room."""
    command = [sys.executable, "-c", WITHIN, str(small), str(large), *map(str, rooms_mb)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for (code, message, notes), (code_of_small, *_) in told:
        assert code in ("", "out_of_memory"), message
        assert code == "" or "not enough memory for this" in message
        assert code or notes == []
        assert code_of_small == ""
    written = {path.read_bytes() for path in Path(f"{large}.out").iterdir() if path.is_file()}
    assert len(written) == 1  # the same, as long as it is there
    return [code for (code, *_), _ in told]


@pytest.mark.slow
@pytest.mark.parametrize("extension", count(["jpg"], ["jpg", "heic"]))
def test_a_photo_that_finds_too_little_memory(tmp_path: Path, extension: str) -> None:
    if extension == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    small, large = tmp_path / f"small.{extension}", tmp_path / f"large.{extension}"
    night = np.random.default_rng(5).integers(0, 50, (100, 100, 3), dtype=np.uint8)
    Image.fromarray(night).save(small)
    Image.fromarray(np.tile(night, (20, 20, 1))).save(large)
    codes = _codes(small, large, [4, 9, 14, 28, 60, 400])
    assert codes[0] == "out_of_memory"
    assert codes[-1] == ""


@pytest.mark.slow
def test_a_video_that_finds_too_little_memory(tmp_path: Path) -> None:
    small, large = tmp_path / "small.mp4", tmp_path / "large.mp4"
    small.write_bytes(clip(streets(4)))
    few = [street(number, 1280, 720) for number in range(2)]
    large.write_bytes(clip([few[number % 2] for number in range(12)]))
    codes = _codes(small, large, [1, 3, 6, 9, 12, 16, 20, 25, 30, 40, 400])
    assert codes[0] == "out_of_memory"
    assert codes[-1] == ""
