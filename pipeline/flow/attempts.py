"""Which photos workers have begun and not finished, and what becomes of a file at which they end.

`supervised_step.py` makes a Ray actor of `Attempts`, whose methods need nothing of what else is here.
"""

from collections import Counter

from pipeline.records import Outcome

ATTEMPTS = 3  # at a file whose worker dies, perhaps of something else; then it is named, and the job goes on


class Attempts:
    """Blocks of photos, and of those that were begun again each photo by itself."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._timed_out: dict[str, int] = {}
        self._any = False

    def has_begun(self) -> bool:
        """Tell whether any worker has come up and begun something."""
        return self._any

    def begin(self, name: str) -> int:
        """How often this has been begun, this time included."""
        self._any = True
        self._begun[name] += 1
        return self._begun[name]

    def finish(self, name: str) -> None:
        del self._begun[name]

    def time_out(self, name: str) -> None:
        """The worker that has begun this will end, as it took too long."""
        self._timed_out[name] = max(1, self._begun[name])

    def timed_out(self, name: str) -> int:
        """How often it was tried, if it took too long; else 0."""
        return self._timed_out.get(name, 0)


def worker_died(outcome: Outcome) -> Outcome:
    """The outcome of a file that has had its `ATTEMPTS`."""
    outcome.code, outcome.attempts = "worker_died", ATTEMPTS
    causes = "of a crash, a failed GPU, want of memory, or stuck beyond --time-limit"
    remedy = "try fewer --workers, or leave it out"
    outcome.message = f"{outcome.source}: {ATTEMPTS} workers died at it, {causes}; {remedy}"
    return outcome


def timed_out(outcome: Outcome, attempts: int, time_limit_s: float) -> Outcome:
    """The outcome of a file that took too long."""
    outcome.code, outcome.attempts = "timed_out", attempts
    outcome.message = (
        f"{outcome.source}: it takes longer than --time-limit {time_limit_s:g} allows; raise that, or leave it out"
    )
    return outcome
