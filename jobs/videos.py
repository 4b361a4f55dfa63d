"""The video job: `nightlift videos SRC DST`, or `python -m jobs.videos SRC DST` from a checkout."""

import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from jobs.bulk.config import BulkConfig
from jobs.bulk.estimate import Estimate, video_estimate
from jobs.bulk.job import Job, Media, Worker
from jobs.bulk.placement import place, settings_on
from jobs.bulk.run import run_jobs
from jobs.cluster.nodes import cluster_nodes
from jobs.command_line.logs import steps
from jobs.flags import SkipBright, check_ranges, look_of, optional
from jobs.progress import Progress
from model import Checkpoint
from pipeline.errors import Changed, ClusterError, StorageError, UsageError, is_of_the_file, plural
from pipeline.periodically import repeating
from pipeline.planning.media_kinds import VIDEOS
from pipeline.planning.plan import Plan
from pipeline.records import Outcome, Record
from pipeline.segments import SegmentFolders
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, join, redacted
from pipeline.video.enhancing.smoothing import ESTIMATE_EVERY, Window
from pipeline.video.reading.containers import is_video, muxer_of
from pipeline.video.writing.encode import EncodeSettings, takes
from pipeline.video.writing.segment_files import check_starts
from pipeline.videos import BRIGHT, VideoSettings, VideoSteps

if TYPE_CHECKING:
    from pipeline.flow.videos import VideoFlow  # imports Ray: at run time only once there is work

LOOK_EVERY_S = 0.5  # at the ledger


@dataclass(frozen=True, kw_only=True)
class VideosConfig(BulkConfig):
    """Enhance videos without flicker, and keep all their frames, times, sound, subtitles and metadata.

    Where nothing moves, --denoise also smooths over time. Run the same command again to enhance only what is new,
    changed or failed; finished segments of a stopped run are kept.

    Examples:
      nightlift videos night.mp4 bright.mp4
      nightlift videos films bright --codec libx265 --crf 22

    Exit status: 0 all done; 1 some inputs failed, or the job could not continue; 2 wrong usage or nothing to read; 130,
    143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP.
    """

    codec: Annotated[str | None, optional("NAME")] = None
    """FFmpeg encoder: libx264, libx265, libsvtav1, libvpx-vp9. Hardware encoders (h264_nvenc, ...) are experimental.
    By default one for the codec of the source if the container can hold it, else a common one."""
    crf: Annotated[int | None, optional("INT")] = None
    """Quality, 0 to 63 (to 51 for H.264 and HEVC): a lower number gives a better and larger video.
    By default 20 for libx264, 24 for libx265, 28 for libsvtav1 and libvpx-vp9, 22 for hardware encoders."""
    preset: Annotated[str | None, optional("NAME")] = None
    """Speed of the encoder: a faster one writes larger videos. By default fast, or a hardware encoder's own default.
    One of ultrafast, superfast, veryfast, faster, fast, medium, slow, slower, veryslow, or a preset of the encoder."""
    pixel_format: Annotated[str | None, optional("NAME")] = None
    """FFmpeg pixel format of the output: yuv420p, yuv420p10le, ...
    By default that of the source, or the nearest one that the encoder supports."""
    container: Annotated[str | None, optional("NAME")] = None
    """Container of all outputs: mp4, mkv, mov, webm, ts, m4v, 3gp, m2ts or mts. By default each video keeps its own.
    Containers that are only read change: MPG and streams without a container become MP4, MXF, GXF and DV become MOV,
    and AVI, FLV, OGV, WMV, VOB, DAV and others become MKV."""
    hdr: Literal["keep", "sdr"] = "keep"
    """What to do with HDR videos (HLG and PQ). keep: write HDR with the same tags; sdr: convert to SDR."""
    skip_bright: SkipBright = "no"
    """What to do with what is bright already: enhance it too, copy it unchanged, or leave it out.
    A few keyframes show whether a video is bright throughout. In others, bright times are left as they are."""
    on_damage: Literal["keep", "fail"] = "keep"
    """What to do with damaged videos. keep: write what can be decoded and note what is missing; fail: write nothing."""
    estimate_every: Annotated[int | None, optional("INT")] = None
    """Interval in frames at which curve maps are estimated; those between are interpolated.
    By default 2, which flickers no more than 1; with --smoothing 0 by default 1."""
    smoothing: int = 8
    """Frames on either side over which the curve maps of a frame are smoothed.
    With 0, each frame is enhanced by itself, with more flicker than the source has."""
    segment_frames: int = 240
    """Least number of frames in a segment. Videos are cut at keyframes, and segments are enhanced in parallel."""
    max_frame_pixels: int = 100_000_000
    """Largest frame that is enhanced, in pixels. Videos with larger frames fail."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, estimate_every=(1, None), smoothing=(0, None))
        check_ranges(self, segment_frames=(1, None), max_frame_pixels=(1, None))

    @property
    def extension(self) -> str | None:
        """Return the extension of the container that was asked for. Raises UsageError for one that is not written."""
        if self.container is None:
            return None
        extension = f".{self.container.lower().removeprefix('.')}"
        muxer_of(f"--container {extension}")
        return extension

    @property
    def window(self) -> Window:
        if not self.smoothing:
            return Window(radius=0, every=self.estimate_every or 1, steadiness=0)
        return Window(radius=self.smoothing, every=self.estimate_every or ESTIMATE_EVERY)

    def video_settings(self, checkpoint: Checkpoint) -> VideoSettings:
        """Return the settings that decide what comes out. Raises UsageError."""
        encode = EncodeSettings(codec=self.codec, crf=self.crf, preset=self.preset, pixel_format=self.pixel_format)
        if not os.environ.get("RAY_ADDRESS"):  # the workers of a cluster may have other hardware
            check_starts(encode)
        self._check_fit()
        return VideoSettings(
            look=look_of(self),
            estimate_size=checkpoint.estimate_size_for(self.estimate_size),
            precision=self.precision,
            window=self.window,
            hdr=self.hdr,
            skip_bright=self.skip_bright,
            bright_luma=self.bright_luma,
            on_damage=self.on_damage,
            encode=encode,
            frames_per_segment=self.segment_frames,
            max_pixels=self.max_frame_pixels,
        )

    def _check_fit(self) -> None:
        """Check that the container, where it is known by now, takes what the encoder makes. Raises UsageError."""
        named = f"video{self.extension}" if self.container else self.dst
        if self.codec and is_video(named) and not takes(muxer_of(named), self.codec):
            raise UsageError(
                f"--codec {self.codec}: {muxer_of(named)} cannot hold its output; choose another codec or container"
            )


def segments_of(job: Job) -> SegmentFolders:
    """Return the folders that hold the segments of unfinished videos."""
    return SegmentFolders(job.storage, join(job.destination.root, FOLDER, "segments"))


def _worker(storage: Storage, settings: VideoSettings, checkpoint: Checkpoint, folder: str) -> Worker:
    steps = VideoSteps.of(storage, settings, checkpoint)
    return lambda record, on_frame: steps(record, folder, on_frame)


def _flow(job: Job) -> "VideoFlow":
    """Choose device and workers by what the cluster has."""
    from pipeline.flow.videos import VideoFlow

    placed = place(job.config, job.media.worker_bytes)
    on_gpus = placed.device == "cuda"
    beside = sum(cpus for cpus, gpus in cluster_nodes() if gpus or not on_gpus)
    flow = VideoFlow(
        storage=job.storage,
        settings=settings_on(placed.device, job.settings),
        checkpoint=job.checkpoint,
        device=placed.device,
        workers=placed.workers,
        grows=placed.grows,
        gpus_per_worker=placed.gpus_per_worker,
        threads=max(1, beside // placed.workers),
        segments=segments_of(job),
        time_limit_s=job.config.time_limit,
    )
    steps.info("starting %s (%s); this takes a few seconds", plural(flow.workers, "worker"), flow.device)
    return flow


def _in_sight(flow: "VideoFlow", records: Sequence[Record]) -> Generator[Outcome]:
    with _shown_progress(flow) as progress:
        for outcome in flow.run(records):
            progress.failed += outcome.outcome == "failed"
            yield outcome


def _tidy(job: Job, records: Sequence[Record], outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """Yield the same outcomes; remove segments that serve no run any more."""
    segments = segments_of(job)
    if job.config.fresh:
        for record in records:
            segments.clear(record)
    hopeless = set()
    for outcome in outcomes:
        if is_of_the_file(outcome.code) or outcome.code in (Changed.code, BRIGHT):
            hopeless.add(outcome.source)
        yield outcome
    for record in records:  # segments of other failures stay: the next run goes on with them
        if redacted(record.source) in hopeless:
            segments.clear(record)
    job.storage.remove_empty(segments.url)
    _log_segments_left(job.storage, segments.url)


def _log_segments_left(storage: Storage, folder: str) -> None:
    """Log which segments are left: of other jobs, of videos to go on with, or of sources that are gone."""
    with suppress(StorageError):
        left = [file for file in storage.list_files(folder) if not file.code]
        if left:
            size_mb = sum(file.size_bytes for file in left) / 1e6
            steps.info("kept segments of unfinished videos in %s (%.0f MB); run again to continue", folder, size_mb)


def _estimate(job: Job, plan: Plan, px_of: Callable[[Record], float]) -> Estimate:
    return video_estimate(plan, VideoSteps.of(job.storage, job.settings, job.checkpoint), px_of)


VIDEO_MEDIA = Media(
    kind=VIDEOS,
    settings=VideosConfig.video_settings,
    wanted=lambda config: config.extension,
    worker=lambda job: partial(_worker, job.storage, job.settings, job.checkpoint, segments_of(job).url),
    flow=_flow,
    progress=_in_sight,
    tidy=_tidy,
    estimate=_estimate,
    worker_bytes=1.1e9,  # at frames of 4K
)


def run(config: VideosConfig) -> int:
    """Run the whole job. Returns the exit status; raises NightliftError for what stops it before the first video."""
    return run_jobs(config, [VIDEO_MEDIA])


@contextmanager
def _shown_progress(flow: "VideoFlow") -> Iterator[Progress]:
    """Show how many of the frames known so far are done, while the body runs. Opened videos add theirs."""
    progress = Progress(0, "frame", opening="opening videos")

    def look_on() -> None:
        with suppress(ClusterError):  # busy, or the flow itself will tell of it
            progress.advance_to(*flow.progress())

    try:
        with repeating(LOOK_EVERY_S, look_on):
            yield progress
    finally:
        progress.close()


if __name__ == "__main__":
    from jobs.cli import start

    sys.exit(start(["videos", *sys.argv[1:]]))
