"""Destination of outputs: where they go, what they are named, and which names would collide."""

import itertools
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from pipeline.errors import UsageError
from pipeline.planning.media_kinds import Kind
from pipeline.planning.path_list import PathList, Source
from pipeline.storage.storage import Storage
from pipeline.storage.urls import (
    GLOB,
    LOCAL,
    WEB,
    absolute,
    before_glob,
    is_bucket,
    is_same,
    join,
    parent,
    protocol_of,
    real,
    redacted,
)

LIKE_A_FORMAT = re.compile(r"\.\d*[a-z][a-z\d]*", re.IGNORECASE)  # an extension, unlike `.2` in `v1.2`
LONGEST_FORMAT = len(".jpeg2")


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """The place where outputs go: `root` holds them and the manifest; `file` is set if the user named one file."""

    kind: Kind
    root: str
    file: str = ""
    format: str | None = None
    """Requested format of photos or container of videos; None: each file keeps its own."""

    @classmethod
    def of(
        cls, storage: Storage, source: Source, destination: str, kind: Kind, format_name: str | None
    ) -> "Destination":
        """Build a destination from what the user typed. Raises UsageError where the places make no sense together."""
        for name, place in (("SRC", source), ("DST", destination)):
            if isinstance(place, str) and not place.strip():
                raise UsageError(f"{name} is empty; give a folder, a file or a URL")
        url = absolute(destination)
        if protocol_of(url) in WEB:
            raise UsageError(f"{redacted(url)}: cannot write to a web server; give a folder or a bucket URL as DST")
        if isinstance(source, str):
            _check_differ(url, absolute(source))
        is_folder = storage.is_folder(url)
        if destination.endswith("/") or is_bucket(url) or not kind.accepts(url) or is_folder:
            if not is_folder and storage.exists(url):
                raise UsageError(f"{url} is a file; give a folder as DST")
            named = not is_folder and not destination.endswith("/") and not is_bucket(url) and _names_a_file(url)
            if named and not _may_hold_many(storage, source):
                raise UsageError(
                    f"{destination} is not named like a {kind.noun} that nightlift writes; change the extension, or "
                    f"for a folder of this name write {destination}/"
                )
            return cls(kind=kind, root=url, format=format_name)
        if _may_hold_many(storage, source):
            raise UsageError(f"{destination} names one {kind.noun}, but SRC may hold many; give a folder as DST")
        kind.check_writable(url, format_name)
        return cls(kind=kind, root=parent(url), file=url, format=format_name)

    def naming(self, relatives: Callable[[], Iterable[str]]) -> Callable[[str], str]:
        """Return a function that maps the path of a source to the URL of its output.

        `relatives`: returns the paths of all sources, whenever it is called. Names that would collide once their
        extension has changed, on a disk that ignores case, too, keep the old one before the new one.
        """
        if self.file:
            return lambda relative: self.file
        renamed = partial(self.kind.renamed, wanted=self.format)
        changed = Counter[int]()  # hashes: there may be millions
        for relative in relatives():
            name = renamed(relative)
            if name != relative:
                changed[_alike(name)] += 1

        def may_be_met(relative: str) -> bool:
            stem = posixpath.splitext(relative)[0]  # `IMG_1.HEIC` of `IMG_1.HEIC.jpg`, which may keep its extension
            return _alike(relative) in changed or renamed(stem) != stem

        every = relatives() if changed else ()
        kept = {_alike(each) for each in every if may_be_met(each) and renamed(each) == each}

        def output_of(relative: str) -> str:
            name = renamed(relative)
            if name != relative and (_alike(name) in kept or changed[_alike(name)] > 1):
                extension = posixpath.splitext(name)[1]
                name = relative + extension
                name += extension * (_alike(name) in kept)
            target = join(self.root, name)
            # `a//b.jpg` and `a/b.jpg` are two keys in a bucket, but one path on a disk
            return posixpath.normpath(target) if protocol_of(target) == LOCAL else target

        return output_of


def _alike(name: str) -> int:
    """Return a hash that is the same for names that some disk cannot tell apart."""
    return hash(name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold())


def _check_differ(url: str, origin: str) -> None:
    """Raise UsageError where the destination is the source."""
    if is_same(url, origin) or (real(url) != real(before_glob(origin)) and is_same(url, before_glob(origin))):
        raise UsageError(
            f"{url}: source and destination are the same, so originals would be overwritten; choose another DST"
        )


def _may_hold_many(storage: Storage, source: Source) -> bool:
    """Return whether a source is not a single file. A name with the signs of a pattern may be that of a file."""
    if isinstance(source, PathList) or storage.is_folder(absolute(source)):
        return True
    return GLOB.search(source) is not None and not storage.exists(absolute(source))


def _names_a_file(url: str) -> bool:
    extension = posixpath.splitext(url)[1]
    return len(extension) <= LONGEST_FORMAT and LIKE_A_FORMAT.fullmatch(extension) is not None


class ClaimedNames:
    """The set of places at the destination that outputs have. Names that the destination cannot tell apart are one."""

    def __init__(self, destination: Destination, *, ignoring_case: bool) -> None:
        self._on_disk = protocol_of(destination.root) == LOCAL
        self._ignoring_case = ignoring_case
        self._files: set[int] = set()  # hashes
        self._folders: set[int] = set()

    def take(self, target: str) -> bool:
        """Take a place if it is free, and return whether it was."""
        if self._ignoring_case:
            target = unicodedata.normalize("NFC", target).casefold()
        place, folders = hash(target), self._folders_of(target)
        free = place not in self._files and place not in self._folders and self._files.isdisjoint(folders)
        if free:
            self._files.add(place)
            self._folders.update(folders)
        return free

    def _folders_of(self, target: str) -> list[int]:
        """Return hashes of a target's folders on a disk, where a file `a.jpg` rules out `a.jpg/b.jpg`; else nothing."""
        if not self._on_disk:
            return []
        return [hash(folder) for folder in itertools.accumulate(target.split("/")[:-1], "{}/{}".format)]
