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

from model import Checkpoint, CurveMaps, Enhancer, Floor, Look, Precision, fingerprint
from pipeline.errors import MediaError
from pipeline.images import FORMATS, Format, Photo, decode, encode, format_of
from pipeline.images.color.high_dynamic_range import transfer_of
from pipeline.images.color.working_space import with_way_back
from pipeline.images.metadata.mark import Mark, marked
from pipeline.images.metadata.xmp import GAIN_MAP_DROPPED
from pipeline.images.photo import Samples
from pipeline.images.recognition import format_of_content
from pipeline.images.seen.view import Mask, Part, parts_of, views_of
from pipeline.records import Record, Work, settling
from pipeline.storage.storage import Storage
from pipeline.video.signal.color import Hdr

REVISION = 7  # increase it when a code change alters the output pixels: then everything is work again
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
    hdr: Hdr = "keep"
    skip_bright: Literal["no", "copy", "leave"] = "no"
    bright_luma: float = 0.45
    skip_hdr: bool = False
    max_pixels: int = MAX_PIXELS
    mark: Mark | None = None
    """What to write into the metadata of enhanced photos; None: nothing."""
    raw: Literal["develop", "preview"] = "develop"
    sequence: Literal["no", "name", "time"] = "no"
    """Order in which the photos of a folder are frames of a film, so that their light is smoothed over time."""

    def fingerprint(self, checkpoint: Checkpoint) -> str:
        """Return a hash of the weights and of the settings that decide a photo's output.

        Equal hashes give equal files on machines of one kind; `precision` "auto" rounds differently on a GPU.
        """
        # `raw` follows the fingerprint of camera raw files, and concerns no others
        unimportant = {"max_pixels", "raw"} | ({"bright_luma"} if self.skip_bright == "no" else set())
        if self.sequence == "no":
            unimportant.add("sequence")  # as before there were sequences
        # of the mark, a new version or a renamed file of the same weights is no reason to do all photos again
        settings = asdict(self) | {"mark": self.mark is not None}
        decisive = {name: value for name, value in settings.items() if name not in unimportant}
        parts = (REVISION, sorted(decisive.items(), key=str), fingerprint(checkpoint))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def written_as(self, destination: str, found: str) -> Format:
        """Return the format of an output: by the extension of its name or, if that tells nothing, by these settings.

        `found`: the format of the photo by its content.
        """
        own = "jpeg" if found == "raw" and self.raw == "preview" else FORMATS[found].written_as
        return format_of(destination) or FORMATS[self.format or own]


@dataclass(slots=True)
class PhotoWork(Work):
    """A photo on its way through the steps."""

    photo: Photo | None = None
    """None once nothing is left to do and `outcome` is final."""
    parts: list[Part] = field(default_factory=list)
    """What of each frame counts."""
    original: bytes | None = None
    """Content of the source, if the photo is bright enough to be passed on unchanged."""
    maps: CurveMaps | None = None
    """Curve maps that were estimated together with other photos', or smoothed over time; kept until they are applied.
    """

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
                data = work.record.content(self.storage)
            work.outcome.bytes_in = len(data)
            with _timed(work, "seconds_decode"):
                work.photo = self.photo_of(data, work.record)
            work.parts = parts_of(work.photo)
            luma = views_of(work.photo, work.parts)[0].luma()
            self._describe(work, work.photo, luma)
            if self.settings.skip_hdr and _is_hdr(work.photo):
                self._leave_out_hdr(work)
            elif self.settings.skip_bright != "no" and luma >= self.settings.bright_luma:
                self._pass_on(work, data, luma)
        return work

    def photo_of(self, data: bytes, record: Record, *, gain_map: bool = True) -> Photo:
        """Decode the content of a record's source. Raises what `decode` raises. `gain_map`: see there."""
        return decode(
            data,
            max_pixels=self.settings.max_pixels,
            hdr_for=self._hdr_for(record, data),
            raw_preview=self.settings.raw == "preview",
            gain_map=gain_map,
        )

    def _hdr_for(self, record: Record, data: bytes) -> Format | None:
        """Return the format that HDR is decoded for; None: convert it to SDR."""
        if self.settings.skip_hdr:  # it is not written, but must be recognised
            return FORMATS["png"]
        if self.settings.hdr == "sdr":
            return None
        named = format_of(record.destination)
        with suppress(MediaError):  # which `decode` raises again
            return named or self.settings.written_as("", format_of_content(data))
        return None

    def _describe(self, work: PhotoWork, photo: Photo, luma: float) -> None:
        height, width = photo.frames[0].pixels.shape[:2]
        work.outcome.width_px, work.outcome.height_px, work.outcome.frames = width, height, len(photo.frames)
        work.outcome.notes += photo.notes
        if photo.format == "raw":
            work.outcome.fingerprint = self.settings.raw
        named = format_of(work.outcome.source)
        if named is not None and named.name != photo.format:
            work.outcome.notes.append(f"its extension stands for {named.name}, but its content is {photo.format}")
        work.outcome.luma_before = work.outcome.luma_after = luma

    def _leave_out_hdr(self, work: PhotoWork) -> None:
        name = posixpath.basename(work.outcome.source)
        work.outcome.outcome, work.outcome.code, work.outcome.notes = "skipped", "is_hdr", []
        work.outcome.message = f"{name}: it is made for HDR screens, and --skip-hdr leaves such photos out"
        work.photo = None

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

        Photos of several frames, too large to share a batch, or not seen as they are stored, are left out. Errors are
        ignored: they occur again, and are recorded, when each photo is enhanced by itself.
        """
        there = [(work, work.photo) for work in works if work.photo is not None and work.original is None]
        sharing: list[tuple[PhotoWork, Photo]] = []
        start = time.perf_counter()
        with suppress(Exception):
            sharing = [(work, photo) for work, photo in there if self._shares_batch(photo, work.parts)]
            pixels = [photo.frames[0].pixels for _, photo in sharing]
            floors = [self._floor(each, photo) for each, (_, photo) in zip(pixels, sharing, strict=True)]
            estimated = self.enhancer.estimate(pixels, floors)
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
                self._enhance(work, work.photo, maps)
        return work

    def light_of(self, photo: Photo) -> tuple[CurveMaps, Samples]:
        """Return the curve maps of a photo of one frame, and the pixels that they are for."""
        parts = parts_of(photo)
        photo = with_way_back(photo)[0]
        view = views_of(photo, parts)[0]
        floor = self._floor(view.pixels, photo, view.visible)
        return self.enhancer.estimate([view.pixels], [floor])[0], view.pixels

    def _shares_batch(self, photo: Photo, parts: Sequence[Part]) -> bool:
        if len(photo.frames) > 1 or not self.enhancer.shares_batch(photo.frames[0].pixels):
            return False
        return views_of(photo, parts)[0].is_plain

    def _floor(self, pixels: Samples, photo: Photo, visible: Mask | None = None) -> Floor | None:
        return self.enhancer.floor_of(pixels, visible=visible, hidden_noise=photo.hidden_noise)

    def _enhance(self, work: PhotoWork, photo: Photo, maps: CurveMaps | None) -> None:
        if self.enhancer.look.leaves_images_alone:
            return
        photo, notes = with_way_back(photo)
        work.outcome.notes += notes
        views = views_of(photo, work.parts)
        if maps is None:
            floors = [self._floor(view.pixels, photo, view.visible) for view in views]
            pixels = self.enhancer.enhance([view.pixels for view in views], floors, in_place=True)
        else:
            pixels = [self.enhancer.apply(views[0].pixels, maps, in_place=True)]
        work.outcome.luma_after = views[0].luma_of(pixels[0])
        frames = [view.enhanced(new) for view, new in zip(views, pixels, strict=True)]
        work.photo = replace(photo, frames=frames)


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
        work.photo, work.original, work.parts = None, None, []  # frees memory: the outcome may wait for others
        return work

    def _encoded(self, work: PhotoWork, photo: Photo) -> bytes:
        if work.original is not None and format_of(work.record.destination) == format_of(work.outcome.source):
            return work.original
        target = self.settings.written_as(work.record.destination, photo.format)
        if self.settings.mark is not None and work.original is None and "xmp" in target.holds:
            photo = replace(photo, metadata=marked(photo.metadata, self.settings.mark))
        data, notes = encode(photo, target.name, quality=self.settings.quality)
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


def _is_hdr(photo: Photo) -> bool:
    """Return whether a photo was made for HDR screens, even if what it has for them cannot be read."""
    has_gain_map = photo.metadata.gain_map is not None or GAIN_MAP_DROPPED in photo.notes
    return has_gain_map or transfer_of(photo) is not None


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
