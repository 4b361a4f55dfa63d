"""The end of a run: its summary for machines, and the command of `--on-finish` that gets it."""

import json
import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Any

from jobs.bulk.config import BulkConfig
from jobs.bulk.job import Job
from jobs.bulk.summary import ENDINGS, Tally, cost_of
from jobs.clock import elapsed_s
from jobs.command_line.logs import is_json
from jobs.signals import exit_status
from pipeline.errors import NightliftError, SoundOnly, UsageError, plural, printable
from pipeline.planning.path_list import STDIN, is_list
from pipeline.planning.plan import Plan
from pipeline.storage.urls import absolute, redacted

LIMIT_S, LIMIT_OF_STOPPED_S = 600.0, 20.0  # time for the command of --on-finish
SHOWN_BYTES = 8_000  # of what it writes to standard error

log = logging.getLogger("nightlift")


@dataclass(kw_only=True, slots=True)
class Run:
    """One run, or one round of a run that stays, as far as it has come."""

    config: BulkConfig
    round: int = 0
    """Number of the round, from 1; 0 without --every."""
    jobs: list[Job] = field(default_factory=list)
    plans: Sequence[Plan] = ()
    tallies: Sequence[Tally] = ()

    def total(self, ending: str) -> int:
        return sum(tally.count[ending] for tally in self.tallies)

    @property
    def status(self) -> int:
        """Return the exit status of a run that was not broken off: 1 if files failed, or if there was only sound."""
        return int(self.total("failed") > 0 or self.heard_only)

    @property
    def heard_only(self) -> bool:
        """Return whether nothing was found but sound that is named like videos, by this run or, before it, by others.

        A round of a run that stays speaks of itself alone.
        """
        found = any(tally.count["done"] or plan.done for tally, plan in zip(self.tallies, self.plans, strict=False))
        before = 0 if self.round else sum(plan.sound for plan in self.plans)
        return self.total(SoundOnly.code) + before > 0 and not found

    @property
    def core_s(self) -> float:
        return sum(tally.core_s for tally in self.tallies)

    def summary(self, error: BaseException | None = None) -> dict[str, Any]:
        """Return what became of the run, as JSON objects. `error`: what ended it before its end."""
        config, failed = self.config, self.total("failed")
        status = exit_status(error) if error else self.status
        if error is None and not failed and self.heard_only:
            error = SoundOnly("nothing was found but sound without video")
        told = str(error) or type(error).__name__
        by_kind = [self._of_kind(*each) for each in zip(self.jobs, self.plans, self.tallies, strict=False)]
        files = [outcome for tally in self.tallies for outcome in tally.failed]
        return {
            "state": _state(error, failed),
            "exit_status": status,
            "error": printable(told) if _state(error, failed) == "error" else None,
            "code": error.code if isinstance(error, NightliftError) else None,
            "round": self.round or None,
            "source": _shown(config.src),
            "destination": self.jobs[0].destination.root if self.jobs else _shown(config.dst),
            "manifest": self.jobs[0].manifest.url if self.jobs else None,
            "seconds": round(elapsed_s(), 3),
            **{ending: self.total(ending) for ending in ENDINGS},
            "kinds": by_kind,
            "core_seconds": round(self.core_s, 3),
            "cost": None if config.price is None else round(cost_of(self.core_s, config.price), 6),
            "failed_files": [{"source": each.source, "code": each.code, "message": each.message} for each in files],
        }

    @staticmethod
    def _of_kind(job: Job, plan: Plan, tally: Tally) -> dict[str, Any]:
        settled = sum(tally.count[ending] for ending in ENDINGS)
        return {
            "kind": job.noun,
            "run": job.manifest.run if tally.count else None,
            **{ending: tally.count[ending] for ending in ENDINGS},
            "left": len(plan.records) + len(plan.refused) - settled,
            "left_by_limit": plan.later,
            "done_before": plan.done,
            "skipped_before": plan.skipped,
        }


def finish(run: Run, error: BaseException | None = None, *, is_news: bool = True) -> None:
    """Log the summary where the log is JSON, and run the command of --on-finish; not where the command line was wrong.

    `error`: what ended the run. `is_news`: whether the summary is worth a line of the log.
    """
    is_wrong_usage = isinstance(error, UsageError) and not run.jobs and run.round <= 1
    if run.config.dry_run or is_wrong_usage:
        return
    summary = run.summary(error)
    if is_json() and is_news:
        log.info("summary", extra={"fields": {"summary": summary}})
    if run.config.on_finish:
        _call(run.config.on_finish, summary, LIMIT_OF_STOPPED_S if isinstance(error, KeyboardInterrupt) else LIMIT_S)


def _call(command: str, summary: dict[str, Any], limit_s: float) -> None:
    """Run a shell command with the summary on its standard input. What goes wrong with it is only logged.

    In a session of its own, so that Ctrl-C leaves it alone, and it can be killed with all that it started.
    """
    with TemporaryFile() as told:
        try:
            process = subprocess.Popen(
                command, shell=True, stdin=subprocess.PIPE, stderr=told if is_json() else None, start_new_session=True
            )
        except OSError as error:
            log.warning("--on-finish cannot be run: %s", error.strerror)
            return
        try:
            process.communicate(json.dumps(summary).encode(), limit_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            log.warning("--on-finish took longer than %s and was killed", plural(round(limit_s), "second"))
            return
        except BaseException:
            _kill(process)
            raise
        told.seek(0)
        for line in told.read(SHOWN_BYTES).decode(errors="replace").splitlines():
            log.info("--on-finish: %s", printable(line))
    if process.returncode:
        log.warning("--on-finish ended with status %d; the run itself is not affected", process.returncode)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _shown(place: str) -> str:
    """Return a place as an absolute path or URL; a list of paths, or what is neither, as it was typed."""
    if place == STDIN:
        return place
    try:
        return f"@{absolute(place[1:])}" if is_list(place) else redacted(absolute(place))
    except UsageError:
        return redacted(place)


def _state(error: BaseException | None, failed: int) -> str:
    if error is not None:
        return "stopped" if isinstance(error, KeyboardInterrupt) else "error"
    return "some_failed" if failed else "done"
