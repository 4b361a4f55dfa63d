"""The kinds of files that jobs tell apart: by their names, or by their first bytes where a name tells nothing."""

import posixpath
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from pipeline.errors import UsageError
from pipeline.images import FORMATS, format_by_content, format_of
from pipeline.images import recognition as photos
from pipeline.images.formats import OTHER_RAW
from pipeline.planning.history import OTHER_KIND
from pipeline.planning.raw_pairs import RawPairs, twin_in
from pipeline.records import Record
from pipeline.sequences.order import Again, Order, in_sequence
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.video import is_video
from pipeline.video.reading import recognition as videos
from pipeline.video.reading.containers import CONTAINERS, REPLACED, SHARED, SOUND, muxer_of, written_name

EXTENSIONS = {*CONTAINERS, *REPLACED, *(extension for known in FORMATS.values() for extension in known.extensions)}
MOVED = re.compile(  # an extension, and what downloads, backups and Google Takeout put behind it
    rf"(.+)({'|'.join(map(re.escape, sorted(EXTENSIONS, key=len, reverse=True)))})([^a-z0-9/][^/]*)", re.IGNORECASE
)
BEHIND = re.compile(r"\s*(\(\d+\))?\s*$")  # what Google Takeout and others put behind an extension


def tells_nothing(name: str) -> bool:
    """Return whether the name of a file does not tell what it is."""
    is_raw = posixpath.splitext(name)[1].lower() in OTHER_RAW
    return format_of(name) is None and not is_video(name) and not is_raw


def _is_of_macos(name: str) -> bool:
    """Return whether this is the name of a file in which macOS keeps notes on another, on disks of other systems."""
    return posixpath.basename(name).startswith("._")


def is_cut(name: str) -> bool:
    """Return whether a name has no extension, or what is left of a known one: `.jp`, `.jpg(1)`, `.jpg~`."""
    if MOVED.fullmatch(name):
        return True
    extension = BEHIND.sub("", posixpath.splitext(name)[1].lower())
    return any(known.startswith(extension) for known in EXTENSIONS)


def with_extension(name: str, extension: str) -> str:
    """Return the name of a photo or video with the extension that its content stands for, or its own, at the end.

    `clip.mp4(1)` becomes `clip(1).mp4`, `clip.MP4~` becomes `clip~.MP4`, and `clip` becomes `clip.mp4`.
    """
    found = MOVED.fullmatch(name)
    if not found:
        return name + extension
    stem, own, behind = found.groups()
    are_videos = is_video(stem + own) and is_video(name + extension)
    return stem + behind + (own if are_videos else extension)


def extension_of(name: str, head: bytes) -> str:
    """Return the extension that a file's first `HEAD_BYTES` stand for; "" if it is what its name tells, or unknown."""
    if VIDEOS.doubts(name):
        return videos.other_by_content(head)
    found = format_by_content(head[: photos.HEAD_BYTES])
    is_sound = posixpath.splitext(name)[1].lower() in SOUND
    return found.extensions[0] if found else "" if is_sound else videos.extension_by_content(head)


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind(ABC):
    """A kind of files, such as photos: which files are inputs, and how their outputs are named."""

    noun: ClassVar[str]
    unknown: ClassVar[str] = ""
    """Extension for a file that the user named alone, and whose name and content tell nothing."""
    gives_way: ClassVar[bool] = False
    """Whether an output that another kind's job has made of a file stays."""
    known_as: Mapping[str, str] = field(default_factory=dict)
    """Names with the right extension, of files whose own names tell nothing, by path below the source."""

    @property
    def refusal(self) -> str:
        """Return the code for a file that is not of this kind."""
        return OTHER_KIND + self.noun

    def knowing(self, known_as: Mapping[str, str]) -> Self:
        """Return the same kind, which knows what these files are."""
        return replace(self, known_as=known_as)

    def doubts(self, name: str) -> bool:
        """Return whether a name is that of an input, but other files have such names, too: `a.ts` or `a.ogg`."""
        return False

    def described(self, name: str) -> str:
        """Return words on what a file of this name or path is, if its extension belies that; else ""."""
        if _is_of_macos(name):
            return "notes of macOS on another file"
        return videos.OTHERS.get(posixpath.splitext(self.known_as.get(name, name).removeprefix(name))[0], "")

    def accepts(self, name: str) -> bool:
        """Return whether a file of this name or path is an input. As a destination, such a name means a single file."""
        return self.takes(self.known_as.get(name, name))

    @abstractmethod
    def takes(self, name: str) -> bool:
        """Return whether this is the name of a file of this kind."""

    @abstractmethod
    def renamed(self, relative: str, wanted: str | None) -> str:
        """Return the path of the output. `wanted`: the requested format or container; None: the file's own."""

    def twin_in(self, names: Callable[[], Iterable[str]]) -> Callable[[str], str]:
        """Return a function that says why a file is left out for another one of `names`; "" if it is not."""
        return lambda name: ""

    def placed(self, records: list[Record], files: Iterable[Listed], storage: Storage, again: Again) -> list[Record]:
        """Return records in the order of work, each with what it has to know of other `files`, all of this kind.

        `again`: see `in_sequence`.
        """
        return records

    @abstractmethod
    def check_writable(self, name: str, wanted: str | None) -> None:
        """Raise UsageError where an output of this name cannot be written, or not as `wanted`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Photos(Kind):
    noun: ClassVar[str] = "photo"
    unknown: ClassVar[str] = ".jpg"
    raw_as: str | None = None
    """Format of the outputs of camera raw files, unless one is requested; None: as in FORMATS."""
    raw_pairs: RawPairs = "both"
    sequence: Order | None = None
    """Order in which photos follow each other over time; None: they do not."""

    def takes(self, name: str) -> bool:
        return format_of(name) is not None and not _is_of_macos(name)

    def renamed(self, relative: str, wanted: str | None) -> str:
        known_as = self.known_as.get(relative, relative)
        own = format_of(known_as)
        if own is None:
            return relative
        written = FORMATS[wanted or (own.name == "raw" and self.raw_as) or own.written_as]
        return relative if written == own else posixpath.splitext(known_as)[0] + written.extensions[0]

    def twin_in(self, names: Callable[[], Iterable[str]]) -> Callable[[str], str]:
        def right(name: str) -> str:
            return self.known_as.get(name, name)

        reason = twin_in(lambda: map(right, names()), self.raw_pairs)
        return lambda name: reason(right(name))

    def placed(self, records: list[Record], files: Iterable[Listed], storage: Storage, again: Again) -> list[Record]:
        if self.sequence is None:
            return records
        named = ((file, self.known_as.get(file.relative, file.relative)) for file in files)
        return in_sequence(records, named, self.sequence, storage, again)

    def check_writable(self, name: str, wanted: str | None) -> None:
        written = format_of(name)
        if written is None or not written.writable or wanted not in (None, written.name):
            unwritten = wanted or (written.name if written else "a photo")
            raise UsageError(f"{name}: cannot be written as {unwritten}; change the extension")


class Videos(Kind):
    noun = "video"
    unknown = ".mp4"

    def takes(self, name: str) -> bool:
        return is_video(name) and not _is_of_macos(name)

    def doubts(self, name: str) -> bool:
        return posixpath.splitext(name)[1].lower() in SHARED

    def renamed(self, relative: str, wanted: str | None) -> str:
        known_as = self.known_as.get(relative, relative)
        return written_name(known_as, wanted) if is_video(known_as) else relative

    def check_writable(self, name: str, wanted: str | None) -> None:
        muxer_of(name)
        if wanted not in (None, posixpath.splitext(name)[1].lower()):
            raise UsageError(f"{name}: cannot be written as {wanted}; change the extension")


@dataclass(frozen=True, kw_only=True, eq=False)
class Others(Kind):
    """Files that are of none of the `kinds`: copied, never enhanced."""

    noun = "other file"
    gives_way = True
    kinds: tuple[Kind, ...]

    def takes(self, name: str) -> bool:
        return not any(kind.takes(name) for kind in self.kinds)

    def renamed(self, relative: str, wanted: str | None) -> str:
        return relative

    def check_writable(self, name: str, wanted: str | None) -> None:
        raise UsageError(f"{name}: names one file, but other files may be many; give a folder as DST")


PHOTOS, VIDEOS = Photos(), Videos()
