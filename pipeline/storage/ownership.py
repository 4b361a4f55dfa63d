"""Ownership of files where outputs go: nightlift replaces what it wrote itself, and nothing else.

A file counts as ours if it carries the mark that nightlift gives to its outputs, or already holds exactly what is to
be written. The mark is an extended attribute on disks and object metadata in S3. Where a place keeps no marks, a file
also counts as ours if the manifest records an output of its size there. At such a place, an output that a killed run
wrote but did not record counts as ours only if the same content is to be written again.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pipeline.errors import InTheWay, NotFound
from pipeline.storage.errors import SAID, with_reason
from pipeline.storage.retries import retried
from pipeline.storage.urls import FOLDER, LOCAL, S3, protocol_of, redacted
from pipeline.storage.writing import PART_SUFFIX

CHUNK_BYTES = 1 << 20
OWN = {"manifest", "runs", "locks", "segments", "report.html", "training.json", "training.pt"}  # below `_nightlift/`
NO_MARK = "none is kept there"
METADATA, ATTRIBUTE = "nightlift", "user.nightlift"  # names of the mark in S3 and on disks


class Store(Protocol):
    """What these checks need of a `Storage`."""

    @property
    def keeps_marks(self) -> bool: ...

    def filesystem(self, url: str) -> tuple[Any, str]: ...

    def open(self, url: str) -> AbstractContextManager[BinaryIO]: ...

    def read(self, url: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Content:
    """Content to be written: bytes in memory, or a local file."""

    data: bytes = b""
    path: str = ""
    """Path of the local file; "" if `data` is used."""

    @property
    def size_bytes(self) -> int:
        return Path(self.path).stat().st_size if self.path else len(self.data)

    def put(self, fs: Any, target: str, **options: Any) -> None:
        """Write the content to `target` in fsspec's `fs`, passing on `options`."""
        if self.path:
            fs.put_file(self.path, target, **options)
        else:
            fs.pipe_file(target, self.data, **options)

    def equals(self, file: BinaryIO) -> bool:
        """Return whether an open file, at its beginning and of the same size, has the same content."""
        if not self.path:
            return file.read() == self.data
        with Path(self.path).open("rb") as own:
            while chunk := own.read(CHUNK_BYTES):
                if file.read(len(chunk)) != chunk:
                    return False
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Files that an output may replace, besides those that carry our mark or have the same content."""

    known_bytes: int = 0
    """Size of the output that the manifest records there; 0 if none. Used only where no marks are kept."""
    recognised: Callable[[bytes], bool] | None = None
    """Function that returns, from the content of a file there, whether it is an earlier one of ours."""
    anything: bool = False
    """Whether any file may be replaced, as the job has already made sure that the name is its own."""


NO_CLAIM = Claim()


def is_own(url: str, claim: Claim) -> bool:
    """Return whether a place belongs to nightlift, whatever is there."""
    own = url.rpartition(f"/{FOLDER}/")[2].partition("/")[0] if f"/{FOLDER}/" in url else ""
    return claim.anything or own in OWN or own.endswith(PART_SUFFIX)


@retried
def check_is_ours(storage: Store, url: str, claim: Claim, content: Content | None = None) -> None:
    """Raise InTheWay where a file is at `url` that is not ours to replace. `content`: what would be written there."""
    if is_own(url, claim):
        return
    try:
        size_bytes, mark, expected = _found(storage, url)
    except NotFound:
        return
    if mark == expected or (not mark and not storage.keeps_marks and 0 < size_bytes == claim.known_bytes):
        return
    if content is not None and content.size_bytes == size_bytes:
        with storage.open(url) as file:
            if content.equals(file):
                return
    if size_bytes >= 0 and claim.recognised is not None and claim.recognised(storage.read(url)):
        return
    raise InTheWay(f"{redacted(url)}: {SAID[InTheWay]}")


def keeps_marks(storage: Store, url: str) -> bool:
    """Return whether the store kept the mark of the output just written to `url`. Raises StorageError."""
    _, mark, expected = _found(storage, url)
    return mark == expected


def is_free(storage: Store, url: str) -> bool:
    """Return whether nothing is at `url`, or a file that carries our mark."""
    try:
        check_is_ours(storage, url, NO_CLAIM)
    except InTheWay:
        return False
    return True


def mark_of(url: str, size_bytes: int, changed_ns: int = 0) -> str:
    """Return the mark of an output of this size at this place; a copy elsewhere or an edited file does not match it.

    `changed_ns`: time of last change of a local file, in nanoseconds; S3 objects are only replaced, never changed.
    """
    return f"{hashlib.sha256(os.fsencode(url)).hexdigest()[:16]}-{size_bytes}-{changed_ns}"


def set_mark(url: str, part: str) -> None:
    """Mark a local file that will be moved to `url`, if its disk supports such marks."""
    status = os.stat(part)  # noqa: PTH116
    with suppress(OSError, AttributeError):  # AttributeError: not Linux
        os.setxattr(part, ATTRIBUTE, mark_of(url, status.st_size, status.st_mtime_ns).encode())


def _found(storage: Store, url: str) -> tuple[int, str, str]:
    """Return the size in bytes of what is at `url`, its mark, and the mark of an output of ours. Raises NotFound.

    The size of a link or a folder is -1.
    """
    fs, path = storage.filesystem(url)
    fs.invalidate_cache()
    with with_reason(url, fs, path):
        if protocol_of(url) == S3:  # s3fs's `info` also lists the bucket if there is no such key
            bucket, key, _ = fs.split_path(path)
            answer = fs.call_s3("head_object", Bucket=bucket, Key=key, **fs.req_kw)
            size_bytes = int(answer["ContentLength"])
            return size_bytes, str(answer.get("Metadata", {}).get(METADATA, "")), mark_of(url, size_bytes)
        if protocol_of(url) == LOCAL:
            status = os.lstat(path)
            expected = mark_of(url, status.st_size, status.st_mtime_ns)
            return status.st_size if stat.S_ISREG(status.st_mode) else -1, local_mark(path), expected
        info = fs.info(path)
    return int(info["size"]) if info["type"] == "file" else -1, "", NO_MARK


def local_mark(path: str) -> str:
    """Return the mark of a local file; "" if it has none."""
    with suppress(OSError, AttributeError):
        return os.getxattr(path, ATTRIBUTE).decode(errors="replace")
    return ""
