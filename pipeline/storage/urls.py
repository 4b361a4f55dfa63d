"""Places as text: paths and URLs (`s3://bucket/key`, `gs://`, `az://`, `https://`), taken apart and put together."""

import itertools
import os
import re
from urllib.parse import urlsplit

from pipeline.errors import UsageError

FOLDER = "_nightlift"  # folder at a destination for nightlift's own files
LOCAL = "file"
S3 = "s3"
WEB = {"http", "https"}  # sources only
BUCKETS = {S3, "gs", "az"}
ALIASES = {"s3a": S3, "gcs": "gs", "abfs": "az", "abfss": "az", "local": LOCAL}  # other names of the same protocols
OTHER_NAMES = tuple(f"{alias}://" for alias in ALIASES)
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
MISTYPED = re.compile(  # `s3:/b/x`, `s3:b/x`, `s3//b/x`; `foo:/x`, except Windows drives
    rf"({'|'.join((*BUCKETS, *WEB, *ALIASES, LOCAL))})(:|//)|[a-z][a-z0-9+.-]+:/", re.IGNORECASE
)
CHAINED = re.compile(r"[a-z0-9+.-]+::([a-z0-9+.-]+::)*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
PLACES = "a path, s3://, gs://, az:// or, as a source, https://"
ARCHIVES = {"tar", "zip", "libarchive"}  # fsspec's names
NO_PLACES = {"memory", "data", "dir", "dask", "generic", "reference"}  # likewise: of one process, or of another URL
PASSWORD = re.compile(r"((?:^|::)[a-z][a-z0-9+.-]*://)[^/@:]*:[^@]*@", re.IGNORECASE)  # which may contain slashes
GLOB = re.compile(r"[*?\[]")


def canonical(protocol: str) -> str:
    """Return the canonical name of a protocol that may have several: `s3` for `S3A`."""
    return ALIASES.get(protocol.lower(), protocol.lower())


def protocol_of(url: str) -> str:
    """Return `s3` for `s3://bucket/key` and `s3a://bucket/key`; `file` for a path."""
    scheme = SCHEME.match(url)
    return canonical(scheme[1]) if scheme else LOCAL


def canonical_url(url: str) -> str:
    """Return a URL with its protocol's canonical name; earlier versions recorded the name that was typed."""
    return f"{protocol_of(url)}://{url.partition('://')[2]}" if url.startswith(OTHER_NAMES) else url


def join(folder: str, *names: str) -> str:
    return "/".join([folder.rstrip("/") if folder != "/" else "", *names])


def parent(url: str) -> str:
    """Return the folder of a file: `s3://bucket/a` for `s3://bucket/a/b.jpg`, `.` for `b.jpg`."""
    return url.rstrip("/").rpartition("/")[0] or ("/" if url.startswith("/") else ".")


def absolute(place: str) -> str:
    """Return the canonical form of a place: an absolute path, or a URL with its protocol's canonical name.

    Removes a URL's trailing slash, except for web servers. Raises UsageError for what is neither path nor URL, or
    names no place.
    """
    scheme = SCHEME.match(place)
    if protocol_of(place) in ARCHIVES:
        raise UsageError(f"{redacted(place)}: archives cannot be read or written in place; use a folder or a bucket")
    if protocol_of(place) in NO_PLACES or CHAINED.match(place):
        raise UsageError(f"{redacted(place)}: not a place where files can stay; use {PLACES}")
    if scheme is None and MISTYPED.match(place):
        form = f"{re.split('[:/]', place)[0]}://BUCKET/KEY"
        raise UsageError(f"{place}: neither a path nor a URL; write a URL as {form}, or the path as ./{place}")
    rest = place[scheme.end() :] if scheme else place
    protocol = protocol_of(place)
    if protocol == LOCAL:
        names_a_place = rest.startswith(("/", "~"))
    else:
        names_a_place = bool(rest.strip("/")) and not (rest.startswith("/") and protocol in BUCKETS | WEB)
    if scheme and not names_a_place:
        form = "file:///PATH" if protocol == LOCAL else f"{protocol}://NAME/..."
        raise UsageError(f"{redacted(place)}: incomplete URL; write it as {form}")
    if protocol == LOCAL:
        return os.path.abspath(os.path.expanduser(rest))  # noqa: PTH100, PTH111 (keeps globs)
    return f"{protocol}://{rest if protocol in WEB else rest.rstrip('/')}"


def real(url: str) -> str:
    """Return the same place with links resolved."""
    return os.path.realpath(url) if protocol_of(url) == LOCAL else url


def is_same(one: str, other: str) -> bool:
    """Return whether two absolute places are the same, by their names and, on disks, by device and inode."""
    if real(one) == real(other):
        return True
    try:
        return os.path.samefile(one, other)  # noqa: PTH121
    except OSError:  # one of them does not exist, or is a URL
        return False


def is_bucket(url: str) -> bool:
    """Return whether a URL names a whole bucket, without a key."""
    return protocol_of(url) in BUCKETS and "/" not in url.partition("://")[2]


def local_path(place: str) -> str:
    """Return the path in `file:///a/b` and `local:///a/b`; a path is returned unchanged."""
    scheme = SCHEME.match(place)
    return place[scheme.end() :] if scheme else place


def is_inside(place: str, folder: str) -> bool:
    return place.startswith(join(folder, ""))


def redacted(url: str) -> str:
    """Return a URL that is safe to show: no passwords, and no query of a web address, which may be a signature."""
    if protocol_of(url) not in WEB:
        return PASSWORD.sub(r"\1", url)
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def before_glob(path: str) -> str:
    """Return the folders before the first one with a pattern; the whole path if it has none."""
    folders = path.split("/")
    return "/".join(itertools.takewhile(lambda folder: not GLOB.search(folder), folders))
