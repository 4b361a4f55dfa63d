"""A video on one core: the whole job against decoding, and encoding the same enhanced frames."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.benchmark.measurement import Row, Section, side_by_side
from jobs.benchmark.photos import record_of
from jobs.videos import VideosConfig
from model import DEFAULT_WEIGHTS, load
from pipeline.process import use_one_core
from pipeline.records import Record
from pipeline.storage.storage import Storage
from pipeline.video import Segment, VideoInfo
from pipeline.video.enhancing.enhance import Clock
from pipeline.video.reading.decode import decoded
from pipeline.video.writing.segment_files import encoder
from pipeline.videos import EnhanceSegment, Inspect, VideoSettings, encoding_of

HELD_PX, LEAST_FRAMES = 200_000_000, 8  # limits, as enhanced frames are held in memory to time encoding alone


def measure_video(path: Path, title: str, frames: int, rounds: int, extension: str | None = None) -> Section:
    """Time a video's first frames with both shipped networks at their default settings. Raises NightliftError.

    `extension`: of the output, if it differs from that of `path`.
    """
    use_one_core()
    with TemporaryDirectory(prefix="nightlift-") as folder:
        record = record_of(path, Path(folder) / f"enhanced{extension or path.suffix}")
        config = VideosConfig(src=record.source, dst=record.destination)
        checkpoints = {variant: load(weights) for variant, weights in DEFAULT_WEIGHTS.items()}
        settings = {variant: config.video_settings(checkpoint) for variant, checkpoint in checkpoints.items()}
        info, _ = Inspect(Storage(), settings["dce"])(record)
        # hide the frames after the segment: else the context around it would be timed as well
        frames = max(LEAST_FRAMES, min(frames, HELD_PX // (info.width_px * info.height_px)))
        info = replace(info, pts=info.pts[:frames])
        jobs: dict[str, _RepeatedVideo] = {
            name: _RepeatedVideo(
                EnhanceSegment(Storage(), settings[name], checkpoint), record, info, Path(folder) / name
            )
            for name, checkpoint in checkpoints.items()
        }
        codec = _codec_alone(jobs["dce"].enhance, record, info, settings["dce"])
        fastest = side_by_side({"codec": codec, **jobs}, rounds)
    count = info.frames
    rows = [
        Row("codec alone: decode the video, encode the enhanced frames", 1e3 * fastest["codec"] / count, "ms per frame")
    ]
    for variant, job in jobs.items():
        stages = {column.removeprefix("seconds_"): each_s / count for column, each_s in job.seconds.items()}
        rows += [
            *(Row(f"{variant}: {stage}", 1e3 * each_s, "ms per frame") for stage, each_s in stages.items()),
            Row(f"{variant}: whole job", 1e3 * fastest[variant] / count, "ms per frame"),
            Row(f"{variant}: whole job / codec alone", fastest[variant] / fastest["codec"], "times"),
            Row(f"{variant}: frames", count / fastest[variant], "per second and core"),
        ]
    return Section(f"{title} ({info.width_px}x{info.height_px}, {info.codec}, {count} frames)", rows)


class _RepeatedVideo:
    """The frames of a video as one segment, enhanced at each call; `seconds`: of the fastest call, by column."""

    def __init__(self, enhance: EnhanceSegment, record: Record, info: VideoInfo, path: Path) -> None:
        self.enhance = enhance
        self._record, self._info, self._path = record, info, path
        self._count = 0
        self.seconds: dict[str, float] = {}

    def __call__(self) -> None:
        self._count += 1  # for a new path: an existing segment would be reused
        segment = Segment(index=0, first=0, end=self._info.frames)
        path = f"{self._path}-{self._count}"
        seconds = self.enhance(self._record, self._info, segment, path).seconds
        if not self.seconds or sum(seconds.values()) < sum(self.seconds.values()):
            self.seconds = seconds


def _codec_alone(
    enhance: EnhanceSegment, record: Record, info: VideoInfo, settings: VideoSettings
) -> Callable[[], object]:
    encoding = encoding_of(record, info, settings)
    segment = Segment(index=0, first=0, end=info.frames)
    with Path(record.source).open("rb") as source:
        enhanced = list(enhance.enhancement.frames(source, info, segment, encoding, Clock()))
    frames = [(each.frame, each.shot.pts) for each in enhanced]

    def again() -> None:
        with Path(record.source).open("rb") as source:
            for _ in decoded(source, info, 0, info.frames):
                pass
        with Path(record.destination).open("wb") as file, encoder(file, encoding, "", threads=1) as output:
            for frame, pts in frames:
                output.encode(frame, pts)

    return again
