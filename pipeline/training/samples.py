"""The step that makes small upright images of each file, for training. No Ray here.

A photo gives one image, a video several. Whatever happens to a file, it has exactly one outcome.
"""

import hashlib
import io
import time
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipeline.errors import Unsupported
from pipeline.images import decode
from pipeline.images.color.conversion import tagged_to_srgb
from pipeline.images.photo import to_8_bits
from pipeline.images.seen.view import parts_of, views_of
from pipeline.photos import MAX_PIXELS
from pipeline.planning.media_kinds import extension_of, tells_nothing
from pipeline.records import OUTCOME_SCHEMA, Work, settling
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted
from pipeline.video import is_video, sample
from pipeline.video.reading.recognition import HEAD_BYTES

DIGEST_ENDS_BYTES = 1 << 20  # hashed at each end of a video

Pixels = npt.NDArray[np.uint8]  # CxHxW, three channels of sRGB

IMAGES_SCHEMA = OUTCOME_SCHEMA.append(pa.field("digest", pa.string())).append(
    pa.field(
        "images",
        pa.list_(
            pa.struct([("pixels", pa.large_binary()), ("height_px", pa.int64()), ("width_px", pa.int64())]),
        ),
    )
)
"""Columns of a block of read files: the outcome of each, the digest of its content, and its images (uint8 CHW)."""


@dataclass(slots=True)
class Reading(Work):
    """A file on its way to becoming images."""

    digest: str = ""
    """Hash of the content, wherever it lies: the sha256 of a whole photo, or of a video's size and its two ends."""
    images: list[Pixels] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return the row for IMAGES_SCHEMA."""
        images = [
            {"pixels": pixels.tobytes(), "height_px": pixels.shape[1], "width_px": pixels.shape[2]}
            for pixels in self.images
        ]
        return {**self.outcome.row(), "digest": self.digest, "images": images}


@dataclass(frozen=True, slots=True)
class ReadImages:
    """Step from a reference to images of at most `photo_px` a side; a video gives `frames_per_video`, evenly spread.

    Of a photo, only what is seen counts: see `seen/view.py`. What is hidden inside of that is filled.
    """

    storage: Storage
    photo_px: int
    frames_per_video: int
    max_pixels: int = MAX_PIXELS
    """Limit for a photo, all its frames together; larger ones are left out."""

    def __call__(self, reading: Reading) -> Reading:
        with settling(reading.record, reading.outcome, out_of_memory="not enough memory for this file; leave it out"):
            if self._is_video(reading.record.source):
                self._read_video(reading)
            else:
                self._read_photo(reading)
            reading.outcome.frames = len(reading.images)
            reading.outcome.outcome = "done"
        if reading.outcome.code:
            reading.images = []
        return reading

    def _is_video(self, source: str) -> bool:
        """Return whether a file is a video: by its name or, if that tells nothing, by its first bytes."""
        name = redacted(source)
        if tells_nothing(name):
            name += extension_of(name, self.storage.read_part(source, 0, HEAD_BYTES))
        return is_video(name)

    def _read_photo(self, reading: Reading) -> None:
        started = time.perf_counter()
        content = self.storage.read(reading.record.source)
        reading.outcome.seconds_read = time.perf_counter() - started
        reading.outcome.bytes_in = len(content)
        photo = decode(content, max_pixels=self.max_pixels, gain_map=False)
        reading.outcome.seconds_decode = time.perf_counter() - started - reading.outcome.seconds_read
        reading.digest = hashlib.sha256(content).hexdigest()
        reading.outcome.notes += photo.notes
        view = views_of(photo, parts_of(photo))[0]
        if view.visible is not None and not view.visible.any():
            raise Unsupported("it is fully transparent, so there is nothing to learn from; leave it out")
        reading.outcome.height_px, reading.outcome.width_px = photo.frames[0].pixels.shape[:2]
        reading.images = [small(to_8_bits(view.own), self.photo_px, photo.metadata.icc)]

    def _read_video(self, reading: Reading) -> None:
        started = time.perf_counter()
        with self.storage.open(reading.record.source) as file:
            frames = sample(file, self.frames_per_video)
            reading.digest = _digest_of_video(file)
        reading.outcome.seconds_decode = time.perf_counter() - started
        if len(frames) < self.frames_per_video:
            reading.outcome.notes.append(f"only {len(frames)} of {self.frames_per_video} frames could be read")
        reading.outcome.height_px, reading.outcome.width_px = frames[0].shape[:2]
        reading.images = [small(frame, self.photo_px) for frame in frames]


def is_held_out(digest: str, share: float) -> bool:
    """Return whether a file is for validation. Its content decides, so that every run splits files the same way."""
    return int(digest[:8], 16) < share * 2**32


def small(frame: npt.NDArray[np.uint8], long_side_px: int, icc: bytes | None = None) -> Pixels:
    """Scale a frame down to `long_side_px` or less, as CxHxW with three channels of sRGB.

    `frame`: HxWx3 RGB or HxWx1 grey, in the colour space of the profile `icc`; None: sRGB.
    """
    image = Image.fromarray(frame if frame.shape[2] == 3 else frame[..., 0])
    image.thumbnail((long_side_px, long_side_px))
    image = image.convert("RGB") if icc is None else tagged_to_srgb(image, icc)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _digest_of_video(file: BinaryIO) -> str:
    """Hash a video's size and its two ends, not all of it: a video in a bucket may be gigabytes."""
    size = file.seek(0, io.SEEK_END)
    digest = hashlib.sha256(str(size).encode())
    for place in (0, max(0, size - DIGEST_ENDS_BYTES)):
        file.seek(place)
        digest.update(file.read(DIGEST_ENDS_BYTES))
    return digest.hexdigest()
