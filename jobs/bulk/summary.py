"""The summary of a job: outcomes counted on their way into the manifest, and printed at the end."""

import posixpath
from collections import Counter
from collections.abc import Iterable
from typing import get_args

from pipeline.errors import Expired, NoRoom, Stopped, Unreachable, decimal, printable
from pipeline.planning.manifest import Manifest
from pipeline.planning.plan import Plan, Refusal
from pipeline.records import Ending, Outcome

ENDINGS: tuple[str, ...] = get_args(Ending)
SHOWN = 10  # of the failed, and of the skipped
LISTED = 100  # of the failed, in the summary for --on-finish
FRAMES_AN_HOUR = 90_000  # of film at 25 frames a second
HOPELESS = 20  # give up after this many consecutive storage failures (unreachable or full)


class Tally:
    """A count of outcomes on their way into the manifest, and the first few of each ending."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.seconds = 0.0
        """Seconds that the command took for this job; loading, listing and starting count for the first one."""
        self.core_s = 0.0
        """Seconds that workers spent decoding, enhancing and encoding."""
        self.frames = 0
        """Frames of files that are done."""
        self.failed: list[Outcome] = []
        """The first files that failed."""
        self._hopeless = 0  # files in a row
        self.shown: dict[str, list[str]] = {"failed": [], "skipped": [], "with notes": []}
        """Lines on the first files of each ending."""

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
        self.core_s += outcome.seconds_decode + outcome.seconds_enhance + outcome.seconds_encode
        self.frames += outcome.frames if outcome.outcome == "done" else 0
        if outcome.outcome == "failed" and len(self.failed) < LISTED:
            self.failed.append(outcome)
        self.count[outcome.code] += bool(outcome.code)
        if outcome.outcome == "done" and outcome.notes:
            self._remember("with notes", f"  note on {outcome.source}: {'; '.join(outcome.notes)}")
        elif outcome.outcome != "done":
            source = printable(outcome.source)  # as messages name it
            what = outcome.message.removeprefix(f"{posixpath.basename(source)}: ")
            where = "" if source in what else f"{source}: "
            self._remember(outcome.outcome, f"  {outcome.outcome}, {outcome.code}: {where}{what}")
        return outcome

    def _remember(self, ending: str, line: str) -> None:
        """Remember the first few of each ending; count the others."""
        self.count["with notes"] += ending == "with notes"
        if len(self.shown[ending]) < SHOWN:
            self.shown[ending].append(printable(line))

    def summary(self, noun: str, plan: Plan) -> str:
        """Return the lines that say what became of the files of a plan."""
        left = len(plan.records) + len(plan.refused) - sum(self.count[ending] for ending in ENDINGS)
        now = _nonzero((self.count[ending], ending) for ending in ENDINGS)
        parts = [f"{now or '0 done'} in {self.seconds:.0f} s" if now or left else "nothing to do"]
        parts += [f"{left:,} left"] * bool(left) + by_other_runs(plan)
        lines = [f"{noun}s: {'; '.join(parts)}"]
        for outcome, shown in self.shown.items():
            lines += shown
            if self.count[outcome] > len(shown):
                lines.append(f"  ... and {self.count[outcome] - len(shown)} more {outcome}; see the manifest")
        return "\n".join(lines)

    def cost(self, noun: str, price: float) -> str:
        """Return a line on what the files cost. `price`: of an hour of one core."""
        count, what = self.count["done"] / 1000, "thousand photos"
        if noun == "video":
            count, what = self.frames / FRAMES_AN_HOUR, "hour of film at 25 frames a second"
        each = f"; {decimal(cost_of(self.core_s, price) / count)} per {what}" if count else ""
        return f"cost:     {priced(self.core_s, price)}{each}"


def cost_of(core_s: float, price: float) -> float:
    """Return what so many seconds of a core cost. `price`: of an hour of one core."""
    return core_s / 3600 * price


def priced(core_s: float, price: float) -> str:
    """Return text like `1.25 for 25.00 core-hours at 0.05`."""
    return f"{decimal(cost_of(core_s, price))} for {decimal(core_s / 3600)} core-hours at {price:g}"


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
    """Return lines on what is done or skipped already, what of it anew, and what --limit leaves; none if nothing is."""
    before = _nonzero([(plan.done, "done"), (plan.skipped, "skipped")])
    lines = [f"by earlier runs: {before}"] if before else []
    lines += [f"of those by earlier runs, again, as photos near them are new: {plan.again:,}"] * bool(plan.again)
    return lines + [f"left for the next run by --limit: {plan.later:,}"] * bool(plan.later)


def _nonzero(counts: Iterable[tuple[int, str]]) -> str:
    """Return text like `3 done, 1 failed`, without what there is none of."""
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)
