"""Calls that are repeated beside other work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(every_s: float, call: Callable[[], object]) -> Iterator[None]:
    """Run `call` every `every_s` seconds while the body runs, in a thread of its own. It must raise nothing."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(every_s):
            call()

    thread = threading.Thread(target=repeat, name=call.__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
