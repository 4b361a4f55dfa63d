"""What is at a place: files one after the other, as they are found, so that a bucket of millions takes no memory."""

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.places import GLOB, LOCAL, S3, WEB, before_glob, is_inside, protocol_of, real, shown
from pipeline.writing import PART_SUFFIX

VERSION_KEYS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "Last-Modified", "updated")
LINK_OUT = "a link out of the source, which is not followed without --follow-links"
LINK_TO_FOLDER = "a link to a folder, which is not followed without --follow-links"
NO_FILE = "a pipe, socket or device, which is not read"

Found = tuple[str, Mapping[str, Any]]  # name in the file system, and what the file system tells of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One file that a listing found."""

    url: str
    root: str
    """Where the listing began, as the file system names it."""
    size_bytes: int = 0
    version: str = ""
    """Changes whenever the content does: the store's ETag, or else the time of the last change, and the size."""
    code: str = ""
    """Why it cannot be an input: `unreadable`, or `not_followed`."""
    problem: str = ""
    """The same in words."""

    @property
    def relative(self) -> str:
        """Path below the root of the listing, `/` between folders."""
        name = self.url if "://" in self.root else self.url.partition("://")[2] or self.url
        return shown(name).removeprefix(self.root).lstrip("/")


def walk(fs: Any, path: str, url: str, *, follow_links: bool) -> Iterator[Listed]:
    """Every file at `url`, which is `path` in fsspec's `fs`: a file, a folder with all below it, or a glob.

    Local links out of the source are told as not followed unless `follow_links`; so are links to folders, and what
    must not be read. Raises FileNotFoundError and what else `fs` raises.
    """
    root, found = _find(fs, path, follow_links)
    for name, info in found:
        if name.endswith(("/", PART_SUFFIX)):
            continue
        named = f"{protocol_of(url)}://{name}" if "://" in url and "://" not in name else name
        if protocol_of(url) == LOCAL:
            yield _local(named, root, info, follow_links)
        else:
            yield Listed(url=named, root=root, size_bytes=int(info.get("size") or 0), version=_version(info))


def _find(fs: Any, path: str, follow_links: bool) -> tuple[str, Iterator[Found]]:
    """The root that relative paths count from, and every file."""
    try:
        info = fs.info(path)
    except FileNotFoundError:
        matches = fs.glob(path, detail=True) if GLOB.search(path) else {}
        if not matches:
            raise
        return before_glob(path), _matched(fs, matches, follow_links)
    if info["type"] != "directory":
        name = info["name"]
        return shown(name).rpartition("/")[0], iter([(name, {**info, "named": True})])
    return str(fs._strip_protocol(info["name"])).rstrip("/"), _below(fs, path, follow_links)


def _matched(fs: Any, matches: Mapping[str, Any], follow_links: bool) -> Iterator[Found]:
    for name, match in matches.items():
        if match["type"] == "directory":
            yield from _below(fs, name, follow_links)
        else:
            yield name, fs.info(name) if _protocol(fs) in WEB else match  # an index page tells no sizes


def _below(fs: Any, folder: str, follow_links: bool) -> Iterator[Found]:
    """Every file below a folder."""
    if _protocol(fs) == LOCAL:
        return _on_disk(folder, follow_links)
    if _protocol(fs) in S3:
        return _in_bucket(fs, folder)
    return iter(fs.find(folder, detail=True).items())


def _in_bucket(fs: Any, folder: str) -> Iterator[Found]:
    """Page by page: s3fs's own `find` keeps every page, a kilobyte for each key."""
    bucket, key, _ = fs.split_path(folder)
    where = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", **fs.req_kw}
    token: dict[str, str] = {}
    while True:
        page = fs.call_s3("list_objects_v2", **where, **token)
        for each in page.get("Contents", ()):
            yield f"{bucket}/{each['Key']}", {"ETag": each.get("ETag"), "size": each["Size"]}
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _on_disk(folder: str, follow_links: bool) -> Iterator[Found]:
    """Also links to folders that are not followed, and what must not be read (`error`: why)."""
    unreadable: list[OSError] = []
    seen = {real(folder)}
    for place, folders, files in os.walk(folder, onerror=unreadable.append, followlinks=follow_links):
        links = [name for name in folders if os.path.islink(posixpath.join(place, name))]  # noqa: PTH114
        if follow_links:
            folders[:] = [name for name in folders if name not in links or _leads_on(place, name, folder, seen)]
        for name in files if follow_links else [*files, *links]:
            yield posixpath.join(place, name), {}
    for error in unreadable:
        yield error.filename, {"error": error}


def _leads_on(place: str, name: str, folder: str, seen: set[str]) -> bool:
    """Whether a link to a folder leads to files that are not found without it."""
    target = real(posixpath.join(place, name))
    new = target not in seen and not is_inside(target, real(folder))
    seen.add(target)
    return new


def _local(name: str, root: str, info: Mapping[str, Any], follow_links: bool) -> Listed:
    if "error" in info:
        return _unreadable(name, root, info["error"])
    try:
        is_link = stat.S_ISLNK(os.lstat(name).st_mode)
        status = os.stat(name)  # noqa: PTH116 (of what a link points to)
    except OSError as error:
        return _unreadable(name, root, error)
    problem = ""
    if stat.S_ISDIR(status.st_mode):
        problem = LINK_TO_FOLDER
    elif not stat.S_ISREG(status.st_mode):
        problem = NO_FILE
    elif is_link and not (follow_links or info.get("named") or is_inside(real(name), real(root))):
        problem = LINK_OUT
    if problem:
        return Listed(url=name, root=root, code="not_followed", problem=problem)
    return Listed(
        url=name,
        root=root,
        size_bytes=status.st_size,
        version=_version({"ETag": status.st_mtime_ns, "size": status.st_size}),
    )


def _version(info: Mapping[str, Any]) -> str:
    told = next((str(info[key]) for key in VERSION_KEYS if info.get(key)), "")
    return f"{told.strip(chr(34))}-{info.get('size')}"


def _unreadable(name: str, root: str, error: OSError) -> Listed:
    problem = f"cannot be read ({error.strerror}); check its permissions, or what it links to"
    return Listed(url=name, root=root, code="unreadable", problem=problem)


def _protocol(fs: Any) -> str:
    return fs.protocol if isinstance(fs.protocol, str) else str(fs.protocol[0])
