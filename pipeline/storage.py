"""What is done at places: listing, reading, whole-or-nothing writes, over fsspec.

A place is a local path or a URL (`s3://bucket/key`, `gs://`, `az://`, `https://`). A `Storage` is small, can be
pickled, and reaches the same places from every worker as from the machine that made it. `credentials.py` says how.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

from pipeline.credentials import forwarded_environment, worker_options
from pipeline.errors import AccessDenied, Changed, NotFound, StorageError, UsageError
from pipeline.filesystems import filesystem_of
from pipeline.listing import Listed, Listing
from pipeline.patience import retried
from pipeline.places import LOCAL, S3, WEB, join, protocol_of, shown
from pipeline.reading import Timed, reading
from pipeline.storage_errors import SAID, errors_at, no_room
from pipeline.writing import PART_SUFFIX, beside, nameless

WHOLE_PUT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}  # an object appears whole or not at all


@dataclass(frozen=True, slots=True)
class Storage:
    """How to reach places. Make it with `Storage.from_environment`; never shown, as it may hold secrets."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """fsspec's storage options for each protocol."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables for workers that lack them."""

    @classmethod
    def from_environment(cls, urls: list[str], options: Mapping[str, Any]) -> "Storage":
        """For these places, by `options` (fsspec's, for all remote places or keyed by protocol) and the environment."""
        protocols = {protocol_of(url) for url in urls} - {LOCAL}
        return cls(worker_options(protocols, options), forwarded_environment())

    def filesystem(self, url: str) -> tuple[Any, str]:
        """fsspec's file system for `url` and the path in it. Raises UsageError."""
        protocol = protocol_of(url)
        if shown(url) != url and protocol not in WEB:
            raise UsageError(f"{shown(url)}: a bucket's URL holds no user and password; --storage-options does")
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
        fs = filesystem_of(protocol, self.options.get(protocol, {}), shown(url))
        return fs, str(fs._strip_protocol(url))

    def walk(self, url: str, *, follow_links: bool = False) -> Iterator[Listed]:
        """Every file at `url` (a file, a folder with all below it, or a glob), one after the other as they are found.

        Raises NotFound where nothing is there, AccessDenied, Unreachable, StorageError. Local files and folders that
        cannot be read, and links that are not followed, are told as such. Takes no memory for what is passed on.
        """
        fs, path = self.filesystem(url)
        fs.invalidate_cache()

        @retried
        def ask(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
            with storage_errors(url):
                return call(*arguments, **more)

        yield from Listing(url=url, fs=fs, path=path, ask=ask, follow_links=follow_links).files()

    def list_files(self, url: str, *, follow_links: bool = False) -> list[Listed]:
        """As `walk`, sorted by path."""
        return sorted(self.walk(url, follow_links=follow_links), key=lambda file: file.relative)

    def unfinished(self, folder: str, *, below: bool = True) -> list[str]:
        """Files being written in a local folder, or left there by a killed write. `below`: in folders in it, too."""
        if protocol_of(folder) in WHOLE_PUT | WEB:
            return []
        fs, path = self.filesystem(folder)
        with storage_errors(folder):
            places = fs.walk(path, maxdepth=None if below else 1)
            return [join(place, name) for place, _, names in places for name in names if name.endswith(PART_SUFFIX)]

    @retried
    def is_folder(self, url: str) -> bool:
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        with suppress(NotFound), storage_errors(url):  # fs.isdir takes a failure for a no
            return bool(fs.info(path)["type"] == "directory")
        return False

    def version(self, url: str) -> str:
        """Of what is there now, as `Listed.version`. Raises NotFound, AccessDenied, Unreachable, StorageError."""
        found = next(self.walk(url), None)
        if found is None:
            raise NotFound(f"{shown(url)}: {SAID[NotFound]}")
        return found.version

    @retried
    def exists(self, url: str) -> bool:
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        with storage_errors(url):
            return bool(fs.exists(path))

    def ignores_case(self, folder: str) -> bool:
        """Whether a folder is there, on a disk that does not tell `a` from `A`, as those of most cameras and Macs."""
        place, name = os.path.split(folder)
        other = join(place, name.swapcase())
        return protocol_of(folder) == LOCAL and os.path.exists(folder) and os.path.exists(other)  # noqa: PTH110

    @retried
    def read(self, url: str) -> bytes:
        """The whole content. Raises NotFound, AccessDenied, Unreachable, StorageError."""
        fs, path = self.filesystem(url)
        with storage_errors(url):
            # in one answer: what comes in several may be of several versions
            return bytes(fs.cat_file(path, max_concurrency=1) if protocol_of(url) in S3 else fs.cat_file(path))

    @contextmanager
    def open(self, url: str, timed: Timed = nullcontext, *, version: str = "") -> Iterator[BinaryIO]:
        """A seekable file to read from, of which only what is asked for is fetched. Opening raises as `read` does.

        So does the end of the block, where a read failed: a decoder may have taken that for damage, or for the end.
        `timed`: entered whenever storage is waited for. `version`: as it was listed; raises Changed where the file is
        another before the block or after it. "" takes any.
        """
        opened, check = partial(self._opened, url), partial(self._check_version, url, version)
        with reading(opened, shown(url), partial(storage_errors, url), timed, check) as file:
            yield file

    @retried
    def _opened(self, url: str) -> Any:
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        try:
            with storage_errors(url):
                return fs.open(path, "rb")
        except AccessDenied:  # S3 asked for the head alone does not tell why; asked for a byte it does
            with storage_errors(url):
                fs.cat_file(path, start=0, end=1)
            raise

    def _check_version(self, url: str, version: str) -> None:
        if version and self.version(url) != version:
            raise Changed(f"{shown(url)}: {SAID[Changed]}")

    def write(self, url: str, data: bytes) -> None:
        """Write `data` so that the file is seen whole or not at all, whatever happens in between."""
        self._put(url, lambda fs, path: fs.pipe_file(path, data))

    def put_file(self, url: str, path: str) -> None:
        """As `write`, with the content of the local file `path`, which is not held in memory."""
        self._put(url, lambda fs, target: fs.put_file(path, target))

    @contextmanager
    def writing(self, url: str, timed: Timed = nullcontext) -> Iterator[str]:
        """A local path to write a file to, which is seen at `url` once the block has ended well, whole or not at all.

        It lies beside a local target; what goes elsewhere waits in the temporary folder. Raises StorageError, for want
        of room too. `timed`: entered while the file is sent.
        """
        if protocol_of(url) == LOCAL:
            fs, path = self.filesystem(url)
            part = beside(path, os.replace, fs, partial(storage_errors, url))
            with part as local, no_room(url, "choose another destination"):
                yield local
            return
        with nameless() as scratch:
            with no_room(tempfile.gettempdir(), "set TMPDIR to a folder that has more"):
                yield scratch
            with timed():
                self.put_file(url, scratch)

    @retried
    def _put(self, url: str, put: Callable[[Any, str], None]) -> None:
        fs, path = self.filesystem(url)
        if protocol_of(url) not in WHOLE_PUT:
            move = os.replace if protocol_of(url) == LOCAL else fs.mv
            with beside(path, move, fs, partial(storage_errors, url)) as part, storage_errors(url):
                put(fs, part)
            return
        try:
            with storage_errors(url):
                put(fs, path)
        except NotFound as error:
            raise StorageError(f"{url}: cannot be written: there is no such bucket; make it first") from error

    def remove(self, urls: Iterable[str]) -> None:
        """Remove files; those that are gone already do not matter."""
        for url in urls:
            self._remove(url)

    @retried
    def _remove(self, url: str) -> None:
        fs, path = self.filesystem(url)
        with suppress(NotFound), storage_errors(url):
            fs.rm_file(path)

    @retried
    def remove_below(self, folder: str) -> None:
        """Remove all files below a folder, with what killed writes left there, and itself where folders are real."""
        fs, path = self.filesystem(folder)
        fs.invalidate_cache()
        with storage_errors(folder), suppress(FileNotFoundError):
            if protocol_of(folder) not in WHOLE_PUT:
                fs.rm(path, recursive=True)
                return
            for name in fs.find(path):
                with suppress(FileNotFoundError):
                    fs.rm_file(name)

    def remove_empty(self, folder: str) -> None:
        """Remove a folder that has nothing in it, where folders are real."""
        if protocol_of(folder) not in WHOLE_PUT:
            fs, path = self.filesystem(folder)
            with suppress(OSError):
                fs.rmdir(path)


def storage_errors(url: str) -> AbstractContextManager[None]:
    """What file systems and their clients raise becomes our own errors, which name the place."""
    return errors_at(url, shown(url))
