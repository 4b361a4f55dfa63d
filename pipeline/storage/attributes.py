"""Attributes that an output keeps of its source: the time of its last change, and no wider access."""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from pipeline.storage.errors import errors_at
from pipeline.storage.urls import LOCAL, protocol_of, redacted

OWNER = 0o600  # an output can always be read and replaced by the user who wrote it
MODIFIED = "mtime"  # metadata of an object with the time of its source, as rclone has it: seconds since 1970


@dataclass(frozen=True, kw_only=True, slots=True)
class Attributes:
    """What a new file gets beside its content."""

    modified_ns: int | None = None
    """Time of last change in nanoseconds since 1970; None: the time of writing."""
    mode: int = 0o666
    """Permissions on a disk, which the umask restricts further."""

    @classmethod
    def of(cls, url: str, modified_s: float = 0.0) -> "Attributes":
        """Return what an output keeps of this source. `modified_s`: as listed, if it is not on a disk; 0: not known.

        Raises StorageError.
        """
        if protocol_of(url) != LOCAL:
            return cls(modified_ns=round(modified_s * 1e9) if modified_s else None)
        with errors_at(url, redacted(url)):
            status = os.stat(url)  # noqa: PTH116
        return cls(modified_ns=status.st_mtime_ns, mode=stat.S_IMODE(status.st_mode))

    @property
    def metadata(self) -> dict[str, str]:
        """Return the metadata of an object in S3."""
        if self.modified_ns is None:
            return {}
        seconds, rest_ns = divmod(self.modified_ns, 10**9)
        return {MODIFIED: f"{seconds}.{rest_ns:09}" if rest_ns and seconds >= 0 else f"{self.modified_ns / 1e9:.0f}"}

    def create(self, path: str) -> None:
        """Create an empty local file, so that nobody else can read what is going to be written to it."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, self.mode & 0o666 | OWNER))

    def set_time(self, path: str) -> None:
        """Set the time of a local file, if its disk can hold it."""
        if self.modified_ns is not None:
            with suppress(OSError, OverflowError):
                os.utime(path, ns=(self.modified_ns, self.modified_ns))


NEW = Attributes()
