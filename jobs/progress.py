"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time

from tqdm import tqdm

log = logging.getLogger("nightlift")

LOG_EVERY_S = 10.0


class Progress:
    """Counts finished inputs towards `total`, with rate, failures and time left. `done`: before this run."""

    def __init__(self, total: int, unit: str, *, done: int = 0) -> None:
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=unit,
            file=sys.stderr if self._terminal else _Nowhere(),
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self._failed = 0
        self._logged_at = time.monotonic()

    def advance(self, *, failed: bool) -> None:
        self._failed += failed
        if self._failed:
            self._bar.set_postfix_str(f"{self._failed} failed", refresh=False)
        self._bar.update()
        self._log_now_and_then()

    def advance_to(self, done: int, total: int | None = None) -> None:
        """So many are finished by now, none of them failed. `total`: where it has changed."""
        if total is not None:
            self._bar.total = total
        self._bar.update(max(0, done - self._bar.n))
        self._log_now_and_then()

    def say(self, line: str) -> None:
        """A line of text: over the bar on a terminal, with the time left in a log."""
        if self._terminal:
            self._bar.write(line, file=sys.stderr)
        else:
            self._logged_at = time.monotonic()
            log.info("%s  [%s left]", line, self.time_left)

    @property
    def time_left(self) -> str:
        """Like `12:34`; `?` before anything is known of the rate."""
        numbers = self._bar.format_dict
        rate = numbers["rate"] or (self._bar.n - self._bar.initial) / max(numbers["elapsed"], 1e-3)
        return str(tqdm.format_interval((self._bar.total - self._bar.n) / rate)) if rate > 0 else "?"

    def _log_now_and_then(self) -> None:
        if not self._terminal and time.monotonic() - self._logged_at >= LOG_EVERY_S:
            self._logged_at = time.monotonic()
            log.info("%s", self._bar)

    def close(self) -> None:
        self._bar.close()


class _Nowhere:
    """Where tqdm draws when there is no terminal: its numbers are wanted, its carriage returns are not."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass
