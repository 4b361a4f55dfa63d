"""Files at a source that a job may use: all but what nightlift keeps for itself, and outputs of the same job."""

import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from operator import attrgetter
from pathlib import Path

from pipeline.errors import Expired, StorageError, Unreachable, UsageError
from pipeline.planning.manifest import Manifest
from pipeline.planning.path_list import PathList, Source, is_list
from pipeline.storage.listing import Listed, local_file
from pipeline.storage.storage import Storage
from pipeline.storage.urls import (
    BUCKETS,
    FOLDER,
    LOCAL,
    WEB,
    absolute,
    is_bucket,
    is_inside,
    join,
    parent,
    protocol_of,
    real,
    redacted,
)

TELL_EVERY_S = 10.0  # between messages during a long listing
AT_ONCE = 16  # places of a list that a store is asked about at the same time
BATCH = 1_000  # places of a list
MOST_LOOKS = 64  # for folders that other jobs wrote to

log = logging.getLogger("nightlift.steps")  # lines for a person who waits


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Choice of listed files as inputs. Patterns match the path below the source, or the file's name."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    """Whether to follow local links to files outside of the source, and links to folders."""

    def __call__(self, relative: str) -> bool:
        wanted = not self.include or any(_matches(relative, pattern) for pattern in self.include)
        return wanted and not any(_matches(relative, pattern) for pattern in self.exclude)


class Inputs:
    """Listing of a source: a file, a folder with all below it, a glob, or a list of files and folders.

    Leaves out all `_nightlift/` folders. Leaves out what is below the folder `outside`, also when it is reached through
    links, unless the source is that folder or lies in it. A `Selection` is for the caller to apply. Raises UsageError
    for the name of a list that was not read.
    """

    def __init__(self, storage: Storage, source: Source, *, follow_links: bool, outside: str = "") -> None:
        if isinstance(source, str) and is_list(source):
            raise UsageError(
                f"{source}: this command takes no list of paths; for a file or folder of that name write ./{source}"
            )
        self.storage, self.follow_links = storage, follow_links
        self.source: Source = absolute(source) if isinstance(source, str) else source
        self.outside = absolute(outside) if outside else ""
        self.written: dict[str, str] = {}
        """Folders below the source that contain a `_nightlift/`, once all files are listed: their paths below it, and
        their URLs."""
        self.roots: set[str] = set()
        """URLs of the folders that paths of files start from, once all files are listed."""
        self.left_out = 0
        """Number of files below `outside`, once all files are listed."""
        self.known_as: dict[str, str] | None = None
        """What files are whose names tell nothing, once their contents are looked at: see `contents.py`."""
        self._sorted: list[Listed] | None = None

    def __iter__(self) -> Iterator[Listed]:
        """Yield files as they are found. Raises NotFound where nothing is there, and other StorageErrors.

        Places of a list that are missing or cannot be read are yielded with the reason.
        """
        count, told_at = 0, time.monotonic()
        is_own: Callable[[Listed], bool] | None = None
        for file in self._found():
            if is_own is None:
                is_own = self._own_files(file)
            if is_own(file):
                self.left_out += f"/{FOLDER}/" not in file.url
                continue
            folder, is_record, _ = f"/{file.relative}".partition(f"/{FOLDER}/")
            if not is_record:
                count += 1
                yield file
            elif folder:
                self.written[folder.removeprefix("/")] = file.url.rpartition(f"/{FOLDER}/")[0]
            if time.monotonic() - told_at >= TELL_EVERY_S:
                told_at = time.monotonic()
                log.info("%s files listed so far", f"{count:,}")

    def sorted(self) -> list[Listed]:
        """Return all files, by path. They are listed once."""
        if self._sorted is None:
            listed = list(self)
            alike = len({file.root for file in listed}) <= 1  # then URLs sort as paths do, without a copy of each
            listed.sort(key=attrgetter("url" if alike else "relative"))
            self._sorted = listed
        return self._sorted

    def written_above(self, destination: str) -> list[str]:
        """Return folders where other jobs wrote some of the files, if these were named one by one or by a pattern.

        The listing of such files does not show a `_nightlift/`. `destination`: that of this job, which is left out.
        """
        if isinstance(self.source, str) and self.roots == {self.source}:
            return []
        folders = list(itertools.islice(self._folders(), MOST_LOOKS))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            looks = pool.map(lambda folder: self.storage.is_folder(join(folder, FOLDER)), folders)
            marked = [folder for folder, found in zip(folders, looks, strict=True) if found]
        known = {destination, *self.written.values()}
        return sorted(each for each in marked if each not in known and self._has_outputs(each))

    def _has_outputs(self, folder: str) -> bool:
        below = (file.url for file in self.sorted() if is_inside(file.url, folder))
        with suppress(StorageError):  # of the other job: it says so itself
            return Manifest(self.storage, folder, "", {}).may_list(below)
        return False

    def _folders(self) -> Iterator[str]:
        """Yield each folder that a file lies in or below."""
        seen = {"/"}
        for file in self.sorted():
            folder = parent(file.url)
            while folder not in seen and protocol_of(folder) not in WEB:
                seen.add(folder)
                yield folder
                folder = folder if is_bucket(folder) else parent(folder)

    def _found(self) -> Iterator[Listed]:
        if isinstance(self.source, PathList):
            yield from self._listed(self.source)
            return
        for file in self.storage.walk(self.source, follow_links=self.follow_links):
            if not self.roots:
                self.roots.add(file.folder)
            yield file

    def _listed(self, paths: PathList) -> Iterator[Listed]:
        """Yield all files of a list, each once."""
        places, walked = paths.places(), set[str]()
        seen = set[int]()  # hashes: there may be millions
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while batch := list(itertools.islice(places, BATCH)):
                for place, start in batch:
                    if protocol_of(place) not in WEB and start:
                        self.roots.add(start if protocol_of(place) == LOCAL else f"{protocol_of(place)}://{start}")
                is_remote = any(protocol_of(place) != LOCAL for place, _ in batch)
                for files in (pool.map if is_remote else map)(partial(self._at, walked), batch):
                    for file in files:
                        if hash(file.url) not in seen:
                            seen.add(hash(file.url))
                            yield file

    def _at(self, walked: set[str], named: tuple[str, str]) -> Sequence[Listed]:
        """Return the files at a place of a list. `walked`: local folders that were listed with all below them."""
        place, start = named
        if protocol_of(place) == LOCAL and os.path.lexists(place):
            if not os.path.isdir(place):  # noqa: PTH112 (raises nothing)
                return [local_file(start, place, follow_links=self.follow_links, named=True)]
            if not walked.isdisjoint(map(str, Path(place).parents)):
                return ()
            walked.add(place)
        try:
            return list(self.storage.walk(place, follow_links=self.follow_links, start=start))
        except StorageError as error:
            if isinstance(error, Expired) or (isinstance(error, Unreachable) and protocol_of(place) in BUCKETS):
                raise  # it would be the same for all that follow
            problem = str(error).removeprefix(f"{redacted(place)}: ")
            return [Listed(url=place, root=start, code=error.code, problem=problem)]

    def _own_files(self, first: Listed) -> Callable[[Listed], bool]:
        """Return whether a file is below `outside`. `first`: the first file of the listing."""
        named, own = join(self.outside, ""), join(real(self.outside), "")
        inside = isinstance(self.source, str) and join(real(first.folder), "").startswith(own)
        if not self.outside or inside:
            return lambda file: False
        real_folder = lru_cache(BATCH)(real)

        def is_own(file: Listed) -> bool:
            folder = real_folder(parent(file.url))
            places = (file.url, join(folder, file.url.rpartition("/")[2]), real(file.url) if self.follow_links else "")
            return any(place.startswith((named, own)) for place in places)

        return is_own


def _matches(relative: str, pattern: str) -> bool:
    return fnmatchcase(relative, pattern) or fnmatchcase(relative.rpartition("/")[2], pattern)
