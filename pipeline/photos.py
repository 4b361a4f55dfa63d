"""The steps a photo goes through: read and decode, enhance, encode and write. Plain callables; no Ray here.

The steps pass on a `PhotoWork`: the record, its outcome so far, and the decoded photo. A photo whose outcome is
settled (failed, or skipped as bright) passes through the remaining steps untouched, so that every record gives exactly
one outcome.
"""

import hashlib
import posixpath
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, Self

from model import Checkpoint, CurveMaps, Enhancer, Look, Precision, fingerprint
from pipeline.images import Frame, Photo, decode, encode, format_of
from pipeline.luma import mean_luma
from pipeline.records import Work, settling
from pipeline.storage.storage import Storage

REVISION = 3  # increase it when a code change alters the output pixels: then everything is work again
MAX_PIXELS = 500_000_000  # default limit for a photo
OUT_OF_MEMORY = "not enough memory for this photo; use fewer --workers, or lower --max-pixels or --estimate-size"


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoSettings:
    """Settings that decide a photo's output, apart from the weights."""

    look: Look = field(default_factory=Look)
    estimate_size: int | None = 256
    precision: Precision = "auto"
    format: str | None = None
    quality: int | None = None
    skip_bright: Literal["no", "copy", "leave"] = "no"
    bright_luma: float = 0.45
    max_pixels: int = MAX_PIXELS

    def fingerprint(self, checkpoint: Checkpoint) -> str:
        """Return a hash of the weights and of the settings that decide a photo's output.

        Equal hashes give equal files on machines of one kind; `precision` "auto" rounds differently on a GPU.
        """
        unimportant = {"max_pixels"} if self.skip_bright != "no" else {"max_pixels", "bright_luma"}
        decisive = {name: value for name, value in asdict(self).items() if name not in unimportant}
        parts = (REVISION, sorted(decisive.items(), key=str), fingerprint(checkpoint))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@dataclass(slots=True)
class PhotoWork(Work):
    """A photo on its way through the steps."""

    photo: Photo | None = None
    """None once nothing is left to do and `outcome` is final."""
    original: bytes | None = None
    """Content of the source, if the photo is bright enough to be passed on unchanged."""
    maps: CurveMaps | None = None
    """Curve maps that were estimated together with other photos'; kept only until they are applied."""

    def unfinished(self) -> Self:
        """Return the photo without anything that steps have made of it."""
        return self.of(self.record)


class ReadAndDecode:
    """Step from a reference to a decoded photo. Settles what cannot be read or decoded, and what is already bright."""

    def __init__(self, storage: Storage, settings: PhotoSettings) -> None:
        self.storage = storage
        self.settings = settings

    def __call__(self, work: PhotoWork) -> PhotoWork:
        work.outcome.started_at = datetime.now(UTC)
        with _settling(work):
            with _timed(work, "seconds_read"):
                data = self.storage.read(work.record.source)
            work.outcome.bytes_in = len(data)
            with _timed(work, "seconds_decode"):
                work.photo = decode(data, max_pixels=self.settings.max_pixels)
            luma = mean_luma(work.photo.frames[0].pixels)
            self._describe(work, work.photo, luma)
            if self.settings.skip_bright != "no" and luma >= self.settings.bright_luma:
                self._pass_on(work, data, luma)
        return work

    def _describe(self, work: PhotoWork, photo: Photo, luma: float) -> None:
        height, width = photo.frames[0].pixels.shape[:2]
        work.outcome.width_px, work.outcome.height_px, work.outcome.frames = width, height, len(photo.frames)
        work.outcome.notes += photo.notes
        named = format_of(work.outcome.source)
        if named is not None and named.name != photo.format:
            work.outcome.notes.append(f"its extension stands for {named.name}, but its content is {photo.format}")
        work.outcome.luma_before = work.outcome.luma_after = luma

    def _pass_on(self, work: PhotoWork, data: bytes, luma: float) -> None:
        """Skip a bright photo: leave it out, or pass it on unchanged."""
        work.outcome.outcome, work.outcome.code = "skipped", "already_bright"
        name, least = posixpath.basename(work.outcome.source), self.settings.bright_luma
        work.outcome.message = f"{name}: mean luma {luma:.2f} is at or above --bright-luma {least:g}"
        if self.settings.skip_bright == "copy":
            work.original = data
        else:
            work.photo = None


class Enhance:
    """Step from a decoded to an enhanced photo. Holds the network: one for each worker."""

    def __init__(self, checkpoint: Checkpoint, settings: PhotoSettings, device: str) -> None:
        self.enhancer = Enhancer(
            checkpoint,
            settings.look,
            estimate_size=settings.estimate_size,
            device=device,
            precision=settings.precision,
        )

    def estimate_together(self, works: Sequence[PhotoWork]) -> None:
        """Estimate the curve maps of several photos, batching those of one shape, which is fastest on a GPU.

        Photos of several frames, or too large to share a batch, are left out. Errors are ignored: they occur again, and
        are recorded, when each photo is enhanced by itself.
        """
        sharing = [(work, work.photo.frames) for work in works if work.photo is not None and work.original is None]
        sharing = [(work, frames) for work, frames in sharing if self._shares_batch(frames)]
        start = time.perf_counter()
        with suppress(Exception):
            estimated = self.enhancer.estimate([frames[0].pixels for _, frames in sharing])
            for (work, _), maps in zip(sharing, estimated, strict=True):
                work.maps = maps
        elapsed_s = time.perf_counter() - start
        for work, _ in sharing:
            work.outcome.add_seconds({"seconds_enhance": elapsed_s / len(sharing)})

    def __call__(self, work: PhotoWork) -> PhotoWork:
        """Enhance a photo that is neither settled nor bright; others pass untouched."""
        maps, work.maps = work.maps, None
        if work.photo is not None and work.original is None:
            with _settling(work), _timed(work, "seconds_enhance"):
                work.photo = self._enhanced(work.photo, maps)
                work.outcome.luma_after = mean_luma(work.photo.frames[0].pixels)
        return work

    def _shares_batch(self, frames: Sequence[Frame]) -> bool:
        return len(frames) == 1 and self.enhancer.shares_batch(frames[0].pixels)

    def _enhanced(self, photo: Photo, maps: CurveMaps | None) -> Photo:
        if maps is None:
            pixels = self.enhancer.enhance([frame.pixels for frame in photo.frames], in_place=True)
        else:
            pixels = [self.enhancer.apply(photo.frames[0].pixels, maps, in_place=True)]
        frames = [replace(frame, pixels=new) for frame, new in zip(photo.frames, pixels, strict=True)]
        return replace(photo, frames=frames)


class EncodeAndWrite:
    """Step from an enhanced photo to a file at the destination and the final outcome."""

    def __init__(self, storage: Storage, settings: PhotoSettings) -> None:
        self.storage = storage
        self.settings = settings

    def __call__(self, work: PhotoWork) -> PhotoWork:
        if work.photo is not None:
            with _settling(work):
                with _timed(work, "seconds_encode"):
                    data = self._encoded(work, work.photo)
                with _timed(work, "seconds_write"):
                    record = work.record
                    self.storage.write(record.destination, data, record.claim, record.attributes())
                work.outcome.bytes_out, work.outcome.sha256 = len(data), hashlib.sha256(data).hexdigest()
                if work.original is None:
                    work.outcome.outcome = "done"
            work.photo = work.original = None  # frees memory: the outcome may have to wait for others
        return work

    def _encoded(self, work: PhotoWork, photo: Photo) -> bytes:
        written = format_of(work.record.destination)
        if work.original is not None and written == format_of(work.outcome.source):
            return work.original
        data, notes = encode(photo, written.name if written else photo.format, quality=self.settings.quality)
        work.outcome.notes += notes
        return data


@dataclass(frozen=True, slots=True)
class PhotoSteps:
    """Chain of all steps, for one process."""

    decode: ReadAndDecode
    enhance: Enhance
    encode: EncodeAndWrite

    @classmethod
    def of(cls, storage: Storage, settings: PhotoSettings, checkpoint: Checkpoint, device: str = "cpu") -> "PhotoSteps":
        return cls(
            ReadAndDecode(storage, settings), Enhance(checkpoint, settings, device), EncodeAndWrite(storage, settings)
        )

    def __call__(self, work: PhotoWork) -> PhotoWork:
        return self.encode(self.enhance(self.decode(work)))


@contextmanager
def _settling(work: PhotoWork) -> Iterator[None]:
    """Settle failures as `settling` does, and drop the content of a photo that failed."""
    with settling(work.record, work.outcome, out_of_memory=OUT_OF_MEMORY):
        yield
    if work.outcome.outcome == "failed" and work.outcome.code:
        work.photo = work.original = None


@contextmanager
def _timed(work: PhotoWork, column: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        work.outcome.add_seconds({column: time.perf_counter() - start})
