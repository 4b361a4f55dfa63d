"""The clock of a command: how long a person has waited for it, also while packages were loaded."""

import time

_begun_at = time.monotonic()


def begin() -> None:
    """Note that the command begins now."""
    global _begun_at
    _begun_at = time.monotonic()


def elapsed_s() -> float:
    return time.monotonic() - _begun_at
