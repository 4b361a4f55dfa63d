"""Ctrl-C, and SIGTERM (the notice of a spot machine, or of Kubernetes): work is given up; what is done stays done."""

import signal
import threading
from typing import NoReturn

INTERRUPTED, TERMINATED = 130, 143  # as a shell reports a program ended by Ctrl-C, and by SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def heed_sigterm() -> None:
    """From now on SIGTERM ends this process as Ctrl-C does. To be said again after Ray, which has its own way."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def exit_status(stop: KeyboardInterrupt) -> int:
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
