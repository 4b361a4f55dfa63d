"""The summary of a job: outcomes counted on their way into the manifest, and printed at the end."""

import posixpath
from collections import Counter
from collections.abc import Iterable
from typing import get_args

from pipeline.errors import Expired, NoRoom, Stopped, Unreachable, printable
from pipeline.planning.manifest import Manifest
from pipeline.planning.plan import Plan
from pipeline.records import Ending, Outcome

SHOWN = 10  # of the failed, and of the skipped
HOPELESS = 20  # give up after this many consecutive storage failures (unreachable or full)


class Tally:
    """A count of outcomes on their way into the manifest, and the first few of each ending."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.seconds = 0.0
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
        if outcome.outcome == "done" and outcome.notes:
            self._tell("with notes", f"  note on {outcome.source}: {'; '.join(outcome.notes)}")
        elif outcome.outcome != "done":
            what = outcome.message.removeprefix(f"{posixpath.basename(outcome.source)}: ")
            where = "" if outcome.source in what else f"{outcome.source}: "
            self._tell(outcome.outcome, f"  {outcome.outcome}, {outcome.code}: {where}{what}")
        return outcome

    def _tell(self, ending: str, line: str) -> None:
        """Remember the first few of each ending; count the others."""
        self.count["with notes"] += ending == "with notes"
        if len(self._told[ending]) < SHOWN:
            self._told[ending].append(printable(line))

    def summary(self, noun: str, plan: Plan) -> str:
        """Return the lines that say what became of the files of a plan."""
        left = len(plan.records) + len(plan.refused) - sum(self.count[ending] for ending in get_args(Ending))
        lines = [
            f"{noun}s: {self.count['done']} done, {self.count['skipped']} skipped, {self.count['failed']} failed "
            f"in {self.seconds:.0f} s; {f'{left} left; ' if left else ''}"
            f"by earlier runs: {plan.done} done, {len(plan.skipped)} skipped"
        ]
        for outcome, told in self._told.items():
            lines += told
            if self.count[outcome] > len(told):
                lines.append(f"  ... and {self.count[outcome] - len(told)} more {outcome}; see the manifest")
        return "\n".join(lines)
