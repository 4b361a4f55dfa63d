"""Memory does not grow with the length of a video, however it is cut."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clips import clip, street
from tests.support.counts import count
from tests.support.killed import HANGS_S, ROOT

FRAME_BYTES = 640 * 360 * 3 // 2
PEAK = """
import resource, sys, torch
from model import DEFAULT_WEIGHTS, load
from pipeline.records import Record
from pipeline.storage.storage import Storage
from pipeline.video.writing.encode import EncodeSettings
from pipeline.video.enhancing.smoothing import Window
from pipeline.videos import VideoSettings, VideoSteps

torch.set_num_threads(1)
source, destination, frames_per_segment = sys.argv[1:]
settings = VideoSettings(
    estimate_size=32, window=Window(every=8), frames_per_segment=int(frames_per_segment),
    encode=EncodeSettings(preset="ultrafast"),
)
steps = VideoSteps.of(Storage(), settings, load(DEFAULT_WEIGHTS["plus"]))
outcome = steps(Record(source=source, version="", size_bytes=0, destination=destination), destination + ".segments")
assert outcome.outcome == "done", outcome.message
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def _peak_bytes(folder: Path, frames: int, frames_per_segment: int) -> int:
    few = [street(number, 640, 360) for number in range(4)]
    source = folder / f"{frames}-{frames_per_segment}.mp4"
    source.write_bytes(clip([few[number % 4] for number in range(frames)], gop=50))
    command = [sys.executable, "-c", PEAK, str(source), str(folder / "out" / source.name), str(frames_per_segment)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("frames_per_segment", count([10_000], [50, 10_000]))
def test_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path: Path, frames_per_segment: int) -> None:
    short, long = (_peak_bytes(tmp_path, frames, frames_per_segment) for frames in (100, 600))
    assert long - short < 100 * FRAME_BYTES  # of the 500 more frames
