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

from pipeline.errors import Changed, NotFound, StorageError, UsageError
from pipeline.storage.credentials import forwarded_environment, worker_options
from pipeline.storage.errors import SAID, errors_at, no_room, with_reason
from pipeline.storage.filesystems import filesystem_of
from pipeline.storage.listing import Listed, Listing
from pipeline.storage.ownership import METADATA, NO_CLAIM, Claim, Content, check_is_ours, is_own, mark_of, set_mark
from pipeline.storage.reading import Timed, reading
from pipeline.storage.retries import retried
from pipeline.storage.urls import BUCKETS, LOCAL, S3, WEB, join, protocol_of, shown
from pipeline.storage.writing import PART_SUFFIX, beside, nameless

WHOLE_PUT = {*BUCKETS, "memory"}  # an object appears whole or not at all


@dataclass(frozen=True, slots=True)
class Storage:
    """How to reach places. Make it with `Storage.from_environment`; never shown, as it may hold secrets."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """fsspec's storage options for each protocol."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables for workers that lack them."""
    conditional_puts: bool = False
    """Whether the destination, in S3, refuses to replace an object if it is asked to."""
    keeps_marks: bool = False
    """Whether the destination keeps the marks by which outputs are known: see `ownership.py`."""

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
            return bytes(fs.cat_file(path, max_concurrency=1) if protocol_of(url) == S3 else fs.cat_file(path))

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
        with with_reason(url, fs, path):
            return fs.open(path, "rb")

    def _check_version(self, url: str, version: str) -> None:
        if version and self.version(url) != version:
            raise Changed(f"{shown(url)}: {SAID[Changed]}")

    def write(self, url: str, data: bytes, claim: Claim = NO_CLAIM) -> None:
        """Write `data` so that the file is seen whole or not at all, whatever happens in between.

        Raises InTheWay where a file is there that is not ours to replace: see `ownership.py`. Below `_nightlift/` all
        is ours.
        """
        self._write(url, Content(data), claim)

    @contextmanager
    def writing(self, url: str, timed: Timed = nullcontext, claim: Claim = NO_CLAIM) -> Iterator[str]:
        """A local path to write a file to, which is seen at `url` once the block has ended well, whole or not at all.

        It lies beside a local target; what goes elsewhere waits in the temporary folder. Raises StorageError, for want
        of room too, and InTheWay as `write` does. `timed`: entered while the file is sent.
        """
        if protocol_of(url) == LOCAL:
            with self._beside(url, claim) as local, no_room(url, "choose another destination"):
                yield local
            return
        with nameless() as scratch:
            with no_room(tempfile.gettempdir(), "set TMPDIR to a folder that has more"):
                yield scratch
            with timed():
                self._write(url, Content(path=scratch), claim)

    def refuses_to_replace(self, url: str) -> bool:
        """Try whether the store refuses to replace the file of ours at `url` if it is asked to. False: not S3."""
        if protocol_of(url) != S3:
            return False
        try:
            self._put(url, Content(b"replaced"), mode="create")
        except Changed:
            return True
        except StorageError:  # it does not know what it was asked for
            return False
        return False

    def _write(self, url: str, content: Content, claim: Claim) -> None:
        if protocol_of(url) not in WHOLE_PUT:
            self._put_beside(url, content, claim)
            return
        marks = {"Metadata": {METADATA: mark_of(url, content.size_bytes)}} if protocol_of(url) == S3 else {}
        if self.conditional_puts and not claim.known_bytes and not is_own(url, claim):
            with suppress(Changed):  # then something is there
                self._put(url, content, mode="create", **marks)
                return
        check_is_ours(self, url, claim, content)
        self._put(url, content, **marks)

    @retried
    def _put(self, url: str, content: Content, **options: Any) -> None:
        fs, path = self.filesystem(url)
        try:
            with storage_errors(url):
                content.put(fs, path, **options)
        except NotFound as error:
            raise StorageError(f"{url}: cannot be written: there is no such bucket; make it first") from error

    @retried
    def _put_beside(self, url: str, content: Content, claim: Claim) -> None:
        fs, _ = self.filesystem(url)
        with self._beside(url, claim) as part, storage_errors(url):
            content.put(fs, part)

    def _beside(self, url: str, claim: Claim) -> AbstractContextManager[str]:
        """Give a path for a file that takes its place at `url` once it is whole, where folders are real."""
        fs, path = self.filesystem(url)

        def take_place(part: str, path: str) -> None:
            content = Content(path=part) if protocol_of(url) == LOCAL else None
            check_is_ours(self, url, claim, content)
            if content is None:
                fs.mv(part, path)
            else:
                set_mark(url, part)
                os.replace(part, path)  # noqa: PTH105

        return beside(path, take_place, fs, partial(storage_errors, url))

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
