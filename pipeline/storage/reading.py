"""Files that are read piece by piece, as decoders do, and what becomes of a read that fails."""

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
    """A file whose first failure is raised as an error of ours and kept as `failure`; from then on it is at its end.

    A decoder may take a read that failed for damage or for the end, and go on: so whoever opened the file asks.

    `file`: fsspec's. `errors`: turns what it raises into errors of ours. `timed`: entered for every read.
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
                raise StorageError(f"{self.name}: ends after {self._file.tell()} of {size} bytes; run again")
        buffer[: len(data)] = data
        return len(data)

    @retried
    def _read(self, size: int) -> bytes:
        """A read that failed has not moved the place in the file."""
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
        with suppress(Exception):  # there is nothing to lose
            self._file.close()
        super().close()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            with self._errors():
                yield
        except NightliftError as error:
            self.failure = error
        except Exception as error:  # a server without ranges, say
            reason = without_secrets(str(error))
            self.failure = StorageError(f"{self.name}: cannot be read in parts ({reason}); copy it to a disk first")
        else:
            return
        raise self.failure from None  # what it came from may name a signature, and PyAV may print it


@contextmanager
def reading(
    opened: Callable[[], Any],
    name: str,
    errors: Timed,
    timed: Timed,
    check: Callable[[], None],
) -> Iterator[BinaryIO]:
    """The file that `opened` gives, as `Reading`; the end of the block raises its failure, if it had one.

    `check`: raises where the file is not what it should be; it is asked at the beginning and at the end.
    """
    with timed():
        raw = Reading(opened(), name, errors, timed)
        check()
    try:
        with io.BufferedReader(raw) as buffered:
            yield buffered
    except Exception:
        if raw.failure is None:
            check()  # two versions in one look like damage
            raise
    if raw.failure is not None:
        raise raw.failure from None
    check()
