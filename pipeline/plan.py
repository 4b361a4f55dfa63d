"""What is to be done: list the source, name each output, subtract what the manifest says is done.

No output ever takes the place of a source, of another file's output, or of a file near the sources that nightlift did
not write.
"""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from pipeline.errors import NotFound, UsageError
from pipeline.filesystems import GLOB, before_glob
from pipeline.kinds import Kind
from pipeline.manifest import FOLDER, History
from pipeline.records import Ending, Outcome, Record, spelled_out
from pipeline.storage import WEB, Listed, Storage, absolute, join, parent, protocol_of, real, shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which of the listed files are inputs. Patterns are matched against the path below the source."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __call__(self, relative: str) -> bool:
        wanted = not self.include or any(_matches(relative, pattern) for pattern in self.include)
        return wanted and not any(_matches(relative, pattern) for pattern in self.exclude)


@dataclass(kw_only=True, slots=True)
class Plan:
    """What one run has before it."""

    records: list[Record] = field(default_factory=list)
    """Files to enhance."""
    refused: list[Outcome] = field(default_factory=list)
    """Files of another kind by their name, that cannot be read, or have no place at the destination: settled."""
    done: int = 0
    """Inputs whose outputs an earlier run has written under the same weights and settings."""
    skipped: list[str] = field(default_factory=list)
    """Sources that an earlier run has skipped, likewise; without the query of a web address."""
    found: Counter[str] = field(default_factory=Counter)
    """How many files of each extension were listed and let through."""
    ours: int = 0
    """How many of them are of the wanted kind, or cannot be told."""

    @property
    def bytes_in(self) -> int:
        return sum(record.size_bytes for record in self.records)


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Where outputs go: `root` holds them and the manifest; `file` is set where the user named a single file."""

    kind: Kind
    root: str
    file: str = ""
    format: str | None = None
    """A photo's format or a video's container that was asked for; None: each keeps its own."""

    @classmethod
    def of(cls, storage: Storage, source: str, destination: str, kind: Kind, format_name: str | None) -> "Destination":
        """From what the user typed. Raises UsageError where the two places make no sense together."""
        for name, place in (("SRC", source), ("DST", destination)):
            if not place.strip():
                raise UsageError(f"{name} is empty; give a folder, a file or a URL")
        url = absolute(destination)
        if protocol_of(url) in WEB:
            raise UsageError(f"{shown(url)}: a web server is a source, not a destination; give a folder or a bucket")
        if real(url) == real(absolute(source)):
            raise UsageError(f"{url}: source and destination are the same; the originals would be overwritten")
        is_folder = storage.is_folder(url)
        if destination.endswith("/") or not kind.accepts(url) or is_folder:
            if not is_folder and storage.exists(url):
                raise UsageError(f"{url}: is a file; give a folder")
            return cls(kind=kind, root=url, format=format_name)
        if GLOB.search(source) or storage.is_folder(absolute(source)):
            raise UsageError(f"{destination}: the name of one {kind.noun} for many; give a folder's name")
        kind.check_writable(url, format_name)
        return cls(kind=kind, root=parent(url), file=url, format=format_name)

    def names(self, relatives: Sequence[str]) -> list[str]:
        """The URL of each output. Names that would meet once their extension has changed keep the old one too."""
        if self.file:
            return [self.file for _ in relatives]
        natural = [self.kind.renamed(relative, self.format) for relative in relatives]
        count = Counter(natural)
        return [
            join(self.root, name if name == relative or count[name] == 1 else relative + posixpath.splitext(name)[1])
            for relative, name in zip(relatives, natural, strict=True)
        ]


def make_plan(storage: Storage, source: str, destination: Destination, selection: Selection, history: History) -> Plan:
    """Raises NotFound and other StorageErrors from the listing; UsageError where an output would replace a file that is
    not ours.

    An output that has vanished from the destination is work again.
    """
    listed, kind = _inputs(storage, source, destination), destination.kind
    targets = dict(
        zip((file.url for file in listed), destination.names([file.relative for file in listed]), strict=True)
    )
    owners: dict[str, str] = {}
    for file in listed:
        if kind.accepts(shown(file.url)):
            owners.setdefault(targets[file.url], file.url)
    present = _present(storage, destination, history)
    plan = Plan()
    for file in listed:
        if not selection(file.relative):
            continue
        plan.found[posixpath.splitext(file.relative)[1].lower() or "no extension"] += 1
        plan.ours += bool(file.code) or kind.accepts(shown(file.url))
        target = targets[file.url]
        before = history.done.get(shown(file.url))
        if before == (file.version, ""):
            plan.skipped.append(shown(file.url))
        elif before == (file.version, target) and target in present:
            plan.done += 1
        elif (refusal := _refusal(file, target, owners, kind)) is not None:
            # the row of a file of another kind may be that of its own job, and stays the newest
            if refusal.code != kind.refusal or history.known.get(refusal.source) != file.version:
                plan.refused.append(refusal)
        else:
            plan.records.append(
                Record(source=file.url, version=file.version, size_bytes=file.size_bytes, destination=target)
            )
    _protect_originals(storage, source, destination, listed, plan, history)
    return plan


def _inputs(storage: Storage, source: str, destination: Destination) -> list[Listed]:
    """All files of the source, less what nightlift itself wrote: manifests, and a destination inside the source."""
    if protocol_of(source) in WEB and not GLOB.search(source) and not destination.kind.accepts(urlsplit(source).path):
        noun = destination.kind.noun
        raise UsageError(f"{shown(source)}: from a web server give one {noun}, or a glob over an index page")
    inside = not destination.file and _is_inside(destination.root, _root_of(source))
    own = join(destination.root, "") if inside else None
    return [
        file
        for file in storage.list_files(absolute(source))
        if FOLDER not in file.relative.split("/") and not (own and file.url.startswith(own))
    ]


def _present(storage: Storage, destination: Destination, history: History) -> set[str]:
    """Which outputs are still there."""
    if not history.done:
        return set()
    if destination.file:
        return {destination.file} if storage.exists(destination.file) else set()
    return {file.url for file in storage.list_files(destination.root)}


def _protect_originals(
    storage: Storage,
    source: str,
    destination: Destination,
    listed: Sequence[Listed],
    plan: Plan,
    history: History,
) -> None:
    """Raises UsageError where a file that nightlift did not write would be replaced: near the sources, or named
    alone, it may be somebody's only copy."""
    sources = {real(file.url) for file in listed}
    for record in plan.records:
        if real(record.destination) in sources:
            raise UsageError(f"{record.destination}: the output would replace a source; choose another destination")
    root, below = real(_root_of(source)), real(destination.root)
    apart = root != below and not _is_inside(root, below) and not _is_inside(below, root)
    ours = _is_inside(below, root) and storage.is_folder(join(destination.root, FOLDER))
    if not destination.file and (apart or ours):
        return
    try:
        there = {file.url for file in storage.list_files(destination.file or destination.root)}
    except NotFound:
        return
    foreign = there - history.written
    for record in plan.records:
        if record.destination in foreign:
            raise UsageError(
                f"{record.destination}: is there already, and nightlift has no record of writing it; "
                "move it away or choose another destination"
            )


def check_found(source: str, plans: Sequence[Plan], nouns: str) -> None:
    """Raises UsageError where the source has nothing for any of the plans. `nouns`: what was looked for."""
    found = max((plan.found for plan in plans), key=Counter.total)
    if not found:
        raise UsageError(f"{shown(source)}: no files there, or none that --include and --exclude let through")
    if not any(plan.ours for plan in plans):
        kinds = ", ".join(f"{count} {extension}" for extension, count in found.most_common(5))
        raise UsageError(f"{shown(source)}: no {nouns} there that nightlift reads, by their names ({kinds})")


def _refusal(file: Listed, target: str, owners: Mapping[str, str], kind: Kind) -> Outcome | None:
    """The outcome of a file that cannot be enhanced, as far as its name and place tell."""
    name = posixpath.basename(shown(file.url))
    extension = posixpath.splitext(file.relative)[1] or "no extension"
    problems = (
        ("bad_name", "its name is not UTF-8; rename it", not _is_text(file.url)),
        (file.code, file.problem, bool(file.code)),
        (kind.refusal, f"{extension}: not a {kind.noun} that nightlift reads", not kind.accepts(shown(file.url))),
        ("unsafe_name", "its path climbs out of the source with '..'; rename it", ".." in file.relative.split("/")),
        (
            "collision",
            f"its output {target} is another {kind.noun}'s as well; rename it",
            owners.get(target) != file.url,
        ),
    )
    for code, reason, applies in problems:
        if applies:
            settled: Ending = "skipped" if code in (kind.refusal, "not_followed") else "failed"
            return Outcome(
                source=spelled_out(shown(file.url)),
                version=file.version,
                destination="",
                outcome=settled,
                code=code,
                message=f"{spelled_out(name)}: {reason}",
            )
    return None


def _root_of(source: str) -> str:
    return before_glob(absolute(source))


def _is_inside(place: str, folder: str) -> bool:
    return place.startswith(join(folder, ""))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _matches(relative: str, pattern: str) -> bool:
    return fnmatchcase(relative, pattern) or fnmatchcase(posixpath.basename(relative), pattern)
