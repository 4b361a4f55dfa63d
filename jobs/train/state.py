"""The data of one training: what the driver gives to every worker, and what workers save in storage."""

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError

from jobs.train.checks import state_url
from jobs.train.status import Row
from model import CurveNetwork
from model.training.losses import LossWeights
from model.training.recipes import Recipe
from pipeline.errors import NotFound, StorageError
from pipeline.storage.storage import Storage
from pipeline.training.samples import Pixels

IMAGE_S = 60.0  # how long a training worker waits for a lost image


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingImage:
    """An image that is trained on: where it lies in the object store, and which file it comes from."""

    digest: str
    """Digest of the file."""
    frame: int
    """Number of the frame among those taken from a video; 0 for a photo."""
    name: str
    """Name of the file, for messages."""
    block: int
    row: int

    @property
    def identity(self) -> str:
        return f"{self.digest}:{self.frame}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingImages:
    """All images, in Ray's object store, from which any worker can fetch any of them."""

    blocks: Sequence[Any]
    """References to tables of schema `IMAGES_SCHEMA`."""
    trained: Sequence[TrainingImage]
    held_out: Sequence[TrainingImage]

    def pixels(self, image: TrainingImage) -> Pixels:
        """Return an image: CHW, uint8 sRGB, read-only; shared memory if the block is on this machine.

        Raises TimeoutError if the image was lost and is not available again within `IMAGE_S`.
        """
        try:
            block = ray.get(self.blocks[image.block], timeout=IMAGE_S)
        except GetTimeoutError as error:
            raise TimeoutError(
                f"{image.name} was lost with its node, and not read again within {IMAGE_S:.0f} s"
            ) from error
        rows = block["images"].slice(image.row, 1)
        found = rows.chunk(0)[0].values[image.frame]
        shape = (3, found["height_px"].as_py(), found["width_px"].as_py())
        return _array(found["pixels"].as_buffer(), shape)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """The data that every worker is given."""

    storage: Storage
    root: str
    """URL of the folder for results."""
    settings: Mapping[str, Any]
    photos: Sequence[str]
    """Identities of all images."""
    files: Sequence[tuple[str, int]]
    """Relative path and size of each file that was listed."""
    recipe: Recipe
    losses: LossWeights
    network: CurveNetwork = field(repr=False)
    """The network with its initial weights."""
    images: TrainingImages = field(repr=False)
    seed: int
    precision: str
    """`fp32` or `bf16`."""
    threads: int
    """Processor threads of each worker."""
    sheet_every: int
    notes: Mapping[str, str]
    """Metadata of the weights file that is known before the first epoch."""
    status: Any = field(repr=False)
    """Handle of the `TrainingStatus`, on which workers report their progress to the driver."""

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.images.trained) // self.recipe.batch)


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


def _array(buffer: Any, shape: tuple[int, int, int]) -> Pixels:
    import numpy as np

    return np.frombuffer(buffer, np.uint8).reshape(shape)
