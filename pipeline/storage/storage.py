"""Access to places: listing, reading, whole-or-nothing writes, over fsspec.

A place is a local path or a URL (`s3://bucket/key`, `gs://`, `az://`, `https://`). A `Storage` is small, can be
pickled, and reaches the same places from every worker as from the machine that made it: see `credentials.py`.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import AccessDenied, Changed, NoRoom, NotFound, StorageError, Unreachable, UsageError
from pipeline.storage.attributes import NEW, Attributes
from pipeline.storage.credentials import RENEWED, forwarded_environment, worker_options
from pipeline.storage.errors import SAID, check_bucket, errors_at, no_bucket, no_room, takes_new, with_reason
from pipeline.storage.filesystems import filesystem_of
from pipeline.storage.listing import Listed, Listing
from pipeline.storage.ownership import METADATA, NO_CLAIM, Claim, Content, check_is_ours, is_own, mark_of, set_mark
from pipeline.storage.reading import Timed, reading
from pipeline.storage.retries import retried
from pipeline.storage.urls import BUCKETS, LOCAL, S3, WEB, join, protocol_of, redacted
from pipeline.storage.writing import PART_SUFFIX, beside, nameless

WHOLE_PUT = {*BUCKETS, "memory"}  # an object appears whole or not at all

_refused_bytes: dict[str, int] = {}  # by bucket: the size of a file that the store did not take with a condition


@dataclass(frozen=True, slots=True)
class Storage:
    """Access to local paths and URLs. Made by `Storage.from_environment`; the repr hides fields with secrets."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """fsspec's storage options for each protocol."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables for workers that lack them."""
    conditional_puts: bool = False
    """Whether the destination is in S3 and supports writes that refuse to replace an object."""
    keeps_marks: bool = False
    """Whether the destination stores the marks that identify our outputs: see `ownership.py`."""

    @classmethod
    def from_environment(cls, urls: Iterable[str], options: Mapping[str, Any]) -> "Storage":
        """Build a storage for these URLs from the environment and `options`.

        `options`: fsspec's, for all remote places or keyed by protocol.
        """
        protocols = {protocol_of(url) for url in urls} - {LOCAL}
        return cls(worker_options(protocols, options), forwarded_environment())

    @property
    def expiry(self) -> str:
        """Describe the AWS keys that expire; "" if none do, or each machine gets its own."""
        renewed = self.options.get(S3, {}).get(RENEWED)
        when = renewed.expires or "a time that is not known" if renewed else ""
        return f"the AWS keys of profile {renewed.profile} expire at {when}" if renewed else ""

    def filesystem(self, url: str) -> tuple[Any, str]:
        """Return fsspec's file system for `url` and the path in it. Raises UsageError."""
        protocol = protocol_of(url)
        if redacted(url) != url and protocol not in WEB:
            raise UsageError(f"{redacted(url)}: this URL cannot contain a user and password; use --storage-options")
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
        fs = filesystem_of(protocol, self.options.get(protocol, {}), redacted(url))
        return fs, str(fs._strip_protocol(url))

    def walk(self, url: str, *, follow_links: bool = False, start: str | None = None) -> Iterator[Listed]:
        """Yield every file at `url` (a file, a folder with all below it, or a glob) as it is found.

        Raises NotFound where nothing is there, AccessDenied, Unreachable, StorageError. Local files and folders that
        cannot be read, and links not followed, come with `code` and `problem`. `start`: see `Listing.start`.
        """
        fs, path = self.filesystem(url)
        fs.invalidate_cache()

        @retried
        def ask(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
            with with_reason(url, fs, path):
                return call(*arguments, **more)

        try:
            yield from Listing(url=url, fs=fs, path=path, ask=ask, follow_links=follow_links, start=start).files()
        except NotFound:
            if protocol_of(url) == S3:  # s3fs does not tell that there is no such bucket
                ask(check_bucket, fs, path)
            raise

    def list_files(self, url: str) -> list[Listed]:
        """Return all files that `walk` yields, sorted by path."""
        return sorted(self.walk(url), key=lambda file: file.relative)

    def unfinished(self, folder: str, *, below: bool = True) -> list[str]:
        """Return files being written in a local folder, or left by a killed write. `below`: include subfolders."""
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
        with suppress(NotFound), with_reason(url, fs, path):  # fs.isdir would return False on a failure
            return bool(fs.info(path)["type"] == "directory")
        return False

    def version(self, url: str) -> str:
        """Return the `Listed.version` of what is there now.

        Raises NotFound, AccessDenied, Unreachable, StorageError.
        """
        found = next(self.walk(url), None)
        if found is None:
            raise NotFound(f"{redacted(url)}: {SAID[NotFound]}")
        return found.version

    @retried
    def exists(self, url: str) -> bool:
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        with with_reason(url, fs, path):
            return bool(fs.exists(path))

    def ignores_case(self, folder: str, *, probe: bool = False) -> bool:
        """Return whether a disk treats `a` and `A` as one name, as those of most cameras and Macs do.

        `folder`: may not exist yet. `probe`: then create a temporary file to find out; without it, return False.
        """
        path = Path(folder)
        if protocol_of(folder) != LOCAL:
            return False
        if path.exists():
            return path.with_name(path.name.swapcase()).exists()
        place = next((each for each in path.parents if each.is_dir()), None)
        if probe and place is not None:
            with suppress(OSError), tempfile.NamedTemporaryFile(prefix=".nightlift-", dir=place) as file:
                return (place / Path(file.name).name.swapcase()).exists()
        return False

    @retried
    def read(self, url: str) -> bytes:
        """Return the whole content. Raises NotFound, AccessDenied, Unreachable, StorageError."""
        fs, path = self.filesystem(url)
        with storage_errors(url):
            # in a single response: several could come from different versions
            return bytes(fs.cat_file(path, max_concurrency=1) if protocol_of(url) == S3 else fs.cat_file(path))

    @retried
    def read_part(self, url: str, start: int, end: int) -> bytes:
        """Return these bytes of a file that is not empty, as far as it has them. Raises what `read` raises."""
        fs, path = self.filesystem(url)
        with storage_errors(url):
            data = bytes(fs.cat_file(path, start=start, end=end))
        if start and len(data) > end - start:
            raise StorageError(f"{redacted(url)}: the server sends no parts of files; copy it to a local disk first")
        return data[: end - start]

    @contextmanager
    def open(
        self, url: str, timed: Timed = nullcontext, *, version: str = "", part_bytes: int | None = None
    ) -> Iterator[BinaryIO]:
        """Yield a seekable file that fetches only the parts that are read. Opening raises what `read` raises.

        A read that failed raises again at the end of the block, as a decoder may have taken it for damage or for the
        end of the file. `timed`: entered whenever storage is waited for. `version`: the version that was listed; raises
        Changed where the file has another before or after the block. "" accepts any. `part_bytes`: fetched at least.
        """
        opened, check = partial(self._opened, url, part_bytes), partial(self._check_version, url, version)
        with reading(opened, redacted(url), partial(storage_errors, url), timed, check) as file:
            yield file

    @retried
    def _opened(self, url: str, part_bytes: int | None) -> Any:
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        with with_reason(url, fs, path):
            return fs.open(path, "rb", block_size=part_bytes)

    def _check_version(self, url: str, version: str) -> None:
        if version and self.version(url) != version:
            raise Changed(f"{redacted(url)}: {SAID[Changed]}")

    def write(self, url: str, data: bytes, claim: Claim = NO_CLAIM, keeps: Attributes = NEW) -> None:
        """Write `data` so that the file is seen whole or not at all. Raises InTheWay where another's file is there.

        See `ownership.py`: what nightlift keeps below `_nightlift/` is ours. `keeps`: what it gets beside its content.
        """
        self._write(url, Content(data), claim, keeps)

    @contextmanager
    def writing(
        self, url: str, timed: Timed = nullcontext, claim: Claim = NO_CLAIM, keeps: Attributes = NEW
    ) -> Iterator[str]:
        """Yield a local path to write to; the file appears at `url`, whole, when the block ends without an error.

        The path is beside a local target, else in the temporary folder. Raises StorageError, also for a full disk, and
        InTheWay. `timed`: entered while the file is sent.
        """
        if protocol_of(url) == LOCAL:
            with self._beside(url, claim, keeps) as local, no_room(url, "choose another destination"):
                yield local
            return
        with nameless() as scratch:
            with no_room(tempfile.gettempdir(), "set TMPDIR to a folder with more space"):
                yield scratch
            with timed():
                self._write(url, Content(path=scratch), claim, keeps)

    def refuses_to_replace(self, url: str) -> bool:
        """Try to create our existing file at `url` again; return whether the store refuses. False outside S3."""
        if protocol_of(url) != S3:
            return False
        try:
            self._put(url, Content(b"replaced"), mode="create")
        except Changed:
            return True
        except StorageError:  # conditional writes are not supported
            return False
        return False

    def _write(self, url: str, content: Content, claim: Claim, keeps: Attributes) -> None:
        if protocol_of(url) not in WHOLE_PUT:
            self._put_beside(url, content, claim, keeps)
            return
        metadata = {METADATA: mark_of(url, content.size_bytes), **keeps.metadata}
        marks = {"Metadata": metadata} if protocol_of(url) == S3 else {}
        bucket = url.split("/", 3)[2]
        takes_condition = self.conditional_puts and content.size_bytes < _refused_bytes.get(bucket, math.inf)
        if takes_condition and not claim.known_bytes and not is_own(url, claim):
            try:
                self._put(url, content, mode="create", **marks)
                return
            except (NoRoom, AccessDenied, Unreachable):
                raise
            except Changed:  # something is there already
                pass
            except StorageError:  # some stores take no condition on files in parts: the next is not sent twice
                _refused_bytes[bucket] = content.size_bytes
        check_is_ours(self, url, claim, content)
        self._put(url, content, **marks)

    @retried
    def _put(self, url: str, content: Content, **options: Any) -> None:
        fs, path = self.filesystem(url)
        try:
            with storage_errors(url):
                content.put(fs, path, **options)
        except NotFound as error:
            raise StorageError(no_bucket(url)) from error

    @retried
    def _put_beside(self, url: str, content: Content, claim: Claim, keeps: Attributes) -> None:
        fs, _ = self.filesystem(url)
        with self._beside(url, claim, keeps) as part, storage_errors(url):
            content.put(fs, part)

    @contextmanager
    def _beside(self, url: str, claim: Claim, keeps: Attributes) -> Iterator[str]:
        """Yield a path for a file that is moved to `url` once it is whole, where folders are real."""
        fs, path = self.filesystem(url)

        def take_place(part: str, path: str) -> None:
            content = Content(path=part) if protocol_of(url) == LOCAL else None
            check_is_ours(self, url, claim, content)
            if content is None:
                fs.mv(part, path)
            else:
                keeps.set_time(part)
                set_mark(url, part)
                os.replace(part, path)  # noqa: PTH105

        with beside(path, take_place, fs, partial(storage_errors, url)) as part:
            if protocol_of(url) == LOCAL:
                with storage_errors(url), takes_new(url):
                    keeps.create(part)
            yield part

    def remove(self, urls: Iterable[str]) -> None:
        """Remove files; those that are already gone are ignored."""
        for url in urls:
            self._remove(url)

    @retried
    def _remove(self, url: str) -> None:
        fs, path = self.filesystem(url)
        with suppress(NotFound), storage_errors(url):
            fs.rm_file(path)

    @retried
    def remove_below(self, folder: str) -> None:
        """Remove all files below a folder, also those left by killed writes, and the folder where folders are real."""
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
        """Remove a folder if it is empty, where folders are real."""
        if protocol_of(folder) not in WHOLE_PUT:
            fs, path = self.filesystem(folder)
            with suppress(OSError):
                fs.rmdir(path)


def storage_errors(url: str) -> AbstractContextManager[None]:
    """Return a context that converts errors of file systems and their clients into ours, which name the place."""
    return errors_at(url, redacted(url))
