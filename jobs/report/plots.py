"""Plots for a page, as self-contained SVG in the colours of the page."""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.report.results import Floats, Rows
from jobs.report.tables import split_by_run
from jobs.report.thumbnails import Clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # takes half a second to import: at run time only if there is something to draw
    from matplotlib.figure import Figure

PAPER, INK, GRID = "#1c1c1f", "#b9b9c0", "#3a3a3f"  # as in page.css
BEFORE, AFTER = "#7d8cc4", "#f2b544"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "figure.facecolor": PAPER,
    "font.size": 10,
    "grid.color": GRID,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "nightlift",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
WIDTH, HEIGHT = 4.8, 2.3  # inches of 72 units
LUMA_BINS = 50
TIME_BINS = 60
LEAST_FILES = 10  # photos needed for a plot of speed
RUNS_SEEN = 8  # newest runs that are searched for one with so many files


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A drawing, with a description in words."""

    url: str = field(repr=False)
    """Data URL, with the whole drawing."""
    words: str
    caption: str = ""


@contextmanager
def dark() -> Iterator[None]:
    """Draw in the colours of the page in the body."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def brightness(files: Rows) -> Plot | None:
    """Plot histograms of the files' mean luma before and after; None if no file has both."""
    before, after = files.lumas
    if not len(before):
        return None
    with dark():
        figure, [axes] = _figure()
        for values, colour, label in ((before, BEFORE, "before"), (after, AFTER, "after")):
            counts, edges = np.histogram(values, LUMA_BINS, (0, 1))
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.55, label=label)
        axes.set_xlim(0, 1)
        axes.set_xlabel("mean luma")
        axes.set_ylabel("files")
        axes.legend()
        middle = f"median {np.median(before):.2f} before, {np.median(after):.2f} after"
        words = f"Histogram of mean luma of {len(before):,} files: {middle}"
        return Plot(url=_svg(figure), words=words, caption=middle)


def throughput(rows: Rows) -> Plot | None:
    """Plot photos and megapixels a second over the newest run with enough photos; None if there is none."""
    for run in split_by_run(rows, RUNS_SEEN):
        photos = run.ended("done") & ~run.is_video & ~run.copied
        ends = run.ends[photos]
        if len(ends) >= LEAST_FILES and ends.max() > run.starts[photos].min():
            return _rates(run.starts[photos].min(), ends, run.pixels[photos] / 1e6)
    return None


def _rates(start: float, ends: Floats, megapixels: Floats) -> Plot:
    """Plot photos and megapixels a second. `start` and `ends`: seconds since 1970."""
    length = float(ends.max() - start)
    bins = int(min(TIME_BINS, max(4, len(ends) // 4)))
    unit, name = (3600, "hours") if length > 3 * 3600 else (60, "minutes") if length > 3 * 60 else (1, "s")
    rates = {"photos/s": np.ones(len(ends)), "megapixels/s": megapixels}
    with dark():
        figure, panels = _figure(panels=2)
        for axes, (label, weights) in zip(panels, rates.items(), strict=True):
            sums, edges = np.histogram(ends - start, bins, (0, length), weights=weights)
            axes.stairs(sums / (length / bins), edges / unit, fill=True, color=AFTER, alpha=0.75)
            axes.set_ylabel(label)
            axes.set_xlim(0, length / unit)
            axes.set_ylim(bottom=0)
        panels[-1].set_xlabel(f"{name} since {datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M:%S} UTC")
        mean = f"{len(ends) / length:,.1f} photos and {megapixels.sum() / length:,.1f} megapixels per second on average"
        return Plot(url=_svg(figure), words=f"Photos and megapixels per second over the run: {mean}", caption=mean)


def clip_curve(clip: Clip) -> Plot | None:
    """Plot a clip's mean luma over time, before and after; None if neither has two frames or more."""
    curves = ((clip.before, BEFORE, "before"), (clip.after, AFTER, "after"))
    drawn = [each for each in curves if len(each[0].at_s) > 1]
    if not drawn:
        return None
    with dark():
        figure, [axes] = _figure(height=1.8)
        for curve, colour, label in drawn:
            axes.plot(curve.at_s, curve.luma, color=colour, marker="o", markersize=3, clip_on=False, label=label)
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.4 * max(max(curve.luma) for curve, _, _ in drawn) + 0.02)  # with room for the legend
        axes.set_xlabel("s")
        axes.set_ylabel("mean luma")
        axes.legend(loc="upper right", ncols=2)
        words = "; ".join(f"{label}: {_in_words(curve.luma)}" for curve, _, label in drawn)
        return Plot(url=_svg(figure), words=f"Mean luma of {clip.name} over time: {words}", caption=words)


def _in_words(luma: Sequence[float]) -> str:
    return f"{luma[0]:.2f} in the first frame, {min(luma):.2f} to {max(luma):.2f} overall"


def _figure(panels: int = 1, height: float = HEIGHT) -> "tuple[Figure, list[Axes]]":
    """Create a figure of panels one above the other, with a shared x axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height * (1 + 0.6 * (panels - 1))), layout="constrained")
    grid = figure.subplots(panels, 1, sharex=True, squeeze=False)
    for axes in grid.flat:
        axes.grid(alpha=0.5)
        axes.set_axisbelow(True)
    return figure, list(grid.flat)


def _svg(figure: "Figure") -> str:
    """Convert a figure to SVG in a data URL."""
    sink = BytesIO()
    figure.savefig(sink, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(sink.getvalue()).decode()}"
