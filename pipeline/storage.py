"""Places: URLs, listing, whole-or-nothing writes, over fsspec.

A place is a local path or a URL (`s3://bucket/key`, `gs://`, `az://`, `https://`). A `Storage` is small, can be
pickled, and reaches the same places from every worker as from the machine that made it. `credentials.py` says how.
"""

import os
import posixpath
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from pipeline.credentials import S3, forwarded_environment, worker_options
from pipeline.errors import Changed, NotFound, StorageError
from pipeline.filesystems import GLOB, before_glob, filesystem_of, matches
from pipeline.patience import retried
from pipeline.reading import Timed, reading
from pipeline.storage_errors import SAID, errors_at, no_room
from pipeline.writing import PART_SUFFIX, beside, nameless

LOCAL = "file"
WHOLE_PUT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}  # an object appears whole or not at all
WEB = {"http", "https"}  # sources only
VERSION_KEYS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "Last-Modified", "updated")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One file that a listing found."""

    url: str
    relative: str
    """Path below the root of the listing, `/` between folders."""
    size_bytes: int = 0
    version: str = ""
    """Changes whenever the content does: the store's ETag, or else the time of the last change, and the size."""
    code: str = ""
    """Why it cannot be an input: `unreadable`, or `not_followed`."""
    problem: str = ""
    """The same in words."""


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
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
        fs = filesystem_of(protocol, self.options.get(protocol, {}), shown(url))
        return fs, str(fs._strip_protocol(url))

    @retried
    def list_files(self, url: str) -> list[Listed]:
        """Every file at `url` (a file, a folder with all below it, or a glob), sorted by path.

        Raises NotFound, AccessDenied, Unreachable, StorageError.
        """
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        unreadable: dict[str, OSError] = {}
        with storage_errors(url):
            root, found = _find(fs, path, unreadable)
        listed = [
            _listed(f"{protocol_of(url)}://{name}" if "://" in url and "://" not in name else name, root, name, info)
            for name, info in found.items()
            if not name.endswith(("/", PART_SUFFIX))
        ]
        listed += [_unreadable(error, name, name.removeprefix(root).lstrip("/")) for name, error in unreadable.items()]
        return sorted(listed, key=lambda file: file.relative)

    def unfinished(self, folder: str, *, below: bool = True) -> list[str]:
        """Files being written in a local folder, or left there by a killed write. `below`: in folders in it, too."""
        if protocol_of(folder) in WHOLE_PUT | WEB:
            return []
        fs, path = self.filesystem(folder)
        with storage_errors(folder):
            names = fs.find(path, maxdepth=None if below else 1) if fs.isdir(path) else []
            return [name for name in names if name.endswith(PART_SUFFIX)]

    @retried
    def is_folder(self, url: str) -> bool:
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        with suppress(NotFound), storage_errors(url):  # fs.isdir takes a failure for a no
            return bool(fs.info(path)["type"] == "directory")
        return False

    @retried
    def version(self, url: str) -> str:
        """Of what is there now, as `Listed.version`. Raises NotFound, AccessDenied, Unreachable, StorageError."""
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        with storage_errors(url):
            return _listed(url, "", path, fs.info(path)).version

    @retried
    def exists(self, url: str) -> bool:
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        with storage_errors(url):
            return bool(fs.exists(path))

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
        with storage_errors(url):
            return fs.open(path, "rb")

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
                fs.rm_file(name)

    def remove_empty(self, folder: str) -> None:
        """Remove a folder that has nothing in it, where folders are real."""
        if protocol_of(folder) not in WHOLE_PUT:
            fs, path = self.filesystem(folder)
            with suppress(OSError):
                fs.rmdir(path)


def protocol_of(url: str) -> str:
    """`s3` for `s3://bucket/key`; `file` for a path."""
    return url.split("://", 1)[0] if "://" in url else LOCAL


def join(folder: str, *names: str) -> str:
    return "/".join([folder.rstrip("/") if folder != "/" else "", *names])


def parent(url: str) -> str:
    """The folder of a file: `s3://bucket/a` for `s3://bucket/a/b.jpg`, `.` for `b.jpg`."""
    return url.rstrip("/").rpartition("/")[0] or ("/" if url.startswith("/") else ".")


def absolute(url: str) -> str:
    """A local path made absolute; a URL as it is, without a trailing slash."""
    if protocol_of(url) == LOCAL:
        return os.path.abspath(os.path.expanduser(url.removeprefix("file://")))  # noqa: PTH100, PTH111 (keeps globs)
    return url if protocol_of(url) in WEB else url.rstrip("/")


def real(url: str) -> str:
    """The same with links resolved, for telling whether two local places are one."""
    return os.path.realpath(url) if protocol_of(url) == LOCAL else url


def shown(url: str) -> str:
    """As it may be shown and recorded: a web address without its query, which may be a signature, and any password."""
    if protocol_of(url) not in WEB:
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def storage_errors(url: str) -> AbstractContextManager[None]:
    """What file systems and their clients raise becomes our own errors, which name the place."""
    return errors_at(url, shown(url))


def _find(fs: Any, path: str, unreadable: dict[str, OSError]) -> tuple[str, dict[str, Any]]:
    """The root that relative paths count from, and name -> info of every file."""
    try:
        info = fs.info(path)
    except FileNotFoundError:
        if not GLOB.search(path):
            raise
        matching = fs.glob(path, detail=True) if _protocol(fs) in {LOCAL} | WEB else matches(fs, path)
        if not matching:
            raise
        found: dict[str, Any] = {}
        for name, match in matching.items():
            if match["type"] == "directory":
                found |= _below(fs, name, unreadable)
            else:
                found[name] = fs.info(name) if _protocol(fs) in WEB else match  # an index page tells no sizes
        return before_glob(path), found
    if info["type"] != "directory":
        return shown(info["name"]).rpartition("/")[0], {info["name"]: info}
    return str(fs._strip_protocol(info["name"])).rstrip("/"), _below(fs, path, unreadable)


def _below(fs: Any, folder: str, unreadable: dict[str, OSError]) -> dict[str, Any]:
    """Every file below a folder; local folders that must not be read are told, and links to folders not followed."""
    if _protocol(fs) != LOCAL:
        return dict(fs.find(folder, detail=True))
    found: dict[str, Any] = {}
    for place, folders, files in os.walk(folder, onerror=lambda error: unreadable.update({error.filename: error})):
        links = [name for name in folders if os.path.islink(posixpath.join(place, name))]  # noqa: PTH114
        found |= {posixpath.join(place, name): {} for name in [*files, *links]}
    return found


def _protocol(fs: Any) -> str:
    return fs.protocol if isinstance(fs.protocol, str) else str(fs.protocol[0])


def _listed(url: str, root: str, name: str, info: Mapping[str, Any]) -> Listed:
    relative = shown(name).removeprefix(root).lstrip("/")
    size, version = info.get("size"), next((str(info[key]) for key in VERSION_KEYS if info.get(key)), "")
    if protocol_of(url) == LOCAL:
        try:
            status = os.stat(name)  # noqa: PTH116 (of what a link points to)
        except OSError as error:
            return _unreadable(error, url, relative)
        if not stat.S_ISREG(status.st_mode):
            kind = "a link to a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            return Listed(url=url, relative=relative, code="not_followed", problem=f"{kind}, which is not followed")
        size, version = status.st_size, str(status.st_mtime_ns)
    return Listed(url=url, relative=relative, size_bytes=int(size or 0), version=f"{version.strip(chr(34))}-{size}")


def _unreadable(error: OSError, url: str, relative: str) -> Listed:
    problem = f"cannot be read ({error.strerror}); check its permissions, or what it links to"
    return Listed(url=url, relative=relative, code="unreadable", problem=problem)
