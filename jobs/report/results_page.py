"""The report of a job over many files, made from its manifest, settings and outputs."""

from datetime import UTC, datetime

from jobs.report import plots, tables
from jobs.report.page import filled
from jobs.report.results import Results
from jobs.report.thumbnails import Camera, choices, clips
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted


def results_page(results: Results, storage: Storage, *, seconds: float) -> bytes:
    """Return the HTML. `storage`: reaches sources and outputs. `seconds`: limit for images. Raises StorageError."""
    files = results.files
    camera = Camera(storage, seconds)
    pairs = [(title, meaning, camera.pairs(files, places)) for title, meaning, places in choices(files)]
    videos = camera.clips(files, clips(files))
    notes, other_notes = tables.notes(files)
    runs, older_runs = tables.runs(results.rows)
    summary = tables.summary(files)
    return filled(
        "results.html",
        title=f"nightlift: {summary}",
        headline=summary,
        place=f"From {files.folder} to {redacted(results.root)}" if files.folder else f"To {redacted(results.root)}",
        written=datetime.now(UTC),
        totals=tables.totals(files) + tables.cost(storage, results.root, files),
        groups=tables.groups(files),
        pairs=pairs,
        brightness=plots.brightness(files),
        throughput=plots.throughput(results.rows),
        clips=[(clip, plots.clip_curve(clip)) for clip in videos],
        stages=tables.stages(files),
        notes=notes,
        other_notes=other_notes,
        runs=runs,
        older_runs=older_runs,
        settings=tables.settings(storage, results.root),
    )
