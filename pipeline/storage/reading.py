"""Files that are read piece by piece, as decoders do, and the handling of failed reads."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, BinaryIO

from pipeline.errors import NightliftError, StorageError
from pipeline.storage.errors import without_secrets
from pipeline.storage.retries import retried

Timed = Callable[[], AbstractContextManager[None]]


class Reading(io.RawIOBase):
    """A file whose first failure is raised as one of our errors and kept in `failure`; after it, the file has ended.

    A decoder may take a failed read for damage or the end and go on, so the code that opened the file must check.

    `file`: fsspec's. `errors`: converts what it raises into our own errors. `timed`: entered for every read.
    """

    def __init__(self, file: Any, name: str, errors: Timed, timed: Timed) -> None:
        self.name = name
        self.failure: NightliftError | None = None
        self._file, self._errors, self._timed = file, errors, timed

    def readinto(self, buffer: Any) -> int:
        if self.failure is not None:
            return 0
        with self._kept(), self._timed():
            data = self._read(len(buffer))
            size = getattr(self._file, "size", None)
            if not data and size is not None and self._file.tell() < size:
                raise StorageError(f"{self.name}: reading ended after {self._file.tell()} of {size} bytes; run again")
        buffer[: len(data)] = data
        return len(data)

    @retried
    def _read(self, size: int) -> bytes:
        """Read up to `size` bytes. Safe to repeat: a failed read does not move the position in the file."""
        with self._errors():
            data: bytes = self._file.read(size)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self.failure is None:
            with self._kept():
                self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        place: int = self._file.tell()
        return place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        with suppress(Exception):  # nothing is lost: the file was only read
            self._file.close()
        super().close()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            with self._errors():
                yield
        except NightliftError as error:
            self.failure = error
        except Exception as error:  # such as from a server without range requests
            reason = without_secrets(str(error))
            self.failure = StorageError(
                f"{self.name}: cannot be read in parts ({reason}); copy it to a local disk first"
            )
        else:
            return
        raise self.failure from None  # the cause may contain a signature, and PyAV may print it


@contextmanager
def reading(
    opened: Callable[[], Any],
    name: str,
    errors: Timed,
    timed: Timed,
    check: Callable[[], None],
) -> Iterator[BinaryIO]:
    """Yield the file that `opened` returns, as a `Reading`; raise its failure, if any, at the end of the block.

    `check`: raises where the file is not the expected one; called at the beginning and at the end.
    """
    with timed():
        raw = Reading(opened(), name, errors, timed)
        check()
    try:
        with io.BufferedReader(raw) as buffered:
            yield buffered
    except Exception:
        if raw.failure is None:
            check()  # a file replaced during the read looks damaged
            raise
    if raw.failure is not None:
        raise raw.failure from None
    check()
