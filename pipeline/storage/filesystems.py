"""fsspec's file systems: how they are made, and how buckets are searched by a pattern."""

import inspect
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from textwrap import shorten
from typing import Any

import fsspec
from fsspec.utils import glob_translate

from pipeline.errors import UsageError
from pipeline.storage.credentials import on_this_machine
from pipeline.storage.errors import without_secrets
from pipeline.storage.urls import PLACES, S3, before_glob

LONGEST = 200  # characters of what a file system says
EXTRAS = {"gs": "gcs", "az": "azure", "http": "http", "https": "http"}


def filesystem_of(protocol: str, options: Mapping[str, Any], place: str) -> Any:
    """Return fsspec's file system for a protocol. `place`: the URL for error messages. Raises UsageError."""
    here = on_this_machine(options)
    try:
        kind = fsspec.get_filesystem_class(protocol)
        inspect.signature(kind.__init__).bind(None, **here)  # some classes complain in __del__ otherwise
        fs = fsspec.filesystem(protocol, **here)
        if protocol == S3:
            fs.retries = 1  # one attempt: s3fs's would multiply with its client's and those of `retried`
            fs.session = fs.session or _session(fs.kwargs)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        remedy = f'pip install "nightlift[{extra}]"' if extra else str(error)
        raise UsageError(f"{place}: {protocol}:// needs a package that is not installed: {remedy}") from error
    except Exception as error:  # some connect, or load a library, which raises anything
        reason = shorten(without_secrets(str(error)), LONGEST) or type(error).__name__
        raise UsageError(f"{place}: cannot be reached ({reason}); check --storage-options, or use {PLACES}") from error
    return fs


def _session(options: Mapping[str, Any]) -> Any:
    """Return a session for the S3 client that parses times fast: botocore spends most of a listing on their format."""
    import aiobotocore.session  # comes with s3fs; slow to import, needed only for s3://

    session = aiobotocore.session.AioSession(**options)
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    return session


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        from botocore.utils import parse_timestamp

        moment: datetime = parse_timestamp(text)
        return moment


def matches(fs: Any, pattern: str) -> dict[str, Any]:
    """Return name -> info of all files and folders in a bucket that match a pattern.

    Unlike `fs.glob`, which leaves out folders that it fails to list, raises what the file system raises.
    """
    wanted = re.compile(glob_translate(pattern))
    root = before_glob(pattern)
    depth = None if "**" in pattern else pattern.count("/") - root.count("/")
    return {name: info for name, info in _below(fs, root, depth) if wanted.match(name)}


def _below(fs: Any, folder: str, depth: int | None) -> Iterator[tuple[str, Any]]:
    """Yield files and folders down to a depth; None: all."""
    for info in fs.ls(folder, detail=True):
        name = info["name"].rstrip("/")
        if name != folder:
            yield name, info
            if info["type"] == "directory" and depth != 1:
                yield from _below(fs, name, None if depth is None else depth - 1)
