"""What the driver of a training gives to every worker: the images, and how to train on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError

from model import CurveNetwork
from model.training.losses import LossWeights
from model.training.recipes import Recipe
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


def _array(buffer: Any, shape: tuple[int, int, int]) -> Pixels:
    return np.frombuffer(buffer, np.uint8).reshape(shape)
