"""Which photos workers have begun and not finished. `flow.py` makes a Ray actor of it."""

from collections import Counter


class Attempts:
    """Blocks of photos, and of those that were begun again each photo by itself."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, name: str) -> int:
        """How often this has been begun, this time included."""
        self._begun[name] += 1
        return self._begun[name]

    def finish(self, name: str) -> None:
        del self._begun[name]
