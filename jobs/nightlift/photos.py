"""Enhancement of one image: a numpy array, a PIL image, the bytes of a photo, or a file."""

import os
from dataclasses import replace
from typing import Any, Unpack, overload

from PIL import Image

from jobs.bulk.job import Job
from jobs.images import photo_media
from pipeline.photos import EncodeAndWrite, PhotoWork, ReadAndDecode
from pipeline.planning.media_kinds import PHOTOS
from pipeline.storage.credentials import parse_options
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted

from .arrays import Array, image_of_photo
from .one_file import check_is_no_folder, place_of, record_of
from .options import PhotoOptions, without_flags
from .steps import IN_MEMORY, ImageSteps, Opened, kept_steps

Place = str | os.PathLike[str]


class Enhancer:
    """A loaded network with its options, for many images: see `load`. Threads may share it."""

    def __init__(self, steps: ImageSteps) -> None:
        self._steps = steps

    @overload
    def enhance(self, image: Array) -> Array: ...
    @overload
    def enhance(self, image: Image.Image) -> Image.Image: ...
    @overload
    def enhance(self, image: bytes | bytearray | memoryview) -> bytes: ...
    @overload
    def enhance(self, image: Place) -> Image.Image: ...
    @overload
    def enhance(self, image: Place, to: Place) -> str: ...
    def enhance(self, image: Any, to: Place | None = None) -> Any:
        """Enhance one image; see `nightlift.enhance`."""
        if isinstance(image, str | os.PathLike):
            with without_flags():
                return self._shown(image) if to is None else self._written(image, to)
        if to is not None:
            raise TypeError(
                f"to is for a photo given by its path; save the {type(image).__name__} that enhance returns"
            )
        return self._steps.develop(self._steps.open(image))

    def _shown(self, path: Place) -> Image.Image:
        """Read and enhance a photo, as SDR."""
        place = place_of(path)
        storage = Storage.from_environment([place], parse_options(self._steps.config.storage_options))
        decode = ReadAndDecode(storage, replace(self._steps.steps.decode.settings, hdr="sdr"))
        with without_flags(redacted(place)):
            check_is_no_folder(storage, place, PHOTOS.noun)
            record = replace(IN_MEMORY, source=place)
            work = PhotoWork.of(record)
            decode.decode(work, record.content(storage))
            shown: Image.Image = self._steps.develop(Opened(work, image_of_photo))
            return shown

    def _written(self, path: Place, to: Place) -> str:
        """Read a photo, enhance it, and write it. Returns its place."""
        config = replace(self._steps.config, src=place_of(path), dst=os.fspath(to))
        job = Job.of(photo_media(config), config, self._steps.checkpoint, config.src)
        record = record_of(job)
        work = PhotoWork.of(record)
        encode = EncodeAndWrite(job.storage, job.settings)
        with without_flags(redacted(record.source)):
            ReadAndDecode(job.storage, job.settings).decode(work, record.content(job.storage))
            data = self._steps.develop(Opened(work, lambda photo: encode.encoded(work, photo)))
            job.storage.write(record.destination, data, record.claim, record.attributes())
        return record.destination


def load(weights: Place | None = None, /, **options: Unpack[PhotoOptions]) -> Enhancer:
    """Load a network for many images.

        enhancer = nightlift.load(strength=0.7)
        for frame in frames:  # HxWx3 uint8, RGB
            bright = enhancer.enhance(frame)

    `weights`: file of your own network; by default the one that comes with nightlift. `options`: see `enhance`.
    Threads may share what is returned; so may forked processes, unless it is on a GPU. Raises TypeError for an unknown
    option, and ValueError for one out of range, or a file that holds no network.
    """
    return Enhancer(kept_steps({"weights": weights, **options}))


@overload
def enhance(image: Array, **options: Unpack[PhotoOptions]) -> Array: ...
@overload
def enhance(image: Image.Image, **options: Unpack[PhotoOptions]) -> Image.Image: ...
@overload
def enhance(image: bytes | bytearray | memoryview, **options: Unpack[PhotoOptions]) -> bytes: ...
@overload
def enhance(image: Place, **options: Unpack[PhotoOptions]) -> Image.Image: ...
@overload
def enhance(image: Place, to: Place, **options: Unpack[PhotoOptions]) -> str: ...
def enhance(image: Any, to: Place | None = None, **options: Unpack[PhotoOptions]) -> Any:
    """Enhance one image, and return it in its own kind; the input stays as it is.

        bright = nightlift.enhance(pixels)                     # array -> array of the same shape and type
        bright = nightlift.enhance(Image.open("dark.png"))     # PIL image -> PIL image, with the same `info`
        coded = nightlift.enhance(coded, quality=90)           # bytes of a photo -> bytes, with its metadata
        nightlift.enhance("dark.jpg")                          # path or URL -> PIL image, upright, to look at
        nightlift.enhance("dark.jpg", "bright.jpg")            # path or URL -> file or URL; returns its place

    Arrays are HxWx3 (RGB), HxW or HxWx1 (grey), HxWx4 (RGBA) or HxWx2, uint8 or uint16 in the full range of their type;
    they need not be contiguous or writeable. Bytes and files are of any format that `nightlift images` reads, and
    become the same bytes that it writes. A file that nightlift did not write is never replaced.

    `options`: named as the flags of `nightlift images`: strength, iterations, passes, denoise, floor, variant, weights,
    estimate_size, device, precision, format, quality, deflate_level, hdr, max_pixels, no_mark, raw, storage_options.
    And `lossy`: say True for an array of pixels that come from a JPEG or a video, as compression hides noise that only
    the file tells. The network is loaded once for each choice of them.

    Raises TypeError for another kind of image or an unknown option, ValueError for a shape or an option out of range,
    and NightliftError, whose `code` is that of a manifest, for a photo that cannot be read or written.
    """
    enhancer = Enhancer(kept_steps(options))
    return enhancer.enhance(image) if to is None else enhancer.enhance(image, to)
