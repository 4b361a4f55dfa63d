"""Ctrl-C, SIGTERM (the notice of a spot machine, or of Kubernetes) and SIGHUP (of a terminal that is closed): work is
given up, and what is done stays done.
"""

import signal
import threading
from typing import NoReturn

INTERRUPTED, HUNG_UP, TERMINATED = 130, 129, 143  # as a shell reports a program that a signal has ended


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


class HungUp(KeyboardInterrupt):
    """SIGHUP came."""


def heed_signals() -> None:
    """End this process by SIGTERM and SIGHUP as by Ctrl-C. Called again after Ray has started, which has its own way.

    A SIGHUP that is ignored, as under `nohup`, stays so.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, _hang_up)


def exit_status(stop: KeyboardInterrupt) -> int:
    """Return the exit status of a job that was stopped."""
    return TERMINATED if isinstance(stop, Terminated) else HUNG_UP if isinstance(stop, HungUp) else INTERRUPTED


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _hang_up(*_: object) -> NoReturn:
    raise HungUp
