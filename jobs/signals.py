"""Ctrl-C, SIGTERM (the notice of a spot machine, or of Kubernetes) and SIGHUP (of a terminal that is closed): work is
given up, and what is done stays done.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from types import FrameType

INTERRUPTED, HUNG_UP, TERMINATED = 130, 129, 143  # as a shell reports a program that a signal has ended
ENDING_S = 10.0  # until a second notice counts
UNHEARD_S, LATEST_S = 10.0, 60.0  # until a process is ended that has not heard its notice, or is not done with it


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


class HungUp(KeyboardInterrupt):
    """SIGHUP came."""


RAISED: dict[int, type[KeyboardInterrupt]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}
SLACK_S = 1.0  # by which one thread may hear of a signal after the other
NOT_HEEDED = {signal.SIG_IGN, signal.SIG_DFL, signal.default_int_handler}
_notice: tuple[type[KeyboardInterrupt], float] | None = None  # that this process was to end, and when it came
_heard_at = 0.0  # when a signal was last raised in this process, or forgotten
_without_ray = False  # whether this process ends without asking Ray to shut down


def heed_signals() -> None:
    """End this process by SIGTERM and SIGHUP as by Ctrl-C. Called again after Ray has started, which has its own way.

    Signals that are ignored, as SIGHUP is under `nohup` and Ctrl-C in the background, stay so.
    """
    if threading.current_thread() is threading.main_thread():
        for number in RAISED:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _stop)
        sys.unraisablehook = _tell_of_lost_errors
        _listen()


def check_not_stopped() -> None:
    """Raise again what a signal has raised, which compiled code that lets no error out may have lost."""
    if _notice is not None:
        raise _notice[0]


def forget_signals() -> None:
    """Begin as if none had come."""
    global _notice, _heard_at
    _notice, _heard_at = None, time.monotonic()


def exit_status(stop: KeyboardInterrupt) -> int:
    """Return the exit status of a job that was stopped."""
    return TERMINATED if isinstance(stop, Terminated) else HUNG_UP if isinstance(stop, HungUp) else INTERRUPTED


def leave_without_ray() -> None:
    """Let `leave` end this process at once, and with it what it has in Ray.

    Threads of Ray Data may still wait for a job that was broken off. Were Ray shut down beside them, its core would end
    this process with status 1 before it has said a word, or Python would wait for them for ever.
    """
    global _without_ray
    _without_ray = True


def leave(status: int) -> int:
    """Return the exit status, or end this process with it where `leave_without_ray` was called."""
    if _without_ray:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    return status


def _tell_of_lost_errors(lost: "sys.UnraisableHookArgs") -> None:
    """Do as Python does with errors that nobody can catch, but for what signals raise, which is raised again."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)


def _stop(number: int, _: FrameType | None) -> None:
    """Raise what the signal stands for. While the job ends, only an impatient Ctrl-C counts."""
    global _notice, _heard_at
    now = _heard_at = time.monotonic()
    if _notice is None or number == signal.SIGINT or now - _notice[1] > ENDING_S:
        _notice = RAISED[number], now
        raise RAISED[number]


@cache
def _listen() -> None:
    """Have another thread hear of signals, too: Python's handlers wait for compiled code, as that which starts Ray."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_hear, args=(heard,), name="signals", daemon=True).start()


def _hear(pipe: int) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, RAISED)  # the main thread may be deaf to some for a while
    while True:
        number = os.read(pipe, 1)[0]
        if number in RAISED and signal.getsignal(number) not in NOT_HEEDED:
            threading.Thread(target=_leave_late, args=(number, time.monotonic()), daemon=True).start()


def _leave_late(number: int, told_at: float) -> None:
    """End this process where a signal does not: what it waits for may be gone, or never let Python's handler run."""
    time.sleep(UNHEARD_S)
    notice = _notice
    if _heard_at > told_at - SLACK_S:
        time.sleep(LATEST_S - UNHEARD_S)
        if notice is None or _notice != notice:
            return
    print("nightlift: stopped; something did not answer", file=sys.stderr, flush=True)
    os._exit(exit_status(RAISED[number]()))
