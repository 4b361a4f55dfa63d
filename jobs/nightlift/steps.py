"""The steps of a photo for images in memory: those that a job does between reading and writing."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import dumps, loads
from typing import Any, Self

import numpy as np
from PIL import Image

from jobs.images import ImagesConfig
from model import Checkpoint
from pipeline.images import Photo
from pipeline.photos import PhotoSteps, PhotoWork
from pipeline.process import one_torch_thread
from pipeline.records import Record
from pipeline.storage.storage import Storage

from .arrays import array_of, image_like, photo_of_array, photo_of_image
from .options import PhotoOptions, config_of, device_of, without_flags

IN_MEMORY = Record(source="image", version="", size_bytes=0, destination="")
MOST_KEPT = 8  # networks with their settings


@dataclass(frozen=True, slots=True)
class Opened:
    """An image on its way."""

    work: PhotoWork
    close: Callable[[Photo], Any]
    """Returns what it has become, in the kind that it had."""


@dataclass(frozen=True, slots=True)
class ImageSteps:
    """Chain of the steps, for any number of images and threads."""

    config: ImagesConfig
    checkpoint: Checkpoint
    steps: PhotoSteps
    lossy: bool
    """Whether pixels that do not tell where they come from come from a lossy file."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Load the network. `options`: a `PhotoOptions`. Raises TypeError and ValueError for wrong ones."""
        config = config_of(ImagesConfig, PhotoOptions, options)
        with without_flags():
            checkpoint = config.checkpoint()
            settings = config.photo_settings(checkpoint)
        steps = PhotoSteps.of(Storage(), settings, checkpoint, device_of(config.device))
        return cls(config, checkpoint, steps, options.get("lossy", False))

    @property
    def shares_batches(self) -> bool:
        """Return whether images of one shape go through the network together: on a GPU, as in a job.

        On a CPU that gains nothing but for tiny images, and what one becomes would depend on the others, by 1 of 255.
        """
        return self.steps.enhance.enhancer.device.type == "cuda"

    def open(self, image: object) -> Opened:
        """Take up an array, a PIL image or the bytes of a photo. Raises TypeError, ValueError, MediaError."""
        work = PhotoWork.of(IN_MEMORY)
        if isinstance(image, bytes | bytearray | memoryview):
            with without_flags():
                self.steps.decode.decode(work, bytes(image))
            return Opened(work, lambda photo: self.steps.encode.encoded(work, photo))
        if isinstance(image, np.ndarray):
            self.steps.decode.look_at(work, photo_of_array(image, lossy=self.lossy))
            return Opened(work, lambda photo: array_of(photo, image))
        if isinstance(image, Image.Image):
            self.steps.decode.look_at(work, photo_of_image(image, lossy=self.lossy))
            return Opened(work, lambda photo: image_like(photo, image))
        hint = ""
        if type(image).__module__ == "torch":
            *_, last = getattr(image, "shape", (0,))
            hint = f": tensor{'' if last in (1, 3) else '.permute(1, 2, 0)'}.cpu().numpy()"
        raise TypeError(
            f"image is a {type(image).__name__}; give a numpy array (HxWx3 or HxW), a PIL image, the bytes of a photo, "
            f"or a path{hint}"
        )

    def develop(self, opened: Opened) -> Any:
        """Enhance an image and return it. Raises MediaError, MemoryError."""
        work, maps = opened.work, opened.work.maps
        assert work.photo is not None
        with without_flags():
            with one_torch_thread():
                self.steps.enhance.enhance(work, work.photo, maps)
            return opened.close(work.photo)

    def estimate_together(self, images: Sequence[Opened]) -> None:
        """Estimate the curve maps of several images, those of one shape in one batch of the network."""
        with one_torch_thread():
            self.steps.enhance.estimate_together([each.work for each in images])


def kept_steps(options: Mapping[str, Any]) -> ImageSteps:
    """Return the steps with these options, which are made once. A file of weights that has changed is loaded again."""
    weights, changed_ns = options.get("weights"), 0
    if weights is not None:
        with suppress(OSError, TypeError):  # loading it says what is wrong
            changed_ns = Path(weights).stat().st_mtime_ns
    return _kept(dumps(sorted(options.items())), changed_ns)


@lru_cache(maxsize=MOST_KEPT)
def _kept(options: bytes, changed_ns: int) -> ImageSteps:
    return ImageSteps.of(dict(loads(options)))
