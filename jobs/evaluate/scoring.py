"""Scores of photos, as they are and as networks enhance them, against a reference if there is one.

`find_pairs` lists what to judge; an `Evaluation` judges one photo at a time. No Ray here.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from model import Checkpoint, Enhancer, EstimateSize, Look
from model.quality.metrics import Scores, against_reference, statistics, without_reference
from pipeline.errors import NightliftError
from pipeline.images import decode, format_of
from pipeline.images.color.working_space import space_of
from pipeline.images.photo import to_8_bits
from pipeline.photos import MAX_PIXELS
from pipeline.planning.inputs import Inputs, Selection
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join, redacted

Pixels = npt.NDArray[np.uint8]  # HxWx3 RGB
SHEET = "nightlift_sheet.jpg"  # the contact sheet in OUT
INPUT, REFERENCE = "input", "reference"  # rows of the table besides those of networks


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A photo to judge, and its reference if there is one."""

    name: str
    """Path below the source."""
    photo: str
    """URL or absolute path."""
    reference: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The result for one photo: its scores, or the problem that left it out."""

    name: str
    scores: Mapping[str, Scores] = field(default_factory=dict)
    """Scores by version: `input`, each network's name and `reference`, in this order."""
    problem: str = ""
    """Message with the file, what is wrong and what to do; empty if there is no problem."""
    images: Mapping[str, Pixels] = field(default_factory=dict, repr=False)
    """Small copies by version, if asked for."""


@dataclass(kw_only=True, slots=True)
class Pairs:
    """The result of `find_pairs`."""

    pairs: list[Pair] = field(default_factory=list)
    problems: list[Judgement] = field(default_factory=list)
    """Photos that cannot be read, or have no reference."""
    ignored: list[str] = field(default_factory=list)
    """Files that are not photos, judging by their names."""
    unused: list[str] = field(default_factory=list)
    """References without a photo at the source, selected or not."""
    roots: list[str] = field(default_factory=list)
    """Folders that the paths of photos and of references are relative to."""


def find_pairs(
    storage: Storage, source: str, reference: str | None, selection: Selection, *, outside: str = ""
) -> Pairs:
    """Find the photos at `source` that `selection` accepts, except those below the folder `outside`.

    A photo's reference has the same path below `reference`; the extension may differ. One photo and one reference are
    a pair whatever their names. Raises NotFound and other StorageErrors.
    """
    found = Pairs()
    listing = partial(Inputs, storage, follow_links=selection.follow_links, outside=outside)
    # OUT may be the folder of a glob: the contact sheet of an earlier evaluation is no photo of it
    there = [file for file in listing(source).sorted() if not (outside and file.url == join(outside, SHEET))]
    photos = []
    for file in there:
        if not selection(file.relative):
            continue
        if file.code:
            found.problems.append(Judgement(name=file.relative, problem=f"{redacted(file.url)}: {file.problem}"))
        elif format_of(redacted(file.url)) is None:
            found.ignored.append(file.relative)
        else:
            photos.append(file)
    listed = listing(reference).sorted() if reference else []
    references = _References(listed) if reference else None
    found.roots += [file.folder for file in (*there[:1], *listed[:1])]
    for file in photos:
        if references is None:
            found.pairs.append(Pair(name=file.relative, photo=file.url))
        elif (url := references.of(file, alone=len(photos) == 1)) is not None:
            found.pairs.append(Pair(name=file.relative, photo=file.url, reference=url))
        else:
            problem = f"{file.relative}: no reference, or more than one, has this path in {redacted(reference or '')}"
            found.problems.append(Judgement(name=file.relative, problem=problem))
    if reference and references is not None:
        found.unused = references.unused(there, found.pairs)
    return found


class _References:
    """Reference photos by their paths."""

    def __init__(self, listed: list[Listed]) -> None:
        photos = [file for file in listed if not file.code and format_of(redacted(file.url)) is not None]
        self._exact = {file.relative: file.url for file in photos}
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for file in photos:
            self._by_stem[posixpath.splitext(file.relative)[0]].append(file.url)

    def of(self, photo: Listed, *, alone: bool) -> str | None:
        """Return the URL of a photo's reference; None if there is none, or several that differ only in extension."""
        if photo.relative in self._exact:
            return self._exact[photo.relative]
        candidates = self._by_stem.get(posixpath.splitext(photo.relative)[0], [])
        if alone and len(self._exact) == 1:
            candidates = list(self._exact.values())
        return candidates[0] if len(candidates) == 1 else None

    def unused(self, photos: list[Listed], pairs: list[Pair]) -> list[str]:
        """Return the relative paths of references in no pair that have no photo's name, whatever the extension."""
        stems = {posixpath.splitext(photo.relative)[0] for photo in photos}
        paired = {pair.reference for pair in pairs}
        return [
            relative
            for relative, url in self._exact.items()
            if url not in paired and posixpath.splitext(relative)[0] not in stems
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A judge of photos, small enough to be pickled and sent to each worker."""

    storage: Storage
    networks: Mapping[str, Checkpoint]
    """Networks by their names in the table."""
    look: Look
    estimate_size: EstimateSize = "auto"
    """Same as in `nightlift images`."""
    max_pixels: int = MAX_PIXELS
    thumbnail_px: tuple[int, int] = (480, 480)
    """Width and height within which small copies fit."""

    def __call__(self, pair: Pair, *, with_images: bool = False) -> Judgement:
        """Judge a photo. Never raises: whatever goes wrong is the `problem` of the judgement."""
        try:
            return self._judged(pair, with_images)
        except NightliftError as error:
            problem = str(error)
        except MemoryError:
            problem = "not enough memory for this photo; use fewer --workers or lower --max-pixels"
        except Exception as error:
            problem = f"unexpected error ({type(error).__name__}: {error}); please report it"
        named = any(redacted(url) in problem for url in (pair.photo, pair.reference) if url)
        return Judgement(name=pair.name, problem=problem if named else f"{pair.name}: {problem}")

    def _judged(self, pair: Pair, with_images: bool) -> Judgement:
        photo = self._read(pair.photo)
        reference = None if pair.reference is None else self._read(pair.reference)
        if reference is not None and reference.shape != photo.shape:
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (photo, reference))
            problem = f"{pair.name}: differs in size from its reference ({sizes}); give one of the same size"
            return Judgement(name=pair.name, problem=problem)
        scores: dict[str, Scores] = {}
        images: dict[str, Pixels] = {}
        for name, image in self._versions(photo, reference):
            compared = {} if reference is None or name == REFERENCE else against_reference(image, reference)
            scores[name] = {**compared, **without_reference(image), **statistics(image)}
            if with_images:
                images[name] = self._thumbnail(image)
        return Judgement(name=pair.name, scores=scores, images=images)

    def _versions(self, photo: Pixels, reference: Pixels | None) -> Iterator[tuple[str, Pixels]]:
        """Yield the photo as it is, as each network enhances it, and the reference, each with its name."""
        yield INPUT, photo
        for name, checkpoint in self.networks.items():
            size = checkpoint.estimate_size_for(self.estimate_size)
            yield name, Enhancer(checkpoint, self.look, estimate_size=size, precision="fp32").enhance([photo])[0]
        if reference is not None:
            yield REFERENCE, reference

    def _read(self, url: str) -> Pixels:
        """Read the first frame of a file, upright, as 8-bit sRGB."""
        try:
            photo = decode(self.storage.read(url), max_pixels=self.max_pixels, gain_map=False)
        except NightliftError as error:
            if redacted(url) in str(error):
                raise
            raise type(error)(f"{redacted(url)}: {error}") from error
        pixels, space = photo.frames[0].pixels, space_of(photo)
        pixels = to_8_bits(pixels if space is None else space.srgb(pixels))
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))

    def _thumbnail(self, image: Pixels) -> Pixels:
        thumbnail = Image.fromarray(image)
        thumbnail.thumbnail(self.thumbnail_px, Image.Resampling.LANCZOS)
        return np.array(thumbnail)
