"""What a training keeps in storage: the names of its results, and its state after an epoch, which a run resumes."""

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from jobs.train.status import Row
from pipeline.errors import NotFound, StorageError
from pipeline.storage.ownership import Claim
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, join

# names in OUT
WEIGHTS = "weights.safetensors"
EVENTS = "events.out.tfevents.nightlift"  # TensorBoard recognises its files by "tfevents" in their names
RESULTS = (WEIGHTS, "losses.parquet", "losses.png", f"tensorboard/{EVENTS}")
SHEETS = "sheets/epoch-*.png"
CLAIMED = Claim(anything=True)  # as `claim_names` has checked


@dataclass(frozen=True, slots=True)
class State:
    """A training after an epoch: all that is needed to resume it."""

    settings: Mapping[str, Any]
    """All that decides the result; a run resumes the training only if it has the same settings."""
    precision: str
    photos: Sequence[str]
    """Identities of all its images."""
    history: list[Row]
    network: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    files: Sequence[tuple[str, int]] = ()
    """Relative path and size of each file that it began with."""

    @property
    def epoch(self) -> int:
        return len(self.history)


def state_url(root: str) -> str:
    return join(root, FOLDER, "training.pt")


def read_state(storage: Storage, root: str) -> State | None:
    """Read the saved state; None if no epoch has been finished. Raises StorageError."""
    url = state_url(root)
    try:
        content = storage.read(url)
    except NotFound:
        return None
    try:
        return State(**torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except (EOFError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise StorageError(f"{url}: is not the saved state of a training ({error}); start over with --fresh") from error


def write_state(storage: Storage, root: str, state: State) -> None:
    """Write the state atomically. Raises StorageError."""
    content = io.BytesIO()
    torch.save({name: getattr(state, name) for name in State.__slots__}, content)
    storage.write(state_url(root), content.getvalue())
