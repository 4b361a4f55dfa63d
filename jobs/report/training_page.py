"""The report of a training, made from the files in its folder."""

import base64
import io
import json
import re
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs.progress import counted
from jobs.report import tables
from jobs.report.page import filled
from jobs.report.plots import Plot, dark
from jobs.report.results import Results, Rows
from jobs.report.thumbnails import as_url, reason
from pipeline.errors import NotFound, StorageError, UsageError
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join, redacted

LOSSES, WEIGHTS = "losses.parquet", "weights.safetensors"
SHEETS, SHEET_PX = 5, (720, 4000)  # number of sheets, and the box in pixels that each is reduced to fit
SHEET_NAME = re.compile(r"epoch-(\d+)\.png")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A contact sheet of held-out photos."""

    epoch: int
    url: str = field(default="", repr=False)
    problem: str = ""
    """Reason why there is no image."""


def is_training(storage: Storage, root: str) -> bool:
    """Return whether a training has finished an epoch there. Raises StorageError."""
    return storage.exists(join(root, LOSSES))


def training_page(storage: Storage, root: str) -> bytes:
    """Return the HTML. Raises StorageError if the losses or the manifest cannot be read."""
    history = _history(storage, root)
    notes = _notes(storage, root)
    photos = notes.get("photos", {})
    files = _files(storage, root)
    count = counted(len(history), "epoch")
    seen = f" on {photos['count']:,} photos and frames, {photos['held_out']:,} held out" if photos else ""
    headline = f"{count} of training{seen}."
    return filled(
        "training.html",
        title=f"nightlift: {headline}",
        headline=headline,
        place=f"In {redacted(root)}",
        written=datetime.now(UTC),
        totals=_totals(history),
        losses=_losses(history),
        sheets=_sheets(storage, root),
        held_out=photos.get("held_out", 1),
        files=tables.summary(files) if files else "",
        groups=tables.groups(files) if files else [],
        settings=tables.readable(notes.get("settings", {})),
    )


def _history(storage: Storage, root: str) -> list[dict[str, float]]:
    """Read the losses: a row for each epoch. Raises StorageError."""
    url = join(root, LOSSES)
    try:
        found: list[dict[str, float]] = pq.read_table(io.BytesIO(storage.read(url))).to_pylist()
        if found and {"epoch", "seconds", "training_total"} <= found[0].keys():
            return found
    except pa.ArrowException as error:
        raise StorageError(f"{url}: cannot be read as a table ({error}); run the training again to continue") from error
    raise StorageError(f"{url}: not a table of losses that nightlift wrote; give the OUT of train")


def _files(storage: Storage, root: str) -> Rows | None:
    """Return the manifest's rows of the files that were read; None if there is no manifest."""
    try:
        return Results.read(storage, root).files
    except UsageError:
        return None


def _notes(storage: Storage, root: str) -> dict[str, Any]:
    """Read what the weights file records about its training; empty if there is no such file.

    A safetensors file begins with the length of its header, which is JSON.
    """
    with suppress(NotFound, ValueError, KeyError, struct.error):
        content = storage.read(join(root, WEIGHTS))
        (length,) = struct.unpack_from("<Q", content)
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        return {name: json.loads(metadata[name]) for name in ("settings", "photos") if name in metadata}
    return {}


def _totals(history: Sequence[Mapping[str, float]]) -> list[tuple[str, str]]:
    first, last = history[0], history[-1]
    found = [("epochs", f"{len(history):,}"), ("time", tables.lasting(sum(row["seconds"] for row in history)))]
    for part in ("training", "validation"):
        if (name := f"{part}_total") in last:
            found.append((f"{part} loss", f"{first[name]:.3f} → {last[name]:.3f}"))
    return found


def _losses(history: Sequence[dict[str, float]]) -> Plot:
    from jobs.train.loss_record import drawing  # imports Ray

    with dark():
        png = base64.b64encode(drawing(history)).decode()
    last = history[-1]
    names = [name for name in last if name.startswith(("training_", "validation_"))]
    words = ", ".join(f"{name.replace('_', ' ')} {last[name]:.3f}" for name in names)
    return Plot(url=f"data:image/png;base64,{png}", words=f"Weighted losses by epoch; in the last epoch: {words}")


def _sheets(storage: Storage, root: str) -> list[Sheet]:
    """Read the last sheet and a few before it, evenly spread, newest first."""
    try:
        listed = storage.list_files(join(root, "sheets"))
    except NotFound:
        return []
    found = {int(match[1]): file.url for file in listed if (match := SHEET_NAME.fullmatch(file.relative))}
    epochs = sorted(found, reverse=True)
    count = min(SHEETS, len(epochs))
    chosen = [epochs[at * (len(epochs) - 1) // max(1, count - 1)] for at in range(count)]
    return [_sheet(storage, epoch, found[epoch]) for epoch in chosen]


def _sheet(storage: Storage, epoch: int, url: str) -> Sheet:
    try:
        image = Image.open(io.BytesIO(storage.read(url)))
        image.thumbnail(SHEET_PX)
        return Sheet(epoch=epoch, url=as_url(image.convert("RGB")))
    except Exception as error:  # any error costs only this image
        return Sheet(epoch=epoch, problem=reason(error))
