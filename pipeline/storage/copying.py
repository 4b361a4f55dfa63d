"""Copies of files as they are."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from pipeline.errors import Changed
from pipeline.storage.attributes import Attributes
from pipeline.storage.errors import SAID
from pipeline.storage.ownership import Claim
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted

PIECE_BYTES = 8_000_000  # read at once; a sidecar takes a single request


class Copied(Protocol):
    """What a copy needs of a `Record`."""

    @property
    def source(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def destination(self) -> str: ...
    @property
    def claim(self) -> Claim: ...
    def attributes(self) -> Attributes: ...
    def content(self, storage: Storage) -> bytes: ...


def copy(storage: Storage, file: Copied, on_part: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """Copy a file byte for byte, and return its size in bytes and its SHA-256 in hexadecimal digits.

    `on_part`: called before each part; what it raises ends the copy. Raises Changed, and what `Storage` raises.
    """
    keeps = file.attributes()
    if file.size_bytes <= PIECE_BYTES:
        data = file.content(storage)
        storage.write(file.destination, data, file.claim, keeps)
        return len(data), hashlib.sha256(data).hexdigest()
    digest = hashlib.sha256()
    with storage.writing(file.destination, claim=file.claim, keeps=keeps) as path, Path(path).open("wb") as part:
        for piece in _pieces(storage, file):
            on_part()
            digest.update(piece)
            part.write(piece)
        return part.tell(), digest.hexdigest()


def _pieces(storage: Storage, file: Copied) -> Iterator[bytes]:
    """Yield the content of a file. Raises Changed if it is no longer the version that was listed."""
    for start in range(0, file.size_bytes, PIECE_BYTES):
        yield storage.read_part(file.source, start, min(start + PIECE_BYTES, file.size_bytes))
    if file.version and storage.version(file.source) != file.version:
        raise Changed(f"{redacted(file.source)}: {SAID[Changed]}")
