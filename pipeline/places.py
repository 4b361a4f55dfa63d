"""Places as text: paths and URLs (`s3://bucket/key`, `gs://`, `az://`, `https://`), taken apart and put together."""

import itertools
import os
import re
from urllib.parse import urlsplit

LOCAL = "file"
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
PASSWORD = re.compile(r"^(s3a?://)[^/@]*:[^/@]*@")
GLOB = re.compile(r"[*?\[]")
S3 = {"s3", "s3a"}
WEB = {"http", "https"}  # sources only


def protocol_of(url: str) -> str:
    """`s3` for `s3://bucket/key`; `file` for a path."""
    scheme = SCHEME.match(url)
    return scheme[1].lower() if scheme else LOCAL


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


def is_inside(place: str, folder: str) -> bool:
    return place.startswith(join(folder, ""))


def shown(url: str) -> str:
    """As it may be shown and recorded: a web address without its query, which may be a signature, and any password."""
    if protocol_of(url) not in WEB:
        return PASSWORD.sub(r"\1", url)
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def before_glob(path: str) -> str:
    """The folders before the first that is a pattern; all of a path without patterns."""
    folders = path.split("/")
    return "/".join(itertools.takewhile(lambda folder: not GLOB.search(folder), folders))
