"""Files at a source that a job may use: all but what nightlift keeps for itself, and outputs of the same job."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, LOCAL, absolute, join, protocol_of, real

TELL_EVERY_S = 10.0  # between messages during a long listing

log = logging.getLogger("nightlift")


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
    """Listing of a source: a file, a folder with all below it, or a glob.

    Leaves out all `_nightlift/` folders. Leaves out what is below the folder `outside`, also when it is reached through
    links, unless the source is that folder or lies in it. A `Selection` is for the caller to apply.
    """

    def __init__(self, storage: Storage, source: str, *, follow_links: bool, outside: str = "") -> None:
        self.storage, self.source, self.follow_links = storage, absolute(source), follow_links
        self.outside = absolute(outside) if outside else ""
        self.written: dict[str, None] = {}
        """Folders below the source that contain a `_nightlift/`, as paths below it, once all files are listed."""

    def __iter__(self) -> Iterator[Listed]:
        """Yield files as they are found. Raises NotFound where nothing is there, and other StorageErrors."""
        count, told_at = 0, time.monotonic()
        is_own: Callable[[Listed], bool] | None = None
        for file in self.storage.walk(self.source, follow_links=self.follow_links):
            if is_own is None:
                is_own = self._own_files(real(file.folder))
            if is_own(file):
                continue
            folder, is_record, _ = f"/{file.relative}".partition(f"/{FOLDER}/")
            if not is_record:
                count += 1
                yield file
            elif folder:
                self.written[folder.removeprefix("/")] = None
            if time.monotonic() - told_at >= TELL_EVERY_S:
                told_at = time.monotonic()
                log.info("%s files listed so far", f"{count:,}")

    def sorted(self) -> list[Listed]:
        """Return all files, by path."""
        return sorted(self, key=lambda file: file.relative)

    def _own_files(self, root: str) -> Callable[[Listed], bool]:
        """Return whether a file is below `outside`. `root`: the folder that the listing is of, with links resolved."""
        named, own = join(self.outside, ""), join(real(self.outside), "")
        if not self.outside or join(root, "").startswith(own):
            return lambda file: False
        if protocol_of(self.source) != LOCAL:
            return lambda file: file.url.startswith(named)

        def is_own(file: Listed) -> bool:
            places = (file.url, join(root, file.relative), real(file.url) if self.follow_links else "")
            return any(place.startswith((named, own)) for place in places)

        return is_own


def _matches(relative: str, pattern: str) -> bool:
    return fnmatchcase(relative, pattern) or fnmatchcase(relative.rpartition("/")[2], pattern)
