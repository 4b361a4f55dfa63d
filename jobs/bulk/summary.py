"""The summary of a job: outcomes counted on their way into the manifest, and printed at the end."""

import posixpath
from collections import Counter
from collections.abc import Iterable
from typing import get_args

from pipeline.errors import Expired, NoRoom, Stopped, Unreachable, printable
from pipeline.planning.manifest import Manifest
from pipeline.planning.plan import Plan, Refusal
from pipeline.records import Ending, Outcome

ENDINGS: tuple[str, ...] = get_args(Ending)
SHOWN = 10  # of the failed, and of the skipped
HOPELESS = 20  # give up after this many consecutive storage failures (unreachable or full)


class Tally:
    """A count of outcomes on their way into the manifest, and the first few of each ending."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.seconds = 0.0
        """Seconds that the command took for this job; loading, listing and starting count for the first one."""
        self._hopeless = 0  # files in a row
        self._told: dict[str, list[str]] = {"failed": [], "skipped": [], "with notes": []}

    def check_storage(self, outcome: Outcome) -> None:
        """Raise Stopped where the outcome shows that storage is closed to the whole job."""
        if outcome.code == Expired.code:
            raise Stopped(f"stopped: {outcome.message}; the job will continue where it stopped")
        self._hopeless = self._hopeless + 1 if outcome.code in {Unreachable.code, NoRoom.code} else 0
        if self._hopeless >= HOPELESS:
            raise Stopped(
                f"stopped, as storage was unreachable or full for {HOPELESS} files in a row; the last error was: "
                f"{outcome.message}; run the same command again to continue"
            )

    def add(self, manifest: Manifest, outcomes: Iterable[Outcome]) -> None:
        manifest.append(map(self._counted, outcomes))

    def _counted(self, outcome: Outcome) -> Outcome:
        self.count[outcome.outcome] += 1
        self.count[outcome.code] += bool(outcome.code)
        if outcome.outcome == "done" and outcome.notes:
            self._tell("with notes", f"  note on {outcome.source}: {'; '.join(outcome.notes)}")
        elif outcome.outcome != "done":
            source = printable(outcome.source)  # as messages name it
            what = outcome.message.removeprefix(f"{posixpath.basename(source)}: ")
            where = "" if source in what else f"{source}: "
            self._tell(outcome.outcome, f"  {outcome.outcome}, {outcome.code}: {where}{what}")
        return outcome

    def _tell(self, ending: str, line: str) -> None:
        """Remember the first few of each ending; count the others."""
        self.count["with notes"] += ending == "with notes"
        if len(self._told[ending]) < SHOWN:
            self._told[ending].append(printable(line))

    def summary(self, noun: str, plan: Plan) -> str:
        """Return the lines that say what became of the files of a plan."""
        left = len(plan.records) + len(plan.refused) - sum(self.count[ending] for ending in ENDINGS)
        now = _nonzero((self.count[ending], ending) for ending in ENDINGS)
        parts = [f"{now or '0 done'} in {self.seconds:.0f} s" if now or left else "nothing to do"]
        parts += [f"{left:,} left"] * bool(left) + by_other_runs(plan)
        lines = [f"{noun}s: {'; '.join(parts)}"]
        for outcome, told in self._told.items():
            lines += told
            if self.count[outcome] > len(told):
                lines.append(f"  ... and {self.count[outcome] - len(told)} more {outcome}; see the manifest")
        return "\n".join(lines)


def to_do(noun: str, plan: Plan) -> str:
    """Return a line that says what a plan has to do, and what it leaves out."""
    parts = [f"{noun}s to do: {len(plan.records):,}", *by_other_runs(plan)]
    return "; ".join([*parts, *(f"{what}: {len(files):,}" for what, files in refused(plan).items())])


def refused(plan: Plan) -> dict[str, list[Refusal]]:
    """Return the files that a plan refuses, by what becomes of them; without those of which there are none."""
    files: dict[str, list[Refusal]] = {"left out": [], "cannot be done": []}
    for refusal in plan.refused:
        files["left out" if refusal.ending == "skipped" else "cannot be done"].append(refusal)
    return {what: some for what, some in files.items() if some}


def by_other_runs(plan: Plan) -> list[str]:
    """Return lines on what is done or skipped already, and on what --limit leaves to do; none if nothing is."""
    before = _nonzero([(plan.done, "done"), (plan.skipped, "skipped")])
    lines = [f"by earlier runs: {before}"] if before else []
    return lines + [f"left for the next run by --limit: {plan.later:,}"] * bool(plan.later)


def _nonzero(counts: Iterable[tuple[int, str]]) -> str:
    """Return text like `3 done, 1 failed`, without what there is none of."""
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)
