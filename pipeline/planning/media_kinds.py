"""The kinds of media that are enhanced, told apart only by the names of files."""

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from pipeline.errors import UsageError
from pipeline.images import FORMATS, format_of
from pipeline.planning.history import OTHER_KIND
from pipeline.planning.raw_pairs import RawPairs, twin_in
from pipeline.video import is_video
from pipeline.video.reading.containers import muxer_of, written_name


class Kind(ABC):
    """A kind of media, photos or videos: which names are inputs, and how their outputs are named."""

    noun: ClassVar[str]

    @property
    def refusal(self) -> str:
        """Return the code for a file that is not of this kind."""
        return OTHER_KIND + self.noun

    @abstractmethod
    def accepts(self, name: str) -> bool:
        """Return whether a file of this name or path is an input. As a destination, such a name means a single file."""

    @abstractmethod
    def renamed(self, relative: str, wanted: str | None) -> str:
        """Return the path of the output. `wanted`: the requested format or container; None: the file's own."""

    def twin_in(self, names: Callable[[], Iterable[str]]) -> Callable[[str], str]:
        """Return a function that says why a file is left out for another one of `names`; "" if it is not."""
        return lambda name: ""

    @abstractmethod
    def check_writable(self, name: str, wanted: str | None) -> None:
        """Raise UsageError where an output of this name cannot be written, or not as `wanted`."""


@dataclass(frozen=True, kw_only=True)
class Photos(Kind):
    noun: ClassVar[str] = "photo"
    raw_as: str | None = None
    """Format of the outputs of camera raw files, unless one is requested; None: as in FORMATS."""
    raw_pairs: RawPairs = "both"

    def accepts(self, name: str) -> bool:
        return format_of(name) is not None

    def renamed(self, relative: str, wanted: str | None) -> str:
        own = format_of(relative)
        if own is None:
            return relative
        written = FORMATS[wanted or (own.name == "raw" and self.raw_as) or own.written_as]
        return relative if written == own else posixpath.splitext(relative)[0] + written.extensions[0]

    def twin_in(self, names: Callable[[], Iterable[str]]) -> Callable[[str], str]:
        return twin_in(names, self.raw_pairs)

    def check_writable(self, name: str, wanted: str | None) -> None:
        written = format_of(name)
        if written is None or not written.writable or wanted not in (None, written.name):
            unwritten = wanted or (written.name if written else "a photo")
            raise UsageError(f"{name}: cannot be written as {unwritten}; change the extension")


class Videos(Kind):
    noun = "video"

    def accepts(self, name: str) -> bool:
        return is_video(name)

    def renamed(self, relative: str, wanted: str | None) -> str:
        return written_name(relative, wanted) if is_video(relative) else relative

    def check_writable(self, name: str, wanted: str | None) -> None:
        muxer_of(name)
        if wanted not in (None, posixpath.splitext(name)[1].lower()):
            raise UsageError(f"{name}: cannot be written as {wanted}; change the extension")


PHOTOS, VIDEOS = Photos(), Videos()
