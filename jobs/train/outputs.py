"""Files that the first worker writes at the end of an epoch: the weights, and a contact sheet."""

import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator

from jobs.train.state import CLAIMED, WEIGHTS
from jobs.train.status import Row
from jobs.train.training_run import TrainingImage, TrainingRun
from model import Checkpoint, Enhancer, to_bytes
from model.training.augment import darken
from pipeline.images.contact_sheet import SheetRow, coded, contact_sheet
from pipeline.storage.urls import join

SHEET_ROWS = 8
SHEET_CELL_PX = (320, 320)
DIGITS = 6  # after the decimal point, of scores in the weights file


def write_weights(run: TrainingRun, history: Sequence[Row]) -> None:
    """Write `weights.safetensors`, with all that inference needs and how they were trained. Raises StorageError."""
    last = history[-1]
    scores = {
        part: {name.partition("_")[2]: round(value, DIGITS) for name, value in last.items() if name.startswith(part)}
        for part in ("training", "validation")
    }
    notes = {
        **run.notes,
        "epoch": json.dumps(len(history)),
        "training": json.dumps(scores["training"]),
        "validation": json.dumps(scores["validation"]),
    }
    checkpoint = Checkpoint(network=run.network, estimate_size=run.recipe.estimate_size, notes=notes)
    run.storage.write(join(run.root, WEIGHTS), to_bytes(checkpoint), CLAIMED)


def write_sheet(run: TrainingRun, epoch: int, device: str) -> None:
    """Write `sheets/epoch-0010.png`: held-out photos before and after; if training darkens, also darkened ones."""
    checkpoint = Checkpoint(network=run.network, estimate_size=run.recipe.estimate_size)
    enhancer = Enhancer(checkpoint, estimate_size=run.recipe.estimate_size, device=device, precision="fp32")
    titles = ["photo", "enhanced", "darkened", "enhanced"] if run.recipe.augmented else ["photo", "enhanced"]
    rows = []
    for image in _shown(run.images.held_out or run.images.trained):
        photo = run.images.pixels(image).transpose(1, 2, 0)
        before = [photo, _darkened(photo, image)] if run.recipe.augmented else [photo]
        after = enhancer.enhance(before)
        pairs = [shown for pair in zip(before, after, strict=True) for shown in pair]
        rows.append(SheetRow(caption=image.name, images=pairs))
    sheet = contact_sheet(titles, rows, cell_px=SHEET_CELL_PX)
    name = f"epoch-{epoch:04d}.png"
    run.storage.write(join(run.root, "sheets", name), coded(sheet, name), CLAIMED)


def _shown(images: Sequence[TrainingImage]) -> list[TrainingImage]:
    """Choose at most SHEET_ROWS images of different files, spread evenly over all."""
    first_of_files = list({image.digest: image for image in reversed(images)}.values())[::-1]
    count = min(SHEET_ROWS, len(first_of_files))
    return [first_of_files[index * len(first_of_files) // count] for index in range(count)]


def _darkened(photo_HWC: np.ndarray, image: TrainingImage) -> np.ndarray:
    """Darken a photo, always to the same degree for the same photo."""
    photo_BCHW = torch.from_numpy(photo_HWC.copy()).permute(2, 0, 1)[None].float() / 255
    dark_BCHW = darken(photo_BCHW, Generator().manual_seed(int(image.digest[:8], 16)))
    return (dark_BCHW[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
