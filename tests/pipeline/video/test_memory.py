"""Memory does not grow with the length of a video, however it is cut."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clips import clip, street
from tests.support.counts import count
from tests.support.killed import HANGS_S, ROOT

FRAME_BYTES = 640 * 360 * 3 // 2
SHORT, LONG = 60, 460  # frames
PEAKS = """
import resource, sys, torch
from model import DEFAULT_WEIGHTS, load
from pipeline.records import Record
from pipeline.storage.storage import Storage
from pipeline.video.writing.encode import EncodeSettings
from pipeline.video.enhancing.smoothing import Window
from pipeline.videos import VideoSettings, VideoSteps

torch.set_num_threads(1)
frames_per_segment, *sources = sys.argv[1:]
settings = VideoSettings(
    estimate_size=32, window=Window(every=8), frames_per_segment=int(frames_per_segment),
    encode=EncodeSettings(preset="ultrafast"),
)
steps = VideoSteps.of(Storage(), settings, load(DEFAULT_WEIGHTS["plus"]))
for source in sources:
    destination = source.replace(".mp4", "-enhanced.mp4")
    outcome = steps(Record(source=source, version="", size_bytes=0, destination=destination), destination + ".segments")
    assert outcome.outcome == "done", outcome.message
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def _film(folder: Path, frames: int) -> str:
    few = [street(number, 640, 360) for number in range(4)]
    source = folder / f"{frames}.mp4"
    source.write_bytes(clip([few[number % 4] for number in range(frames)], gop=50))
    return str(source)


@pytest.mark.slow
@pytest.mark.parametrize("frames_per_segment", count([10_000], [50, 10_000]))
def test_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path: Path, frames_per_segment: int) -> None:
    films = [_film(tmp_path, frames) for frames in (SHORT, LONG)]
    command = [sys.executable, "-c", PEAKS, str(frames_per_segment), *films]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 0, done.stderr
    short, long = map(int, done.stdout.split())  # what the short one took is there for the long one
    assert long - short < (LONG - SHORT) // 5 * FRAME_BYTES
