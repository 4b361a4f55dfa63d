"""Plan of a run: the work of one kind of files, and those that it leaves out."""

import posixpath
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pipeline.archives.recognition import archive_of
from pipeline.errors import UsageError, printable, spelled_out
from pipeline.planning.history import OTHER_KIND
from pipeline.planning.media_kinds import PHOTOS, VIDEOS
from pipeline.planning.raw_pairs import PAIRED
from pipeline.records import Ending, Outcome, Record
from pipeline.storage.listing import Listed
from pipeline.storage.urls import redacted

COMMAND_FOR = {"photo": "images", "video": "videos"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file refused only for its name or place. Kept small: a bucket of other things may have a million."""

    file: Listed
    code: str
    reason: str

    @property
    def source(self) -> str:
        return spelled_out(redacted(self.file.url))

    @property
    def message(self) -> str:
        return printable(f"{posixpath.basename(self.source)}: {self.reason}")

    @property
    def ending(self) -> Ending:
        """Return `skipped` where nobody wants the file enhanced, else `failed`."""
        return "skipped" if self.code.startswith(OTHER_KIND) or self.code in ("not_followed", PAIRED) else "failed"

    def outcome(self) -> Outcome:
        return Outcome(
            source=self.source,
            version=self.file.version,
            destination="",
            outcome=self.ending,
            code=self.code,
            message=self.message,
        )


@dataclass(kw_only=True, slots=True)
class Plan:
    """Work of one run, and the files that it leaves out."""

    folders: set[str] = field(default_factory=set)
    """Folders that paths of inputs start from, and those among `results`."""
    records: list[Record] = field(default_factory=list)
    """Files to enhance."""
    again: int = 0
    """Number of them that are done, but before photos came that stand near them in a sequence."""
    later: int = 0
    """Number of files to enhance that are left for the next run."""
    refused: list[Refusal] = field(default_factory=list)
    """Files that are settled: named like another kind, unreadable, or without a place at the destination."""
    done: int = 0
    """Number of inputs whose outputs an earlier run has written under the same weights and settings."""
    skipped: int = 0
    """Number of inputs that an earlier run has skipped under the same weights and settings."""
    sound: int = 0
    """Number of those among them that hold sound without video."""
    found: Counter[str] = field(default_factory=Counter)
    """Number of files of each extension that were listed and selected."""
    ours: int = 0
    """Number of them that are of the wanted kind, or could not be read or followed."""
    results: list[str] = field(default_factory=list)
    """Folders that other jobs have written to, as paths below the source; what they wrote is listed, too."""
    left_out: int | None = None
    """Number of files at the destination, inside the source, that are left out; None: it does not lie inside."""

    @property
    def bytes_in(self) -> int:
        return sum(record.size_bytes for record in self.records)


def check_found(source: str, plans: Sequence[Plan], nouns: str) -> None:
    """Raise UsageError where the source has nothing for any of the plans. `nouns`: what was looked for."""
    found = max((plan.found for plan in plans), key=Counter.total)
    if not found:
        raise UsageError(f"{redacted(source)}: no files found, or none that --include and --exclude select")
    if not any(plan.ours for plan in plans):
        kinds = ", ".join(f"{count} {extension}" for extension, count in found.most_common(5))
        raise UsageError(
            f"{redacted(source)}: no {nouns} that nightlift reads, judging by names and first bytes (found: {kinds})"
            f"; {_other_way(found, nouns)}"
        )


def _other_way(found: Collection[str], nouns: str) -> str:
    """Return words on the command for files with these extensions, if there is another, or else on what to do."""
    if any(archive_of(f"file{extension}") for extension in found):
        return "archives and tables are not read in place"
    others = [kind for kind in (PHOTOS, VIDEOS) if kind.noun not in nouns]
    kinds = [kind for kind in others if any(kind.accepts(f"file{extension}") for extension in found)]
    commands = [COMMAND_FOR[kind.noun] for kind in kinds]
    if commands:
        return f"for these: nightlift {' or '.join(commands)}"
    return "a file that is given alone as SRC is opened whatever its name is"
