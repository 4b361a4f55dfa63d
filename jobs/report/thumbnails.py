"""Small images for a page, in pairs of before and after, and the brightness of videos over time.

An image that cannot be made, or not in time, is replaced by a sentence.
"""

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from threading import Thread
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from jobs.report.results import Rows
from pipeline.errors import NightliftError, TooLarge, Unsupported, printable
from pipeline.images import decode
from pipeline.images.photo import to_8_bits
from pipeline.luma import mean_luma
from pipeline.storage.errors import without_secrets
from pipeline.storage.storage import Storage
from pipeline.training.samples import small
from pipeline.video.reading.sampling import frame_after, spread

PAIRS = 6  # pairs of each choice
CLIPS, SAMPLES = 6, 13  # number of clips, and frames of each
THUMBNAIL_PX, JPEG_QUALITY = 400, 80
MOST_PX = 60_000_000  # largest photo that is decoded: 180 MB, times THREADS
THREADS = 4  # mostly waiting for storage
GRACE_S = 3.0  # extra time for images that were begun
OUT_OF_TIME = "left out because time ran out; nightlift report allows more"
HDR_IS_NOT_DRAWN = "high dynamic range (HLG or PQ), which the report cannot show"
SEED = 0  # of the random choice

T = TypeVar("T")
R = TypeVar("R")
Pixels = npt.NDArray[np.uint8]  # HxWx3 RGB
Places = Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """An image on the page, or the reason why there is none."""

    url: str = field(default="", repr=False)
    """Data URL, with the whole image."""
    problem: str = ""
    """Reason why there is no image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Images of a file before and after."""

    name: str
    before: Thumbnail
    after: Thumbnail
    luma_before: float
    luma_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Mean luma in [0, 1] of frames, with their times in seconds after the beginning."""

    at_s: Sequence[float] = ()
    luma: Sequence[float] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A video's brightness over time."""

    name: str
    before: Curve
    after: Curve


def choices(files: Rows) -> list[tuple[str, str, Places]]:
    """Choose files to show: returns title, meaning and places of each choice. No file is in two of them."""
    lumas = files.numbers("luma_before"), files.numbers("luma_after")
    left = files.ended("done") & (files.numbers("bytes_out") > 0) & np.isfinite(lumas[0]) & np.isfinite(lumas[1])
    before, lift = lumas[0], lumas[1] / np.maximum(lumas[0], 1 / 255)
    dark = before <= np.median(before[left]) if left.any() else left
    found: list[tuple[str, str, Places]] = []

    def choose(title: str, meaning: str, order: npt.NDArray[np.intp]) -> None:
        places = order[left[order]][:PAIRS].tolist()
        left[places] = False
        if places:
            found.append((title, meaning, places))

    choose("Darkest", "the lowest mean luma before enhancement", np.argsort(before, kind="stable"))
    least = np.argsort(lift, kind="stable")
    meaning = "in the darker half of all files, the smallest ratio of mean luma after to before"
    choose("Least brightened", meaning, least[dark[least]])
    choose("Random", "the same files in every report", np.random.default_rng(SEED).permutation(len(files)))
    return found


def clips(files: Rows) -> Places:
    """Choose the videos to plot over time: the newest."""
    found: list[int] = np.flatnonzero(files.ended("done") & files.is_video & (files.numbers("bytes_out") > 0)).tolist()
    return found[::-1][:CLIPS]


class Camera:
    """Maker of small images, as many as it has time for.

    `seconds`: time after which it begins no further image.
    """

    def __init__(self, storage: Storage, seconds: float) -> None:
        self._storage = storage
        self._until = time.monotonic() + seconds

    def pairs(self, files: Rows, places: Places) -> list[Pair]:
        """Make the pairs of these files, in their order."""
        names = files.names(places)
        sources, targets = files.raw("source", places), files.raw("destination", places)
        lumas = [files.numbers(column)[list(places)].tolist() for column in ("luma_before", "luma_after")]
        make = [self._video if files.is_video[place] else self._photo for place in places]
        late = Thumbnail(problem=OUT_OF_TIME), Thumbnail(problem=OUT_OF_TIME)
        until = self._until + GRACE_S
        made = _at_once(lambda at: make[at](sources[at], targets[at]), range(len(places)), late, until)
        return [
            Pair(name=name, before=before, after=after, luma_before=dark, luma_after=light)
            for name, (before, after), dark, light in zip(names, made, *lumas, strict=True)
        ]

    def clips(self, files: Rows, places: Places) -> list[Clip]:
        """Make the clips of these videos, in their order."""
        columns = [files.raw(column, places) for column in ("source", "destination")]
        urls = [url for pair in zip(*columns, strict=True) for url in pair]
        curves = _at_once(self._curve, urls, Curve(problem=OUT_OF_TIME), self._until + GRACE_S)
        return [
            Clip(name=name, before=before, after=after)
            for name, before, after in zip(files.names(places), curves[::2], curves[1::2], strict=True)
        ]

    def _photo(self, source: str, target: str) -> tuple[Thumbnail, Thumbnail]:
        return self._thumbnail(lambda: self._still(source)), self._thumbnail(lambda: self._still(target))

    def _video(self, source: str, target: str) -> tuple[Thumbnail, Thumbnail]:
        """Make images of the same moment of both videos, near the middle."""
        at_s = 0.0

        def before() -> Pixels:
            nonlocal at_s
            with self._storage.open(source) as file:
                *_, still = spread(file, 2)
            at_s = still.at_s
            return _sized(still.pixels)

        def after() -> Pixels:
            with self._storage.open(target) as file:
                return _sized(frame_after(file, at_s))

        return self._thumbnail(before), self._thumbnail(after)

    def _still(self, url: str) -> Pixels:
        photo = decode(self._storage.read(url), max_pixels=MOST_PX, gain_map=False)
        return _sized(to_8_bits(photo.frames[0].pixels), photo.metadata.icc)

    def _thumbnail(self, make: Callable[[], Pixels]) -> Thumbnail:
        try:
            self._check_time()
            return Thumbnail(url=as_url(Image.fromarray(make())))
        except Exception as error:  # any error costs only this image
            return Thumbnail(problem=reason(error))

    def _curve(self, url: str) -> Curve:
        at_s, luma = list[float](), list[float]()
        try:
            self._check_time()
            with self._storage.open(url) as file:
                for still in spread(file, SAMPLES):
                    at_s.append(still.at_s)
                    luma.append(mean_luma(still.pixels))
                    self._check_time()
        except Exception as error:
            return Curve(at_s=at_s, luma=luma, problem=reason(error))
        return Curve(at_s=at_s, luma=luma)

    def _check_time(self) -> None:
        """Raise _OutOfTime if the time is over."""
        if time.monotonic() > self._until:
            raise _OutOfTime(OUT_OF_TIME)


def as_url(image: Image.Image) -> str:
    """Return the image as a JPEG in a data URL."""
    sink = BytesIO()
    image.save(sink, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


class _OutOfTime(Exception):
    pass


def _at_once(make: Callable[[T], R], of: Sequence[T], late: R, until: float) -> list[R]:
    """Make several at a time. Those not ready by `until` are `late`: storage may hang for minutes, even on Ctrl-C.

    `make`: raises nothing. `until`: on the monotonic clock.
    """
    made: dict[int, R] = {}
    left = iter(range(len(of)))  # its next() is atomic: no two threads get the same number

    def work() -> None:
        for at in left:
            made[at] = make(of[at])

    threads = [Thread(target=work, daemon=True) for _ in range(min(THREADS, len(of)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return [made.get(at, late) for at in range(len(of))]


def _sized(pixels: Pixels, icc: bytes | None = None) -> Pixels:
    return np.ascontiguousarray(small(pixels, THUMBNAIL_PX, icc).transpose(1, 2, 0))


def reason(error: Exception) -> str:
    """Return why there is no image, in words for people."""
    if isinstance(error, TooLarge):
        return f"has more than {MOST_PX // 10**6} million pixels, too many for the report"
    if isinstance(error, Unsupported) and "HDR" in str(error):
        return HDR_IS_NOT_DRAWN
    if isinstance(error, NightliftError | _OutOfTime):
        return printable(without_secrets(str(error)))
    return printable(without_secrets(f"{type(error).__name__}: {error}"))
