"""Copies of files as they are."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import Changed
from pipeline.storage.attributes import Attributes
from pipeline.storage.errors import SAID
from pipeline.storage.ownership import Claim
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted

PIECE_BYTES = 8_000_000  # read at once; a sidecar takes a single request


def copy(
    storage: Storage,
    source: str,
    destination: str,
    *,
    version: str,
    size_bytes: int,
    claim: Claim,
    keeps: Attributes,
    on_part: Callable[[], None] = lambda: None,
) -> tuple[int, str]:
    """Copy a file byte for byte, and return its size in bytes and its SHA-256 in hexadecimal digits.

    `version`, `size_bytes`: as listed; "" accepts any version. `claim`, `keeps`: see `Storage.write`. `on_part`: called
    before each part; what it raises ends the copy. Raises Changed, and what reading and writing raise.
    """
    if size_bytes <= PIECE_BYTES:
        data = storage.read(source)
        storage.write(destination, data, claim, keeps)
        return len(data), hashlib.sha256(data).hexdigest()
    digest = hashlib.sha256()
    with storage.writing(destination, claim=claim, keeps=keeps) as path, Path(path).open("wb") as file:
        for piece in _pieces(storage, source, version, size_bytes):
            on_part()
            digest.update(piece)
            file.write(piece)
        return file.tell(), digest.hexdigest()


def _pieces(storage: Storage, source: str, version: str, size_bytes: int) -> Iterator[bytes]:
    """Yield the content of a file. Raises Changed if it is no longer the version that was listed."""
    for start in range(0, size_bytes, PIECE_BYTES):
        yield storage.read_part(source, start, min(start + PIECE_BYTES, size_bytes))
    if version and storage.version(source) != version:
        raise Changed(f"{redacted(source)}: {SAID[Changed]}")
