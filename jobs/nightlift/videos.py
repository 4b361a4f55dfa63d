"""Enhancement of one video, in this process."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from jobs.bulk.job import Job
from jobs.videos import VIDEO_MEDIA, VideosConfig, segments_of
from pipeline.process import one_torch_thread
from pipeline.records import Outcome
from pipeline.storage.urls import FOLDER, join, redacted
from pipeline.videos import VideoSteps

from .one_file import place_of, record_of
from .options import VideoOptions, config_of, device_of, without_flags


def enhance_video(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    progress: bool = False,
    **options: Unpack[VideoOptions],
) -> str:
    """Enhance a video without flicker, with its frames, times, sound, subtitles and metadata. Returns its place.

        nightlift.enhance_video("dark.mp4", "bright.mp4", progress=True)

    `src` and `dst`: paths or URLs. `progress`: show a bar, in a notebook or on a terminal. A call that was ended goes
    on at the segment when it is repeated.

    `options`: named as the flags of `nightlift videos`: strength, iterations, passes, denoise, floor, variant, weights,
    estimate_size, device, precision, codec, crf, preset, pixel_format, container, hdr, skip_bright (no or copy),
    bright_luma, on_damage, estimate_every, smoothing, segment_frames, max_frame_pixels, storage_options.

    Raises TypeError and ValueError for wrong options, and NightliftError for a video that cannot be read or written.
    """
    with without_flags():
        config = config_of(VideosConfig, VideoOptions, options, src=place_of(src), dst=os.fspath(dst))
        job = Job.of(VIDEO_MEDIA, config, config.checkpoint(), config.src)
        record = record_of(job)
    steps = VideoSteps.of(job.storage, job.settings, job.checkpoint, device_of(config.device))
    segments, outcome = segments_of(job).url, Outcome.of(record)
    with without_flags(redacted(record.source)), one_torch_thread(), _bar(shown=progress) as bar:
        steps.run(record, outcome, segments, bar.update, lambda info: bar.reset(info.frames))
    for folder in (segments, join(job.destination.root, FOLDER)):
        job.storage.remove_empty(folder)
    return outcome.destination


@contextmanager
def _bar(*, shown: bool) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a notebook that lacks ipywidgets: then the bar is text
        from tqdm.auto import tqdm
    with tqdm(unit="frame", disable=not shown) as bar:
        yield bar
