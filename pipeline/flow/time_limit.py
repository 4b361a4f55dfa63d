"""An end to work that takes too long: C code cannot be interrupted, so the process that is at it ends itself.

A thread looks at the clock. Once the present piece of work has had its time, the thread tells of it and ends the
process. Where C code never lets another thread run (a regular expression does not), the timer of `faulthandler` ends
the process, without a word: it needs no Python. Whoever started the process starts another one.
"""

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, NoReturn

TIME_LIMIT_S, MOST_TIME_LIMIT_S = 600.0, 1e6  # where nothing else is asked for, and what timers can count to
BYTES_A_SECOND = 1e6  # that even a slow store gives, and a slow codec takes
LOOK_EVERY_S = 0.5
GRACE_S = 2.0  # for the thread to be first
TELL_S = 30.0  # that telling may take
STDERR = 2

More = Callable[[float], None]


def allowed_s(limit_s: float, size_bytes: int) -> float:
    """Seconds for what reads all of a file: the limit, and one more for each megabyte."""
    return limit_s + size_bytes / BYTES_A_SECOND


@contextmanager
def time_limit(seconds: float, tell: Callable[[], object]) -> Iterator[More]:
    """The body has so many seconds; then `tell` is called in another thread, and this process ends with status 1.

    Yields what gives it that many seconds more, counted from the call. One body at a time in a process.
    """
    _watchdog.watch(seconds, tell)
    try:
        yield lambda more_s: _watchdog.watch(more_s, tell)
    finally:
        _watchdog.rest()


class _Watchdog:
    """One thread for the whole process; a piece of work costs it next to nothing."""

    def __init__(self) -> None:
        self._present: _Piece | None = None
        self._armed_s = 0.0  # of faulthandler's timer, when it was set
        self._lock = threading.Lock()  # of the two above
        self._thread: threading.Thread | None = None

    def watch(self, seconds: float, tell: Callable[[], object]) -> None:
        with self._lock:
            self._present = _Piece(time.monotonic() + seconds, seconds, tell)
            if seconds > self._armed_s:  # the first piece, one after a rest, or a longer one
                self._arm(seconds)
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_on, name="time limit", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        self._present = None

    def _look_on(self) -> None:
        while True:
            with self._lock:
                piece = self._present
                self._arm(piece.seconds if piece else 0)  # the next piece may begin at once: it has its whole time
            if piece and time.monotonic() >= piece.until:
                self._end(piece)
            time.sleep(LOOK_EVERY_S)

    def _arm(self, seconds: float) -> None:
        self._armed_s = seconds
        if seconds:
            faulthandler.dump_traceback_later(seconds + GRACE_S, file=STDERR, exit=True)
        else:
            faulthandler.cancel_dump_traceback_later()

    def _end(self, piece: "_Piece") -> NoReturn:
        self._arm(TELL_S)
        with suppress(Exception):  # then it is tried again, as if its worker had died of it
            piece.tell()
        faulthandler.dump_traceback(file=STDERR)  # into the worker's log: what it was at
        os._exit(1)


class _Piece(NamedTuple):
    until: float
    """By `time.monotonic`."""
    seconds: float
    tell: Callable[[], object]


_watchdog = _Watchdog()
