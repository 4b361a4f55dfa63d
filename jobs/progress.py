"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time

from tqdm import tqdm

log = logging.getLogger("nightlift")

LOG_EVERY_S = 10.0


class Progress:
    """Counts finished inputs towards `total`, with rate, failures and time left."""

    def __init__(self, total: int, unit: str) -> None:
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
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
