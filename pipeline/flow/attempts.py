"""Counts what workers have begun and not finished, and fails a file at which workers die or time out.

`supervised_step.py` makes a Ray actor of `Attempts`, whose methods use nothing else of this module.
"""

from collections import Counter

from pipeline.records import Outcome

ATTEMPTS = 3  # per file at which workers die, perhaps for another reason; then the file fails, and the job goes on


class Attempts:
    """Counter of attempts at pieces of work: blocks of files, and each file of the blocks that were begun again."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._timed_out: set[str] = set()
        self._any = False

    def has_begun(self) -> bool:
        """Return whether any worker has started and begun something."""
        return self._any

    def begin(self, name: str) -> tuple[int, bool]:
        """Count one more attempt, unless an earlier one took too long.

        Returns the number of unfinished attempts, this one included, and whether an earlier one took too long.
        """
        self._any = True
        if name not in self._timed_out:
            self._begun[name] += 1
        return self._begun[name], name in self._timed_out

    def finish(self, name: str) -> None:
        del self._begun[name]

    def time_out(self, name: str) -> None:
        """Record that this took too long, so that its worker is about to end."""
        self._timed_out.add(name)
        self._begun[name] = max(1, self._begun[name])


def worker_died(outcome: Outcome) -> Outcome:
    """Set the outcome of a file at which `ATTEMPTS` workers died, and return it."""
    outcome.code, outcome.attempts = "worker_died", ATTEMPTS
    causes = "a crash, a failed GPU, lack of memory, or code stuck beyond --time-limit"
    remedy = "try fewer --workers, or leave the file out"
    outcome.message = f"{outcome.source}: {ATTEMPTS} workers died on it ({causes}); {remedy}"
    return outcome


def timed_out(outcome: Outcome, attempts: int, time_limit_s: float) -> Outcome:
    """Set the outcome of a file that took too long, and return it."""
    outcome.code, outcome.attempts = "timed_out", attempts
    found = f"took longer than --time-limit {time_limit_s:g} allows"
    outcome.message = f"{outcome.source}: {found}; raise the limit, or leave the file out"
    return outcome
