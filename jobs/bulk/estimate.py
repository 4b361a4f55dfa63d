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
from pipeline.video.enhancing.enhance import Clock
from pipeline.video.reading.opening import announced_px
from pipeline.videos import OUT_OF_MEMORY, VideoSteps

SAMPLES = 5
FRAMES_TRIED = 48  # of each sample video
LOOKS = 240  # at most as many videos are looked at, to tell how much of them is night
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
    lines = _counts(plan, "photo", formats)
    if not plan.records:
        return Estimate(lines)
    use_one_core()
    samples = spread(plan.records, SAMPLES)
    share = _bytes_of(samples) / max(1, _bytes_of(plan.records)) or len(samples) / len(plan.records)
    return _scaled(lines, "photo", _photos_tried(samples, enhanced), share)


def video_estimate(plan: Plan, steps: VideoSteps, px_of: Callable[[Record], float]) -> Estimate:
    """Return counts, containers, refused files and bytes, and estimate the rest by enhancing a few frames of a few.

    With --skip-bright, videos are looked at first, and only the night counts. `px_of`: see below.
    """
    containers = Counter(posixpath.splitext(redacted(record.source))[1].lower() for record in plan.records)
    lines = _counts(plan, "video", containers)
    if not plan.records:
        return Estimate(lines)
    use_one_core()
    if steps.pass_on.settings.skip_bright != "no":
        return _night_estimate(lines, plan, steps)
    samples, looked_at = spread(plan.records, SAMPLES), spread(plan.records, HEADERS)
    whole = sum(map(px_of, looked_at)) * len(plan.records) / len(looked_at)
    sampled = sum(map(px_of, samples))
    share = sampled / max(1, whole) or len(samples) / len(plan.records)  # by count where nothing is told
    return _scaled(lines, "video", _videos_tried([(record, 0.0) for record in samples], steps), share)


def _night_estimate(lines: list[str], plan: Plan, steps: VideoSteps) -> Estimate:
    """Find out how much of the videos is night, as the job would, and estimate what that takes."""
    settings, start = steps.pass_on.settings, time.monotonic()
    looked_at = spread(plan.records, LOOKS)
    nights = [_Night.of(record, steps) for record in looked_at]
    looks_s, share = time.monotonic() - start, len(looked_at) / len(plan.records)
    about = "" if share == 1 else "about "
    bright = [each.record for each in nights if not each.share]
    night_s, all_s = sum(each.share * each.length_s for each in nights), sum(each.length_s for each in nights)
    fate = "copied" if settings.skip_bright == "copy" else "left out"
    size_mb = _bytes_of(bright) / share / 1e6
    lines.append(f"bright throughout, to be {fate}: {about}{len(bright) / share:,.0f} ({size_mb:,.1f} MB)")
    lines.append(f"night: {about}{_duration(night_s / share)} of {_duration(all_s / share)}")
    if about:
        lines[-1] += f", by a look at {plural(len(looked_at), 'video')}"
    dark = [each for each in nights if each.share >= max(night.share for night in nights) / 2 > 0]
    if not dark:
        return Estimate(lines, looks_s / share)
    samples = {record.source for record in spread([each.record for each in dark], SAMPLES)}
    tried = [each for each in dark if each.record.source in samples]
    whole = sum(each.share * each.px for each in nights) / share
    sampled = sum(each.px for each in tried)
    tried_share = sampled / max(1, whole) or len(tried) * share / sum(each.share for each in nights)
    estimate = _scaled(lines, "video", _videos_tried([(each.record, each.at) for each in tried], steps), tried_share)
    return replace(estimate, core_s=estimate.core_s + looks_s / share)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Night:
    """How much of a video is night."""

    record: Record
    share: float
    """Share of its length that is night, 0 to 1; 1 if it cannot be looked at."""
    at: float
    """Where it is darkest, as a share of its length."""
    px: float
    """Pixels of all frames."""
    length_s: float

    @classmethod
    def of(cls, record: Record, steps: VideoSteps) -> "_Night":
        """Measure it by a glance."""
        try:
            seen = steps.pass_on.look(record, Clock())
        except NightliftError:  # the trial tells
            seen = None
        if seen is None:
            return cls(record=record, share=1.0, at=0.0, px=px_of(record, steps.inspect.storage), length_s=0.0)
        limit, lumas = steps.pass_on.settings.bright_luma, seen.lumas
        return cls(
            record=record,
            share=seen.night(limit),
            at=lumas.index(min(lumas)) / (len(lumas) - 1),
            px=float(seen.frames * seen.width_px * seen.height_px),
            length_s=seen.length_s,
        )


@dataclass(frozen=True, slots=True)
class _Trial:
    """What came of one sample, scaled to the whole file."""

    seconds: float = 0.0
    bytes_out: float = 0.0
    problem: str = ""


def _counts(plan: Plan, noun: str, formats: Counter[str]) -> list[str]:
    """Return lines on what a plan has to do, and what it leaves out."""
    lines = [f"{noun}s to do: {len(plan.records):,} ({plan.bytes_in / 1e6:,.1f} MB)"]
    lines += [f"  {count:>8,} {name}" for name, count in formats.most_common()]
    lines += by_other_runs(plan)
    for what, refusals in refused(plan).items():
        lines.append(f"{what}: {len(refusals):,}")
        lines += [f"  {refusal.code}: {refusal.message}" for refusal in refusals[:SHOWN]]
        if len(refusals) > SHOWN:
            lines.append(f"  ... and {len(refusals) - SHOWN:,} more")
    return lines


def _scaled(lines: list[str], noun: str, trials: Sequence[_Trial], share: float) -> Estimate:
    """Make the estimate from trials. `share`: of the work of all, which the samples are."""
    problems = [f"  {trial.problem}" for trial in trials if trial.problem]
    if len(problems) == len(trials):
        return Estimate(
            [*lines, f"no estimate: could enhance none of the {plural(len(trials), noun)} tried:", *problems]
        )
    if problems:
        lines += [f"tried {plural(len(trials), noun)}, of which {len(problems)} failed:", *problems]
    lines.append(f"outputs: about {sum(trial.bytes_out for trial in trials) / share / 1e6:,.1f} MB")
    return Estimate(lines, sum(trial.seconds for trial in trials) / share)


def _photos_tried(samples: Sequence[Record], enhanced: Callable[[Record], Outcome]) -> list[_Trial]:
    trials = []
    with tempfile.TemporaryDirectory(prefix="nightlift-") as folder:
        # the first photo of a process waits for what is loaded only then, once for all that follow: it does not count
        for index, record in enumerate([samples[0], *samples]):
            scratch = str(Path(folder) / f"{index}{Path(record.destination).suffix}")
            start = time.monotonic()
            outcome = enhanced(replace(record, destination=scratch, place=None))
            problem = f"{outcome.code}: {outcome.message}" if outcome.outcome == "failed" else ""
            trials.append(_Trial(time.monotonic() - start, outcome.bytes_out, problem))
    return trials[1:]


def _videos_tried(samples: Sequence[tuple[Record, float]], steps: VideoSteps) -> list[_Trial]:
    """Enhance some frames of each sample, around the given share of its length."""
    trials = []
    with tempfile.TemporaryDirectory(prefix="nightlift-") as folder:
        for index, (record, at) in enumerate(samples):
            start = time.monotonic()
            outcome = Outcome.of(record)
            with settling(record, outcome, out_of_memory=OUT_OF_MEMORY):
                trials.append(_video_tried(record, at, steps, Path(folder) / str(index)))
                continue
            trials.append(_Trial(time.monotonic() - start, problem=f"{outcome.code}: {outcome.message}"))
    return trials


def _video_tried(record: Record, at: float, steps: VideoSteps, path: Path) -> _Trial:
    """Enhance a few frames, and scale what that took to the whole video."""
    start = time.monotonic()
    info, segments = steps.inspect(record)
    inspected = time.monotonic()
    count = min(info.frames, FRAMES_TRIED)
    first = min(info.frames - count, round(at * info.frames))
    few = Segment(index=0, first=first, end=first + count)
    frames_at: list[float] = []
    steps.enhance(record, info, few, str(path), on_frame=lambda: frames_at.append(time.monotonic()))
    tried_s, context = time.monotonic() - inspected, steps.enhance.settings.window.context
    first_s = frames_at[0] - inspected if frames_at else tried_s
    seconds = inspected - start + whole_s(info.frames, segments, few, context, first_s, tried_s)
    return _Trial(seconds, info.frames / few.frames * path.stat().st_size)


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

    each_seen_s = first_s / seen(replace(tried, end=tried.first + 1))
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
