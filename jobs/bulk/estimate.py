"""`--dry-run`: what a run would do, and about how long it would take."""

import posixpath
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.bulk.summary import by_other_runs, priced, refused
from pipeline.errors import NightliftError, plural
from pipeline.images import format_of
from pipeline.planning.plan import Plan
from pipeline.process import use_one_core
from pipeline.records import Outcome, Record, settling
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted
from pipeline.video import Segment
from pipeline.video.reading.opening import announced_px
from pipeline.videos import OUT_OF_MEMORY, VideoSteps

SAMPLES = 5
FRAMES_TRIED = 48  # of each sample video
HEADERS = 64  # of videos that are looked at, to tell how long they are
RAY_START_S = 10.0  # Ray and the workers, before the first file
START_S = 3.0  # without Ray: our own packages
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job would do, in lines of text, and how many seconds one core would take for it."""

    lines: Sequence[str]
    core_s: float = 0.0
    """0 where there is nothing to do, or where nothing could be tried."""


def report(estimates: Sequence[Estimate], workers: int, *, on_ray: bool, price: float | None = None) -> str:
    """Return what jobs would do, and how long they would take, one after the other. `on_ray`: whether Ray is needed.

    `price`: of an hour of one core; None: not known.
    """
    lines = [line for estimate in estimates for line in estimate.lines]
    core_s = sum(estimate.core_s for estimate in estimates)
    if core_s:
        work_s, start_s = (core_s / workers, RAY_START_S) if on_ray else (core_s, START_S)
        start = f"{start_s:.0f} s to start{' Ray' if on_ray else ''}"
        means = f"with {plural(workers, 'worker')} as fast as this machine's cores" if on_ray else "without Ray"
        lines.append(f"time: about {_duration(start_s + work_s)}: {start}, and {_duration(work_s)} of work {means}")
    if core_s and price is not None:
        lines.append(f"cost: about {priced(core_s, price)}")
    return "\n".join(lines)


def photo_estimate(plan: Plan, enhanced: Callable[[Record], Outcome]) -> Estimate:
    """Return counts, formats, refused files and bytes, and estimate the rest by enhancing a few photos."""
    formats = Counter(_format_name(redacted(record.source)) for record in plan.records)
    return _estimate(plan, "photo", formats, lambda samples: _photos_tried(samples, enhanced), _bytes_of)


def video_estimate(plan: Plan, steps: VideoSteps) -> Estimate:
    """Return counts, containers, refused files and bytes, and estimate the rest by enhancing the beginning of a few."""
    containers = Counter(posixpath.splitext(redacted(record.source))[1].lower() for record in plan.records)

    def pixels_of(records: Sequence[Record]) -> float:
        looked_at = spread(records, HEADERS)
        return sum(px_of(record, steps.inspect.storage) for record in looked_at) * len(records) / len(looked_at)

    return _estimate(plan, "video", containers, lambda samples: _videos_tried(samples, steps), pixels_of)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What came of one sample, scaled to the whole file."""

    seconds: float = 0.0
    bytes_out: float = 0.0
    problem: str = ""


def _estimate(
    plan: Plan,
    noun: str,
    formats: Counter[str],
    tried: Callable[[Sequence[Record]], list[_Trial]],
    weight: Callable[[Sequence[Record]], float],
) -> Estimate:
    """Make the estimate. `weight`: sums what the time of files is proportional to, to scale samples to all."""
    lines = [f"{noun}s to do: {len(plan.records):,} ({plan.bytes_in / 1e6:,.1f} MB)"]
    lines += [f"  {count:>8,} {name}" for name, count in formats.most_common()]
    lines += by_other_runs(plan)
    for what, refusals in refused(plan).items():
        lines.append(f"{what}: {len(refusals):,}")
        lines += [f"  {refusal.code}: {refusal.message}" for refusal in refusals[:SHOWN]]
        if len(refusals) > SHOWN:
            lines.append(f"  ... and {len(refusals) - SHOWN:,} more")
    if not plan.records:
        return Estimate(lines)
    use_one_core()
    samples = spread(plan.records, SAMPLES)
    trials = tried(samples)
    problems = [f"  {trial.problem}" for trial in trials if trial.problem]
    if len(problems) == len(samples):
        return Estimate(
            [*lines, f"no estimate: could enhance none of the {plural(len(samples), noun)} tried:", *problems]
        )
    if problems:
        lines += [f"tried {plural(len(samples), noun)}, of which {len(problems)} failed:", *problems]
    sampled, whole = weight(samples), weight(plan.records)
    share = sampled / whole if sampled else len(samples) / len(plan.records)  # by count where nothing is told
    lines.append(f"outputs: about {sum(trial.bytes_out for trial in trials) / share / 1e6:,.1f} MB")
    return Estimate(lines, sum(trial.seconds for trial in trials) / share)


def _photos_tried(samples: Sequence[Record], enhanced: Callable[[Record], Outcome]) -> list[_Trial]:
    trials = []
    with tempfile.TemporaryDirectory(prefix="nightlift-") as folder:
        # the first photo of a process waits for what is loaded only then, once for all that follow: it does not count
        for index, record in enumerate([samples[0], *samples]):
            scratch = str(Path(folder) / f"{index}{Path(record.destination).suffix}")
            start = time.monotonic()
            outcome = enhanced(replace(record, destination=scratch, before=(), after=()))
            problem = f"{outcome.code}: {outcome.message}" if outcome.outcome == "failed" else ""
            trials.append(_Trial(time.monotonic() - start, outcome.bytes_out, problem))
    return trials[1:]


def _videos_tried(samples: Sequence[Record], steps: VideoSteps) -> list[_Trial]:
    """Enhance the first frames of each sample."""
    trials = []
    with tempfile.TemporaryDirectory(prefix="nightlift-") as folder:
        for index, record in enumerate(samples):
            start = time.monotonic()
            outcome = Outcome.of(record)
            with settling(record, outcome, out_of_memory=OUT_OF_MEMORY):
                trials.append(_video_tried(record, steps, Path(folder) / str(index)))
                continue
            trials.append(_Trial(time.monotonic() - start, problem=f"{outcome.code}: {outcome.message}"))
    return trials


def _video_tried(record: Record, steps: VideoSteps, path: Path) -> _Trial:
    """Enhance its first frames, and scale what that took to the whole video."""
    start = time.monotonic()
    info, segments = steps.inspect(record)
    inspected = time.monotonic()
    beginning = Segment(index=0, first=0, end=min(info.frames, FRAMES_TRIED))
    frames_at: list[float] = []
    steps.enhance(record, info, beginning, str(path), on_frame=lambda: frames_at.append(time.monotonic()))
    tried_s, context = time.monotonic() - inspected, steps.enhance.settings.window.context
    first_s = frames_at[0] - inspected if frames_at else tried_s
    seconds = inspected - start + whole_s(info.frames, segments, beginning, context, first_s, tried_s)
    return _Trial(seconds, info.frames / beginning.frames * path.stat().st_size)


def whole_s(
    frames: int, segments: Sequence[Segment], tried: Segment, context: int, first_s: float, tried_s: float
) -> float:
    """Return the seconds that all segments of a video take, from those of its beginning.

    `first_s`: until its first frame was written; `tried_s`: for all of `tried`.

    Curve maps of a frame need `context` frames on either side, which are seen and not written. Until the first frame is
    written, as good as all the time goes into seeing frames.
    """

    def seen(segment: Segment) -> int:
        return min(frames, segment.end + context) - max(0, segment.first - context)

    each_seen_s = first_s / min(frames, 1 + context)
    each_written_s = (tried_s - each_seen_s * seen(tried)) / tried.frames
    return each_seen_s * sum(seen(segment) for segment in segments) + each_written_s * frames


def _bytes_of(records: Sequence[Record]) -> float:
    return sum(record.size_bytes for record in records)


def px_of(record: Record, storage: Storage) -> float:
    """Return the pixels of all frames that a video announces; 0 if it does not, or cannot be read.

    Its bytes say little: a still night takes few.
    """
    try:
        with storage.open(record.source) as file:
            return announced_px(file)
    except (MemoryError, NightliftError):
        return 0


def spread(records: Sequence[Record], most: int) -> list[Record]:
    """Return at most `most` records, evenly spread from the smallest to the largest."""
    count = min(most, len(records))
    by_size = sorted(records, key=lambda record: record.size_bytes)
    return [by_size[(2 * rank + 1) * len(records) // (2 * count)] for rank in range(count)]


def _format_name(url: str) -> str:
    found = format_of(url)
    return found.name if found else "other"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
