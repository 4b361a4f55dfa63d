"""What is to be done: list the source, name each output, subtract what the manifest says is done.

No output ever takes the place of a source, of another file's output, or of a file near the sources that nightlift did
not write.
"""

import itertools
import logging
import posixpath
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from pipeline.errors import NotFound, UsageError
from pipeline.history import OTHER_KIND, History
from pipeline.kinds import Kind
from pipeline.listing import Listed
from pipeline.manifest import FOLDER
from pipeline.places import GLOB, LOCAL, WEB, absolute, before_glob, is_inside, join, parent, protocol_of, real, shown
from pipeline.records import Ending, Outcome, Record, printable, spelled_out
from pipeline.storage import Storage

log = logging.getLogger("nightlift")

TELL_EVERY_S = 10.0  # of a long listing


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which of the listed files are inputs. Patterns are matched against the path below the source."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    """Whether local links lead to inputs outside of the source, and links to folders into them."""

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

    def naming(self, relatives: Iterable[str]) -> Callable[[str], str]:
        """What tells the URL of an output by the path of its source, which is one of `relatives`.

        Names that would meet once their extension has changed keep the old one too.
        """
        if self.file:
            return lambda relative: self.file
        kept, changed = set[int](), Counter[int]()  # hashes: there may be millions
        for relative in relatives:
            name = self.kind.renamed(relative, self.format)
            if name == relative:
                kept.add(hash(name))
            else:
                changed[hash(name)] += 1

        def output_of(relative: str) -> str:
            name = self.kind.renamed(relative, self.format)
            meets = name != relative and (hash(name) in kept or changed[hash(name)] > 1)
            target = join(self.root, relative + posixpath.splitext(name)[1] if meets else name)
            # `a//b.jpg` and `a/b.jpg` are two keys, and one path
            return posixpath.normpath(target) if protocol_of(target) == LOCAL else target

        return output_of


def make_plan(storage: Storage, source: str, destination: Destination, selection: Selection, history: History) -> Plan:
    """Raises NotFound and other StorageErrors from the listing; UsageError where an output would replace a file that is
    not ours.

    An output that has vanished from the destination is work again.
    """
    listed, kind = _inputs(storage, source, destination, selection), destination.kind
    output_of = destination.naming(file.relative for file in listed)
    taken = _Taken(destination, ignoring_case=storage.ignores_case(join(destination.root, FOLDER)))
    present = _present(storage, destination, history)
    plan = Plan()
    for file in listed:
        name, target = shown(file.url), output_of(file.relative)
        wanted = bool(file.code) or kind.accepts(name)
        problem = _problem(file, kind)
        if problem is None and not taken.take(target):
            problem = "collision", f"its output {target} is taken by another {kind.noun}; rename it"
        if not selection(file.relative):
            continue
        plan.found[posixpath.splitext(file.relative)[1].lower() or "no extension"] += 1
        plan.ours += wanted
        if history.is_done(name, file.version, ""):
            plan.skipped.append(name)
        elif problem is not None:
            # the row of a file of another kind may be that of its own job, and stays the newest
            if problem[0] != kind.refusal or not history.is_known(spelled_out(name), file.version):
                plan.refused.append(_refused(file, *problem))
        elif hash(target) in present and history.is_done(name, file.version, target):
            plan.done += 1
        else:
            plan.records.append(
                Record(source=file.url, version=file.version, size_bytes=file.size_bytes, destination=target)
            )
    _protect_originals(storage, source, destination, listed, plan, history)
    return plan


class _Taken:
    """Places at the destination that outputs have. Names are one that the destination would not tell apart."""

    def __init__(self, destination: Destination, *, ignoring_case: bool) -> None:
        self._on_disk = protocol_of(destination.root) == LOCAL
        self._ignoring_case = ignoring_case
        self._files: set[int] = set()  # hashes
        self._folders: set[int] = set()

    def take(self, target: str) -> bool:
        """Whether the place was free."""
        if self._ignoring_case:
            target = unicodedata.normalize("NFC", target).casefold()
        place, folders = hash(target), self._folders_of(target)
        free = place not in self._files and place not in self._folders and self._files.isdisjoint(folders)
        if free:
            self._files.add(place)
            self._folders.update(folders)
        return free

    def _folders_of(self, target: str) -> list[int]:
        """On a disk `a.jpg` is no folder for `a.jpg/b.jpg`."""
        if not self._on_disk:
            return []
        return [hash(folder) for folder in itertools.accumulate(target.split("/")[:-1], "{}/{}".format)]


def _inputs(storage: Storage, source: str, destination: Destination, selection: Selection) -> list[Listed]:
    """All files of the source by path, less what nightlift itself wrote: manifests, and a destination inside it."""
    if protocol_of(source) in WEB and not GLOB.search(source) and not destination.kind.accepts(urlsplit(source).path):
        noun = destination.kind.noun
        raise UsageError(f"{shown(source)}: from a web server give one {noun}, or a glob over an index page")
    root, below = real(_root_of(source)), real(destination.root)
    inside = not destination.file and is_inside(destination.root, _root_of(source))
    linked = selection.follow_links and not destination.file and root != below and not is_inside(root, below)
    own = join(destination.root, "") if inside else None
    own_by_link = join(below, "") if linked else None
    inputs: list[Listed] = []
    told_at = time.monotonic()
    for file in storage.walk(absolute(source), follow_links=selection.follow_links):
        ours = bool(own and file.url.startswith(own)) or bool(own_by_link and real(file.url).startswith(own_by_link))
        if f"/{FOLDER}/" not in f"/{file.relative}" and not ours:
            inputs.append(file)
        if time.monotonic() - told_at >= TELL_EVERY_S:
            told_at = time.monotonic()
            log.info("%s files listed so far", f"{len(inputs):,}")
    return sorted(inputs, key=lambda file: file.relative)


def _present(storage: Storage, destination: Destination, history: History) -> set[int]:
    """Hashes of the outputs that are still there."""
    if not history.done.size:
        return set()
    if destination.file:
        return {hash(destination.file)} if storage.exists(destination.file) else set()
    return {hash(file.url) for file in storage.walk(destination.root, follow_links=True)}


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
    root, below = real(_root_of(source)), real(destination.root)
    apart = root != below and not is_inside(root, below) and not is_inside(below, root)
    sources = {hash(real(file.url)) for file in listed}
    for record in plan.records:
        if hash(real(record.destination)) in sources:
            raise UsageError(f"{record.destination}: the output would replace a source; choose another destination")
    ours = is_inside(below, root) and storage.is_folder(join(destination.root, FOLDER))
    if not destination.file and (apart or ours):
        return
    try:
        there = storage.walk(destination.file or destination.root)
        foreign = {hash(file.url) for file in there if not history.was_written(file.url)}
    except NotFound:
        return
    for record in plan.records:
        if hash(record.destination) in foreign:
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


def _problem(file: Listed, kind: Kind) -> tuple[str, str] | None:
    """Code and reason where a file cannot be enhanced, as far as its name and place tell."""
    extension = posixpath.splitext(file.relative)[1] or "no extension"
    problems = (
        ("bad_name", "its name is not UTF-8; rename it", not _is_text(file.url)),
        (file.code, file.problem, bool(file.code)),
        (kind.refusal, f"{extension}: not a {kind.noun} that nightlift reads", not kind.accepts(shown(file.url))),
        ("unsafe_name", "its path has '.' or '..' in it; rename it", bool({".", ".."} & {*file.relative.split("/")})),
    )
    return next(((code, reason) for code, reason, applies in problems if applies), None)


def _refused(file: Listed, code: str, reason: str) -> Outcome:
    settled: Ending = "skipped" if code.startswith(OTHER_KIND) or code == "not_followed" else "failed"
    name = spelled_out(posixpath.basename(shown(file.url)))
    return Outcome(
        source=spelled_out(shown(file.url)),
        version=file.version,
        destination="",
        outcome=settled,
        code=code,
        message=printable(f"{name}: {reason}"),
    )


def _root_of(source: str) -> str:
    return before_glob(absolute(source))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _matches(relative: str, pattern: str) -> bool:
    return fnmatchcase(relative, pattern) or fnmatchcase(posixpath.basename(relative), pattern)
