"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable

from tqdm import tqdm

from jobs.command_line.logs import is_json, progress
from pipeline.errors import plural
from pipeline.records import Outcome

LOG_EVERY_S = 10.0
RECENT = 30  # log lines over which the rate is computed
STARTING = "starting workers"


class Progress:
    """A count of what is finished out of `total`, with rate, failures and time left.

    `unit`: in the singular. `done`: finished before this run. `opening`: what is going on while there is no total.
    """

    def __init__(self, total: int, unit: str, *, done: int = 0, opening: str = "") -> None:
        self.total, self.done, self.failed = total, done, 0
        self._unit, self._begun_with, self._opening = unit, done, opening
        self._marks: deque[tuple[float, int]] = deque(maxlen=RECENT)  # times, and what this run had finished by then
        self._logged_at = time.monotonic()
        self._bar = (
            tqdm(total=total, initial=done, unit=unit, desc=opening or STARTING, dynamic_ncols=True, smoothing=0.05)
            if sys.stderr.isatty() and not is_json() and progress.level <= logging.INFO
            else None
        )

    def advance(self, *, failed: bool) -> None:
        self.failed += failed
        self.advance_to(self.done + 1)

    def advance_to(self, done: int, total: int | None = None, before: int | None = None) -> None:
        """Set how many are finished by now. `total`, and `before` (finished before this run): if they have changed."""
        self.done = max(done, self.done)
        self.total = self.total if total is None else total
        if before is not None:
            self._skip(before - self._begun_with)
        if not self._marks:
            self._mark()
        if self._bar is not None:
            self._show(self._bar)
        elif time.monotonic() - self._logged_at >= LOG_EVERY_S:
            self._log(self.line)

    def say(self, line: str) -> None:
        """Write a line of text: above the bar on a terminal; in a log, with the time left."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            self._log(f"{line}  [{self.time_left} left]" if self.time_left else line)

    @property
    def line(self) -> str:
        """Return text like `120 of 4,800 frames, 22.1 a second, 3:31 left, 1 failed`; `opening` without a total."""
        if not self.total:
            return self._opening
        parts = [f"{self.done:,} of {plural(self.total, self._unit)}"]
        if self.done == self._begun_with:
            parts.append(STARTING)
        if self._rate:
            each, unit_of_time = (self._rate, "second") if self._rate >= 1 else (60 * self._rate, "minute")
            parts += [f"{each:,.1f} a {unit_of_time}", f"{self.time_left} left"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return ", ".join(parts)

    @property
    def time_left(self) -> str:
        """Return text like `2:34` or `1:02:34`; empty if the rate is unknown."""
        if not self._rate:
            return ""
        minutes, seconds = divmod(round((self.total - self.done) / self._rate), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    @property
    def _rate(self) -> float:
        """Return the recent rate per second; 0 if unknown. Time before the first finished unit is not counted."""
        if not self._marks:
            return 0.0
        moment, done = self._marks[0]
        return max(0, self.done - self._begun_with - done) / max(time.monotonic() - moment, 1e-3)

    def _skip(self, more: int) -> None:
        """Count so many more as finished by an earlier run, so that they do not add to the rate."""
        self._begun_with += more
        if self._bar is not None:
            self._bar.n, self._bar.initial = self._bar.n + more, self._bar.initial + more
            self._bar.last_print_n += more

    def _log(self, text: str) -> None:
        fields = {"done": self.done, "total": self.total, "failed": self.failed, "unit": self._unit}
        progress.info("%s", text, extra={"fields": fields})
        self._logged_at = time.monotonic()
        self._mark()

    def _mark(self) -> None:
        if self.done > self._begun_with:
            self._marks.append((time.monotonic(), self.done - self._begun_with))

    def _show(self, bar: "tqdm[None]") -> None:
        bar.total = self.total
        if self.done > self._begun_with:
            bar.set_description_str("", refresh=False)
        if self.failed:
            bar.set_postfix_str(f"{self.failed} failed", refresh=False)
        bar.update(self.done - bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def in_sight(outcomes: Iterable[Outcome], total: int, unit: str) -> Generator[Outcome]:
    """Yield the outcomes, and show how many of `total` there are. `unit`: in the singular."""
    shown = Progress(total, unit)
    try:
        for outcome in outcomes:
            shown.advance(failed=outcome.outcome == "failed")
            yield outcome
    finally:
        shown.close()
