"""Listing of a place: files one at a time, as they are found, so that a bucket of millions takes no memory."""

import os
import posixpath
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import NotFound, UsageError
from pipeline.storage.filesystems import matches
from pipeline.storage.ownership import local_mark
from pipeline.storage.urls import GLOB, LOCAL, S3, WEB, before_glob, is_inside, protocol_of, real, redacted
from pipeline.storage.writing import PART_SUFFIX

VERSION_KEYS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "Last-Modified", "updated")
MOMENTS = 1_000  # times that are remembered
MODIFIED_KEYS = ("LastModified", "last_modified", "mtime", "updated")
LINK_OUT = "a link out of the source; use --follow-links to follow it"
LINK_TO_FOLDER = "a link to a folder; use --follow-links to follow it"
NO_FILE = "a pipe, socket or device, which nightlift does not read"

Found = tuple[str, Mapping[str, Any]]  # name in the file system, and fsspec's info


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One file that a listing found."""

    url: str
    root: str
    """Folder where the listing began, as the file system names it."""
    size_bytes: int = 0
    modified_s: float = 0.0
    """When a file in a bucket was last changed, in seconds since 1970; 0: not known."""
    version: str = ""
    """Text that changes with the content: the store's ETag or checksum, or else the time of change, and the size."""
    code: str = ""
    """Why it cannot be an input: `unreadable` or `not_followed`; "" if it can."""
    problem: str = ""
    """The reason in words."""

    @property
    def relative(self) -> str:
        """Return the path below the root of the listing, with `/` between folders."""
        protocol = protocol_of(self.url)
        name = self.url if protocol in {LOCAL} | WEB else self.url.removeprefix(f"{protocol}://")
        return redacted(name).removeprefix(self.root).lstrip("/")

    @property
    def folder(self) -> str:
        """Return the URL of the listing's root, without the query of a web address."""
        return redacted(self.url).removesuffix(self.relative).rstrip("/") or "/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A listing of every file at a place: a file, a folder with all below it, or a glob."""

    url: str
    fs: Any
    """fsspec's file system."""
    path: str
    """The place's path in the file system."""
    ask: Callable[..., Any]
    """Calls a function of the file system with arguments, with retries where they may help. Raises only our errors."""
    follow_links: bool
    """Whether to follow local links out of the place and links to folders; else they are listed as `not_followed`."""
    start: str | None = None
    """Folder that relative paths start from. If it is set, `url` is no pattern, and no link to a folder is followed."""

    def files(self) -> Iterator[Listed]:
        """Yield every file, in no order. Raises NotFound where nothing is there, and what else `ask` raises."""
        protocol = protocol_of(self.url)
        root, found = self._find()
        for name, info in found:
            if name.endswith(("/", PART_SUFFIX)):
                continue
            if protocol == LOCAL:
                named, error = bool(info.get("named")), info.get("error")
                yield local_file(root, name, follow_links=self.follow_links, named=named, error=error)
            else:
                url = name if protocol in WEB else f"{protocol}://{name}"
                yield Listed(
                    url=url,
                    root=root,
                    size_bytes=int(info.get("size") or 0),
                    modified_s=_modified_s(info),
                    version=_version(info),
                )

    def _find(self) -> tuple[str, Iterator[Found]]:
        """Return the root that relative paths start from, and an iterator over every file."""
        exact = self.start is not None
        try:
            info = self.ask(self.fs.info, self.path)
        except NotFound as error:
            found = self._matches() if not exact and GLOB.search(self.path) else {}
            if not found:
                raise NotFound(f"{error}{self._other_form()}") from error
            return before_glob(self.path), self._matched(found)
        link = exact and not self.follow_links and protocol_of(self.url) == LOCAL and Path(self.path).is_symlink()
        if info["type"] != "directory" or link:
            root = redacted(info["name"]).rpartition("/")[0] if self.start is None else self.start
            return root, iter([(info["name"], {**info, "named": True})])
        root = str(self.fs._strip_protocol(info["name"])).rstrip("/") if self.start is None else self.start
        return root, self._below(self.path)

    def _other_form(self) -> str:
        """Return words about a local file of the same name in another Unicode form, which a disk tells apart; or ""."""
        place = Path(self.path)
        if protocol_of(self.url) != LOCAL or self.path.isascii():
            return ""
        with suppress(OSError):
            while not place.parent.exists():
                place = place.parent
            for each in place.parent.iterdir():
                if unicodedata.normalize("NFC", each.name) == unicodedata.normalize("NFC", place.name):
                    form = "NFC" if unicodedata.is_normalized("NFC", each.name) else "NFD"
                    return f"; a file of that look is there under another encoding ({form}): let Tab complete its name"
        return ""

    def _matches(self) -> dict[str, Any]:
        if protocol_of(self.url) in {LOCAL} | WEB:
            return dict(self.ask(self.fs.glob, self.path, detail=True))
        return dict(self.ask(matches, self.fs, self.path))

    def _matched(self, found: Mapping[str, Any]) -> Iterator[Found]:
        folders = tuple(f"{name.rstrip('/')}/" for name, match in found.items() if match["type"] == "directory")
        for name, match in found.items():
            if name.startswith(folders):  # `**` matches folders and what is below them
                continue
            if match["type"] == "directory":
                yield from self._below(name)
            else:  # index pages give no sizes
                yield name, self.ask(self.fs.info, name) if protocol_of(self.url) in WEB else match

    def _below(self, folder: str) -> Iterator[Found]:
        """Return an iterator over every file below a folder."""
        if protocol_of(self.url) == LOCAL:
            return self._on_disk(folder)
        if protocol_of(self.url) == S3:
            return self._in_bucket(folder)
        return iter(self.ask(self.fs.find, folder, detail=True).items())

    def _in_bucket(self, folder: str) -> Iterator[Found]:
        """Yield files page by page: s3fs's own `find` keeps every page in memory, a kilobyte for each key.

        Raises UsageError where the store treats keys as paths and returns the folder under another name.
        """
        bucket, key, _ = self.fs.split_path(folder)
        where = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", **self.fs.req_kw}
        token: dict[str, str] = {}
        while True:
            page = self.ask(self.fs.call_s3, "list_objects_v2", **where, **token)
            for each in page.get("Contents", ()):
                if not each["Key"].startswith(where["Prefix"]):
                    plain = f"{S3}://{'/'.join(filter(None, folder.split('/')))}"
                    raise UsageError(f"{S3}://{folder}: this store treats several slashes as one; write it as {plain}")
                told = {name: each.get(name) for name in ("ETag", "LastModified")}
                yield f"{bucket}/{each['Key']}", {**told, "size": each["Size"]}
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _on_disk(self, folder: str) -> Iterator[Found]:
        """Yield files, links to folders that are not followed, and folders that cannot be read (`error`: why)."""
        unreadable: list[OSError] = []
        seen = {real(folder)}
        for place, folders, files in os.walk(folder, onerror=unreadable.append, followlinks=self.follow_links):
            links = [name for name in folders if os.path.islink(posixpath.join(place, name))]  # noqa: PTH114
            if self.follow_links:
                folders[:] = [name for name in folders if name not in links or _leads_on(place, name, folder, seen)]
                links = []
            for name in [*files, *links]:
                yield posixpath.join(place, name), {}
        for error in unreadable:
            yield error.filename, {"error": error}


def local_file(
    root: str, name: str, *, follow_links: bool, named: bool = False, error: OSError | None = None
) -> Listed:
    """Return a local file as it is listed.

    `follow_links`: whether it may be a link out of `root`. `named`: whether the user named it, which allows that, too.
    `error`: why it could not be listed.
    """
    try:
        if error is not None:
            raise error
        is_link = stat.S_ISLNK(os.lstat(name).st_mode)
        status = os.stat(name)  # noqa: PTH116 (of what a link points to)
    except OSError as failure:
        problem = f"cannot be read ({failure.strerror}); check its permissions, or what it links to"
        return Listed(url=name, root=root, code="unreadable", problem=problem)
    problem = ""
    if stat.S_ISDIR(status.st_mode):
        problem = LINK_TO_FOLDER
    elif not stat.S_ISREG(status.st_mode):
        problem = NO_FILE
    elif is_link and not (follow_links or named or is_inside(real(name), real(root))):
        problem = LINK_OUT
    if problem:
        return Listed(url=name, root=root, code="not_followed", problem=problem)
    # an output of ours has the time of its source, whatever has been written since
    changed_ns = status.st_ctime_ns if local_mark(name) else status.st_mtime_ns
    version = _version({"ETag": changed_ns, "size": status.st_size})
    return Listed(url=name, root=root, size_bytes=status.st_size, version=version)


def _leads_on(place: str, name: str, folder: str, seen: set[str]) -> bool:
    """Return whether a link to a folder leads to files that are not found without it; add its target to `seen`."""
    target = real(posixpath.join(place, name))
    source = real(folder)
    new = target not in seen and not is_inside(target, source) and not is_inside(source, target)
    seen.add(target)
    return new


def _version(info: Mapping[str, Any]) -> str:
    """Return a version that is the same from a listing and from a request for the file.

    Times are cut to seconds, as S3 gives milliseconds in only one of the two.
    """
    told = (_written(info[key]) for key in VERSION_KEYS if info.get(key))
    return f"{next(filter(None, told), '')}-{info.get('size')}"


def _modified_s(info: Mapping[str, Any]) -> float:
    """Return when a file in a bucket was last changed; 0.0 if that is not told as a time."""
    told = next((info[key] for key in MODIFIED_KEYS if info.get(key)), None)
    return _seconds(told) if isinstance(told, datetime) else 0.0


@lru_cache(MOMENTS)
def _seconds(moment: datetime) -> float:
    """Return seconds since 1970; the same number, not a copy, for files of one moment, as there may be millions."""
    return moment.timestamp()


def _written(told: Any) -> str:
    return str(int(told.timestamp())) if isinstance(told, datetime) else str(told).strip('"')
