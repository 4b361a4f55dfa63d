"""`--dry-run`: what a run would do, and about how long it would take."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.images import format_of
from pipeline.photos import Development, PhotoSteps
from pipeline.plan import Plan
from pipeline.records import Outcome, Record
from pipeline.storage import shown

SAMPLES = 5
START_UP_S = 15.0  # Ray and the workers, before the first photo
SHOWN = 10


def dry_run_report(plan: Plan, steps: PhotoSteps, workers: int | None) -> str:
    """Counts, formats, refused files, bytes, and an estimate from doing a few of the photos into a scratch folder."""
    workers = workers or os.cpu_count() or 1
    formats = Counter(_format_name(shown(record.source)) for record in plan.records)
    lines = [f"{len(plan.records)} photos to do, {plan.bytes_in / 1e6:,.1f} MB"]
    lines += [f"  {count:>8,} {name}" for name, count in formats.most_common()]
    lines.append(f"{plan.done} done before")
    lines.append(f"{len(plan.refused)} files that would not be enhanced")
    lines += [f"  {outcome.code}: {outcome.message}" for outcome in plan.refused[:SHOWN]]
    if len(plan.refused) > SHOWN:
        lines.append(f"  ... and {len(plan.refused) - SHOWN} more")
    if plan.records:
        lines += _estimate(plan, steps, workers)
    lines.append("nothing was written")
    return "\n".join(lines)


def _estimate(plan: Plan, steps: PhotoSteps, workers: int) -> list[str]:
    """Time a few photos, spread over the range of sizes, and scale their seconds by bytes."""
    torch.set_num_threads(1)
    samples = _spread(sorted(plan.records, key=lambda record: record.size_bytes))
    start = time.monotonic()
    outcomes = _tried(samples, steps)
    seconds = time.monotonic() - start
    done = [outcome for outcome in outcomes if outcome.outcome == "done"]
    lines = [f"  {outcome.code}: {outcome.message}" for outcome in outcomes if outcome.outcome == "failed"]
    if not done:
        return [*lines, "no estimate: none of the photos that were tried could be enhanced"]
    # by bytes, or by count where the store tells no sizes
    tried = sum(record.size_bytes for record in samples)
    share = tried / plan.bytes_in if tried else len(samples) / len(plan.records)
    total_s = seconds / share / workers
    bytes_out = sum(outcome.bytes_out for outcome in done) / share
    return [
        f"tried {len(samples)} of them, {len(done)} well:",
        *lines,
        f"about {_duration(total_s + START_UP_S)} with {workers} workers like this machine's cores",
        f"about {bytes_out / 1e6:,.1f} MB at the destination",
    ]


def _tried(samples: Sequence[Record], steps: PhotoSteps) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="nightlift-") as folder:
        scratch = [
            str(Path(folder) / f"{index}{Path(record.destination).suffix}") for index, record in enumerate(samples)
        ]
        return [
            steps(Development.of(replace(record, destination=destination))).outcome
            for record, destination in zip(samples, scratch, strict=True)
        ]


def _spread(records: Sequence[Record]) -> list[Record]:
    """At most SAMPLES records at regular ranks."""
    count = min(SAMPLES, len(records))
    return [records[(2 * rank + 1) * len(records) // (2 * count)] for rank in range(count)]


def _format_name(url: str) -> str:
    found = format_of(url)
    return found.name if found else "other"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
