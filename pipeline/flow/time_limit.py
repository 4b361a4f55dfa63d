"""Time limits for work. C code cannot be interrupted, so the process that works for too long ends itself.

A thread watches the clock. When the current piece of work exceeds its limit, the thread reports it and ends the
process. If C code never lets another thread run (a regular expression does not), the timer of `faulthandler`, which
needs no Python, ends the process without a report. Whoever started the process starts another one.
"""

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, NoReturn

TIME_LIMIT_S, MOST_TIME_LIMIT_S = 600.0, 1e6  # default; the most that timers can count to
BYTES_A_SECOND = 1e6  # speed of even a slow store and a slow codec
LOOK_EVERY_S = 0.5
GRACE_S = 2.0  # head start of the thread over faulthandler's timer
TELL_S = 30.0  # time limit for the report
STDERR = 2


def allowed_s(limit_s: float, size_bytes: int) -> float:
    """Return the seconds allowed for work that reads a whole file: the limit, plus one for each megabyte."""
    return limit_s + size_bytes / BYTES_A_SECOND


@contextmanager
def time_limit(seconds: float, tell: Callable[[], object]) -> Iterator[None]:
    """Give the body so many seconds; then call `tell` in another thread and end this process with status 1.

    One body at a time per process.
    """
    _watchdog.watch(seconds, tell)
    try:
        yield
    finally:
        _watchdog.rest()


def renew(seconds: float) -> None:
    """Give the body of the current `time_limit` so many seconds, counted from now."""
    _watchdog.renew(seconds)


class _Watchdog:
    """Thread that watches all work of a process, one piece at a time, at next to no cost per piece."""

    def __init__(self) -> None:
        self._present: _Piece | None = None
        self._armed_s = 0.0  # what faulthandler's timer was last set to
        self._lock = threading.Lock()  # guards the two above
        self._thread: threading.Thread | None = None

    def watch(self, seconds: float, tell: Callable[[], object]) -> None:
        with self._lock:
            self._present = _Piece(time.monotonic() + seconds, seconds, tell)
            if seconds > self._armed_s:  # the first piece, one after a rest, or a longer one
                self._arm(seconds)
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_on, name="time limit", daemon=True)
            self._thread.start()

    def renew(self, seconds: float) -> None:
        if self._present is not None:
            self.watch(seconds, self._present.tell)

    def rest(self) -> None:
        self._present = None

    def _look_on(self) -> None:
        while True:
            with self._lock:
                piece = self._present
                self._arm(piece.seconds if piece else 0)  # in full, as a next piece may begin at any time
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
        with suppress(Exception):  # unreported, the work is tried again, as after a crash
            piece.tell()
        faulthandler.dump_traceback(file=STDERR)  # shows in the worker's log what it was doing
        os._exit(1)


class _Piece(NamedTuple):
    until: float
    """Deadline on the clock of `time.monotonic`."""
    seconds: float
    tell: Callable[[], object]


_watchdog = _Watchdog()
