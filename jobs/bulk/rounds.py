"""Runs that stay (`--every`): rounds that do what is new, and what is remembered between them."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from jobs import clock
from jobs.bulk.config import BulkConfig
from jobs.bulk.finish import Run, finish
from jobs.command_line import logs
from jobs.flags import seconds_of
from pipeline.errors import (
    Busy,
    Changed,
    Stopped,
    StorageError,
    UsageError,
    is_of_the_file,
    plural,
    printable,
)
from pipeline.planning.path_list import STDIN, Source, source_of
from pipeline.planning.plan import Plan, Refusal
from pipeline.records import Outcome, Record
from pipeline.sequences.light_over_time import REACH
from pipeline.storage.urls import BUCKETS, LOCAL, WEB, protocol_of, redacted

SETTLED_S = 10.0  # a file on a disk that nobody has written to for so long is whole
LONGEST_PAUSE_S = 86400.0  # until a file that failed is tried again
LEAST_PAUSE_S = 0.5  # between rounds that take longer than --every

log = logging.getLogger("nightlift")


@dataclass(frozen=True, slots=True)
class _Failure:
    """What is known of a file that has failed."""

    version: str
    times: int
    due: float
    """Number of the round in which it is tried again; infinite: once it has changed."""


@dataclass(slots=True)
class _Seen:
    """What a round has seen of files that it could not do."""

    growing: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Versions of files that may still be written, and when they were first seen so."""
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Versions and codes of files that were refused."""
    found: int = 0
    """Number of files at the source."""


class Watch:
    """What a run that stays remembers from one round to the next: only files that are not done.

    `every_s`: seconds from the begin of a round to that of the next.
    """

    def __init__(self, every_s: float) -> None:
        self.round = 0
        self.waiting = 0
        """Number of files that are left for a later round, as they are still being written."""
        self.has_news = False
        """Whether a round has more to do than to try again what failed."""
        self._every_s = every_s
        self._failures: dict[str, _Failure] = {}
        self._last, self._this = _Seen(), _Seen()

    def begin(self) -> None:
        """Start the next round."""
        self.round += 1
        self.has_news = False

    def end(self) -> None:
        """Keep what a round has seen that has done what it planned."""
        self._last = self._this

    def choose(self, plans: Sequence[Plan]) -> None:
        """Take out of the plans what is still being written, what failed and is not due, and what is known already."""
        names = {redacted(record.source) for plan in plans for record in plan.records}
        self._failures = {name: failure for name, failure in self._failures.items() if name in names}
        self.waiting = 0
        self._this = _Seen(found=max(sum(plan.found.values()) for plan in plans))
        for plan in plans:
            plan.records, due = [], [each for each in plan.records if self._is_due(each)]
            for each in due:
                if self._is_whole(each.source, each.version):
                    plan.records.append(each)
                else:
                    self.waiting += 1
            plan.records = [each for each in plan.records if not self._may_wait(each)]
            plan.refused = [each for each in plan.refused if self._is_news(each)]
            self.has_news |= bool(plan.refused) or not all(self._has_failed(each) for each in plan.records)
        if self.waiting:
            logs.steps.info("left for a later round, as still being written: %s", plural(self.waiting, "file"))
        logs.progress.setLevel(logging.INFO if self.has_news else logging.WARNING)
        if self.round == 1 and not self._this.found:
            log.info("no files are at the source yet")
        if self._last.found and not self._this.found:
            log.warning("no files are left at the source, which had %s", plural(self._last.found, "file"))

    def note(self, outcome: Outcome) -> None:
        """Remember it where a file has failed, to try it again later and later; at once where it has changed."""
        source = outcome.source
        if outcome.outcome != "failed" or outcome.code == Changed.code:
            self._failures.pop(source, None)
            return
        before = self._failures.get(source)
        times = before.times + 1 if before and before.version == outcome.version else 1
        rounds = min(2 ** (times - 1), max(1, LONGEST_PAUSE_S // self._every_s))
        due = math.inf if is_of_the_file(outcome.code) else self.round + rounds
        self._failures[source] = _Failure(outcome.version, times, due)

    def _is_due(self, record: Record) -> bool:
        return not self._has_failed(record) or self.round >= self._failures[redacted(record.source)].due

    def _has_failed(self, record: Record) -> bool:
        """Return whether this version of a file has failed."""
        failure = self._failures.get(redacted(record.source))
        return failure is not None and failure.version == record.version

    def _may_wait(self, record: Record) -> bool:
        """Return whether a photo has an output, and would be done yet again for one near it that is still written."""
        if not (self._this.growing and record.known_bytes and record.place):
            return False
        return not self._this.growing.keys().isdisjoint(record.place.within(REACH).urls)

    def _is_news(self, refusal: Refusal) -> bool:
        """Return whether a file that is refused was not refused before, and is none that is there only for a while."""
        url, known_as = refusal.file.url, (refusal.file.version, refusal.code)
        if refusal.ending == "skipped" and not self._is_whole(url, refusal.file.version):
            return False
        self._this.refused[url] = known_as
        return self._last.refused.get(url) != known_as

    def _is_whole(self, url: str, version: str) -> bool:
        """Return whether nobody writes to a file any more: by its age, or as it was the same some seconds ago.

        Objects in a bucket, and what the web serves, appear whole.
        """
        protocol, now = protocol_of(url), time.monotonic()
        if protocol in BUCKETS | WEB:
            return True
        if protocol == LOCAL:
            with suppress(OSError):  # the job says what is wrong with it
                status = os.stat(url)  # noqa: PTH116
                if time.time() - max(status.st_mtime, status.st_ctime) >= SETTLED_S:
                    return True
        last, since = self._last.growing.get(url, ("", now))
        if last == version and now - since >= SETTLED_S:
            return True
        self._this.growing[url] = version, since if last == version else now
        return False


def stay(config: BulkConfig, once: Callable[[Run, Source, Watch], int]) -> int:
    """Do round after round, until a signal or an error ends it that another round cannot mend.

    `once`: does a round. Raises what it raises in the first round, unless it may pass: what storage raises may.
    """
    assert config.every is not None
    every_s = seconds_of(config.every)
    watch, totals, told = Watch(every_s), {"done": 0, "skipped": 0, "failed": 0}, ""
    source = source_of(config.src) if config.src == STDIN else None  # which can be read only once
    is_told = False
    log.info("doing what is new every %s, until a signal ends it", config.every)
    try:
        while True:
            clock.begin()
            watch.begin()
            run, problem = Run(config=config, round=watch.round), ""
            try:
                with _not_repeating(watch):
                    once(run, source or source_of(config.src), watch)
                watch.end()
                config = replace(config, fresh=False)  # which was for what was there
            except (Busy, StorageError, Stopped, UsageError) as error:
                if isinstance(error, UsageError) and watch.round == 1:
                    finish(run, error)
                    raise
                problem = printable(str(error))
                _tell(run, watch, problem if problem != told else "")
                finish(run, error, is_news=problem != told)
            except BaseException as error:
                is_told = True
                _tell(run, watch)
                finish(run, error)
                raise
            else:
                if told:
                    log.info("round %d: the problem is over", watch.round)
                _tell(run, watch)
                finish(run, is_news=_is_news(run, watch))
            finally:
                totals = {ending: count + run.total(ending) for ending, count in totals.items()}
            told = problem
            del run
            time.sleep(max(LEAST_PAUSE_S, every_s - clock.elapsed_s()))
    except KeyboardInterrupt as stop:
        if not is_told:  # it came between rounds, and ends a run that has done nothing more
            clock.begin()
            finish(Run(config=config, round=watch.round), stop)
        raise
    finally:
        counts = ", ".join(f"{count:,} {ending}" for ending, count in totals.items())
        log.info("ended after %s: %s", plural(watch.round, "round"), counts)


@contextmanager
def _not_repeating(watch: Watch) -> Iterator[None]:
    """Log the steps of the first round only, and the progress of new work only, while the body runs."""
    logs.steps.setLevel(logging.INFO if watch.round == 1 else logging.WARNING)
    try:
        yield
    finally:
        logs.steps.setLevel(logging.NOTSET)
        logs.progress.setLevel(logging.NOTSET)


def _is_news(run: Run, watch: Watch) -> bool:
    """Return whether a round did more than to fail again as before."""
    return run.total("done") > 0 or (watch.has_news and any(tally.count for tally in run.tallies))


def _tell(run: Run, watch: Watch, problem: str = "") -> None:
    """Log a round in one line, if it did anything or met a new problem, and the files that failed in it.

    Files that were tried once more in vain are only counted.
    """
    counts = [
        f"{tally.count[ending]:,} {job.noun}{'' if tally.count[ending] == 1 else 's'} {ending}"
        for job, tally in zip(run.jobs, run.tallies, strict=False)
        for ending in ("done", "skipped", "failed")
        if tally.count[ending]
    ]
    if problem:
        log.warning("round %d: %s; trying again in %s", watch.round, problem, run.config.every)
    if not counts:
        return
    more = [f"{watch.waiting:,} still being written"] * bool(watch.waiting)
    later = sum(plan.later for plan in run.plans)
    more += [f"{later:,} left by --limit"] * bool(later)
    line = f"round {watch.round}: {', '.join([*counts, *more])}, in {clock.elapsed_s():.0f} s"
    log.info("%s", line, extra={"fields": {"round": watch.round}})
    if not _is_news(run, watch):
        return
    named = [line for tally in run.tallies for line in tally.shown["failed"]]
    for each in named:
        log.warning("%s", each.strip())
    if run.total("failed") > len(named):
        log.warning("... and %d more failed; see the manifest", run.total("failed") - len(named))
