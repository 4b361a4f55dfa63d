"""The record of a training, made by the driver from its history: a table, a drawing, a file for TensorBoard."""

import io
import tempfile
import time
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from jobs.train.state import CLAIMED, EVENTS
from jobs.train.status import Row
from pipeline.errors import NotFound
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join

WRITE_SHARE = 0.03  # of the time, at most, goes into writing the record; the last write is exempt
COLUMNS = 4  # of the drawing
FEW_EPOCHS = 10  # with fewer, each is marked by a dot
TRAINING_COLOUR, VALIDATION_COLOUR, OTHER_COLOUR = "#3b6fb6", "#d9822b", "#6b6b70"
PARQUET = "losses.parquet"


class TrainingRecord:
    """The record at `root`: `losses.parquet`, `losses.png` and `tensorboard/`, kept up to date with a history."""

    def __init__(self, storage: Storage, root: str) -> None:
        self._storage = storage
        self._root = root
        self._rows = 0
        self._free_at = 0.0

    def update(self, history: Sequence[Row], *, last: bool = False) -> None:
        """Write the record if epochs are new and, unless `last`, WRITE_SHARE allows it. Raises StorageError."""
        if len(history) <= self._rows or (not last and time.monotonic() < self._free_at):
            return
        started = time.monotonic()
        self._storage.write(join(self._root, "losses.png"), drawing(history), CLAIMED)
        self._storage.write(join(self._root, "tensorboard", EVENTS), events(history), CLAIMED)
        self._storage.write(join(self._root, PARQUET), parquet(history), CLAIMED)
        self._rows = len(history)
        self._free_at = time.monotonic() + (time.monotonic() - started) / WRITE_SHARE


def recorded(storage: Storage, root: str) -> int:
    """Return the number of epochs in the record at `root`, from the file that is written last."""
    try:
        return int(pq.read_metadata(io.BytesIO(storage.read(join(root, PARQUET)))).num_rows)
    except (NotFound, pa.ArrowException):
        return 0


def parquet(history: Sequence[Row]) -> bytes:
    """Convert a history to a Parquet file with one row for each epoch."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{**row, "epoch": int(row["epoch"])} for row in history]), sink)
    return sink.getvalue()


def drawing(history: Sequence[Row]) -> bytes:
    """Draw a PNG with one panel for each loss, total first, then gradient norm and learning rate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second: only when drawing
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = [name.removeprefix("training_") for name in history[-1] if name.startswith("training_")]
    panels = [(name, f"training_{name}", f"validation_{name}") for name in names]
    panels += [("gradient norm", "gradient_norm", ""), ("learning rate", "learning_rate", "")]
    lines = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(3.4 * COLUMNS, 2.5 * lines + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in history]
    look = {"marker": "o" if len(history) < FEW_EPOCHS else "", "markersize": 3, "clip_on": False}
    beside = max(0.5, 0.02 * len(history))  # room beside the first and the last epoch
    grid = figure.subplots(lines, COLUMNS, squeeze=False)
    for axes, (title, training, validation) in zip(grid.flat, panels, strict=False):
        colour = TRAINING_COLOUR if validation else OTHER_COLOUR
        axes.plot(epochs, [row[training] for row in history], color=colour, label="training", **look)
        if validation in history[-1]:
            values = [row[validation] for row in history]
            axes.plot(epochs, values, color=VALIDATION_COLOUR, linestyle="--", label="validation", **look)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlim(epochs[0] - beside, epochs[-1] + beside)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        drawn = [row[name] for row in history for name in (training, validation) if name in row]
        axes.set_ylim(0, 1.08 * max(filter(isfinite, drawn), default=0) or 1)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    figure.suptitle("weighted losses by epoch", fontsize=11, x=0.01, ha="left")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="upper right", ncols=2, fontsize=9, frameon=False)
    sink = io.BytesIO()
    figure.savefig(sink, dpi=110)
    return sink.getvalue()


def events(history: Sequence[Row]) -> bytes:
    """Return a TensorBoard event file with all numbers of all epochs, timed as if the epochs had run without a break
    until now."""
    clock = time.time() - sum(row["seconds"] for row in history)
    with tempfile.TemporaryDirectory(prefix="nightlift-") as folder:
        path = Path(folder, "events")
        writer = RecordWriter(str(path))
        writer.write(Event(wall_time=clock, file_version="brain.Event:2").SerializeToString())
        for row in history:
            clock += row["seconds"]
            values = [Summary.Value(tag=_tag(name), simple_value=value) for name, value in row.items()]
            event = Event(wall_time=clock, step=int(row["epoch"]), summary=Summary(value=values))
            writer.write(event.SerializeToString())
        writer.close()
        return path.read_bytes()


def _tag(name: str) -> str:
    """Return the tag of a number, such as `flat/training`: TensorBoard draws it together with `flat/validation`."""
    part, _, loss = name.partition("_")
    return f"{loss}/{part}" if part in ("training", "validation") else name
