"""Check that a destination is not one of the sources under another name.

Names, links, devices and inodes are not enough: a bucket may have several URLs, and a folder may be mounted twice or
hold a bucket's objects. So a file is written below the destination and looked for below the sources.
"""

import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from pipeline.errors import AccessDenied, NotFound, StorageError, UsageError
from pipeline.storage.ownership import keeps_marks
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, WEB, join, protocol_of, real, redacted
from pipeline.storage.writing import part_name


def proven(storage: Storage, root: str, sources: Iterable[str]) -> Storage:
    """Check that the folder `root`, where outputs will go, is none of the folders `sources` under another name.

    Sources of the same name are left to the caller. Returns the storage with what the store of `root` can do: refuse to
    replace objects, keep marks. Raises UsageError where `root` is a source, or where its store knows it by another
    name; StorageError where it cannot be written.
    """
    token, name = secrets.token_hex(16).encode(), part_name("place")
    marker = join(root, FOLDER, name)
    try:
        storage.write(marker, token)
    except StorageError as error:
        reason = str(error).rpartition(f"/{FOLDER}/")[2].partition(": ")[2]  # without the name of the file
        raise type(error)(f"{root}: {reason or error}") from error
    try:
        next(storage.walk(join(root, FOLDER)), None)  # raises where the store knows `root` by another name
        for source in sources:
            if real(source) != real(root) and _holds(storage, join(source, FOLDER, name), token):
                raise UsageError(
                    f"{redacted(source)} and {root} are the same place under two names, so originals could be "
                    "overwritten; choose another destination"
                )
        marked = keeps_marks(storage, marker)  # before `refuses_to_replace`, which may replace it
        return replace(storage, keeps_marks=marked, conditional_puts=storage.refuses_to_replace(marker))
    finally:
        with suppress(StorageError):  # deleting may be forbidden; listings leave the file out
            storage.remove([marker])
        storage.remove_empty(join(root, FOLDER))


def _holds(storage: Storage, url: str, token: bytes) -> bool:
    try:
        return storage.read(url) == token
    except (NotFound, AccessDenied):
        return False
    except StorageError:
        if protocol_of(url) in WEB:  # a server may answer anything
            return False
        raise
