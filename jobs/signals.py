"""Handles Ctrl-C, SIGTERM (the notice of a spot machine, or of Kubernetes) and SIGHUP (a terminal is closed): work
stops, and what is done stays done.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from types import FrameType

from jobs.command_line.logs import tell
from pipeline.errors import Busy, ClusterError, Diverged, ManifestError, NightliftError, Stopped

INTERRUPTED, HUNG_UP, TERMINATED = 130, 129, 143  # exit statuses by which shells report a program ended by a signal
ENDING_S = 10.0  # time from a first signal until a second SIGTERM or SIGHUP counts
UNHEARD_S, LATEST_S = 10.0, 60.0  # time until a process is killed that has not noticed its signal, or has not ended


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception."""


class HungUp(KeyboardInterrupt):
    """SIGHUP as an exception."""


RAISED: dict[int, type[KeyboardInterrupt]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}
SLACK_S = 1.0  # by which one thread may notice a signal after the other
NOT_HEEDED = {signal.SIG_IGN, signal.SIG_DFL, signal.default_int_handler}
_notice: tuple[type[KeyboardInterrupt], float] | None = None  # what the last signal raised, and when
_heard_at = 0.0  # when a signal was last raised in this process, or forgotten
_without_ray = False  # whether this process ends without asking Ray to shut down


def heed_signals() -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C. Must be called again after Ray has started, which sets its own handlers.

    Signals that are ignored (SIGHUP under `nohup`, Ctrl-C in the background) stay ignored.
    """
    if threading.current_thread() is threading.main_thread():
        for number in RAISED:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _stop)
        sys.unraisablehook = _report_lost_errors
        _listen()


def check_not_stopped() -> None:
    """Raise again what a signal has raised, as compiled code may have swallowed it."""
    if _notice is not None:
        raise _notice[0]


def forget_signals() -> None:
    """Forget all signals that have come."""
    global _notice, _heard_at
    _notice, _heard_at = None, time.monotonic()


def exit_status(error: BaseException) -> int:
    """Return the exit status of a job that a signal or an error has ended."""
    if isinstance(error, KeyboardInterrupt):
        return TERMINATED if isinstance(error, Terminated) else HUNG_UP if isinstance(error, HungUp) else INTERRUPTED
    could_not_go_on = isinstance(error, Busy | ClusterError | Diverged | ManifestError | Stopped)
    return 2 if isinstance(error, NightliftError) and not could_not_go_on else 1


def leave_without_ray() -> None:
    """Make `leave` end this process at once, without shutting Ray down.

    Threads of Ray Data may still wait for an interrupted job. If Ray were shut down meanwhile, its core would end this
    process with status 1 before it has reported anything, or Python would wait for these threads for ever.
    """
    global _without_ray
    _without_ray = True


def leave(status: int) -> int:
    """Return the exit status, or end this process with it if `leave_without_ray` was called."""
    if _without_ray:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    return status


def _report_lost_errors(lost: "sys.UnraisableHookArgs") -> None:
    """Report exceptions that nobody can catch as Python does, except those of signals: they are raised again."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)


def _stop(number: int, _: FrameType | None) -> None:
    """Raise the signal's exception. Within `ENDING_S` of the last one, only Ctrl-C counts."""
    global _notice, _heard_at
    now = _heard_at = time.monotonic()
    if _notice is None or number == signal.SIGINT or now - _notice[1] > ENDING_S:
        _notice = RAISED[number], now
        raise RAISED[number]


@cache
def _listen() -> None:
    """Start a thread that notices signals, too: Python's handlers wait for compiled code, such as Ray's start."""
    heard, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    # a forked process would tell this one of its own signals: they share the pipe
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_hear, args=(heard,), name="signals", daemon=True).start()


def _hear(pipe: int) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, RAISED)  # the main thread may block some for a while
    while True:
        number = os.read(pipe, 1)[0]
        if number in RAISED and signal.getsignal(number) not in NOT_HEEDED:
            threading.Thread(target=_leave_late, args=(number, time.monotonic()), daemon=True).start()


def _leave_late(number: int, told_at: float) -> None:
    """End this process if a signal does not: it may wait for something that is gone or that blocks Python's handler."""
    time.sleep(UNHEARD_S)
    notice = _notice
    if _heard_at > told_at - SLACK_S:
        time.sleep(LATEST_S - UNHEARD_S)
        if notice is None or _notice != notice:
            return
    tell("stopped without cleaning up, because part of the job did not respond")
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(exit_status(RAISED[number]()))
