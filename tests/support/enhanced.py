"""A film that goes through all steps, in one process."""

import tempfile
from dataclasses import replace
from pathlib import Path

from model import DEFAULT_WEIGHTS, Look, load
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from pipeline.video.enhancing.smoothing import Window
from pipeline.video.writing.encode import EncodeSettings
from pipeline.videos import VideoSettings, VideoSteps

SETTINGS = VideoSettings(
    estimate_size=32,
    window=Window(radius=1, light_radius=1),
    frames_per_segment=10,
    encode=EncodeSettings(preset="ultrafast"),
)
# little is done to pixels, where tests look at what is around them
QUICK = replace(SETTINGS, look=Look(denoise=0, floor="off"), window=Window(radius=1, every=5, steadiness=0))


def run(name: str, content: bytes, destination: str = "", settings: VideoSettings = QUICK) -> tuple[Outcome, Path]:
    folder = Path(tempfile.mkdtemp())
    source, target = folder / name, folder / "out" / (destination or name)
    source.write_bytes(content)
    record = Record(source=str(source), version="", size_bytes=len(content), destination=str(target))
    return VideoSteps.of(Storage(), settings, load(DEFAULT_WEIGHTS["plus"]))(record, str(folder / "segments")), target


def done(name: str, content: bytes, destination: str = "", settings: VideoSettings = QUICK) -> tuple[Outcome, Path]:
    outcome, target = run(name, content, destination, settings)
    assert outcome.outcome == "done", outcome.message
    return outcome, target
