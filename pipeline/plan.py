"""What is to be done: list the source, name each output, subtract what the manifest says is done.

No output ever takes the place of a source, of another photo's output, or of a file near the sources that nightlift
did not write.
"""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from pipeline.errors import NotFound, UsageError
from pipeline.images import FORMATS, Format, format_of
from pipeline.manifest import FOLDER, History
from pipeline.records import Ending, Outcome, Record, spelled_out
from pipeline.storage import GLOB, WEB, Listed, Storage, absolute, before_glob, join, parent, protocol_of, real, shown


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
    """Photos to enhance."""
    refused: list[Outcome] = field(default_factory=list)
    """Files that are no photos by their name, cannot be read, or have no place at the destination: settled."""
    done: int = 0
    """Inputs that an earlier run has settled under the same weights and settings."""

    @property
    def bytes_in(self) -> int:
        return sum(record.size_bytes for record in self.records)


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Where outputs go: `root` holds them and the manifest; `file` is set where the user named a single file."""

    root: str
    file: str = ""
    format: str | None = None

    @classmethod
    def of(cls, storage: Storage, source: str, destination: str, format_name: str | None) -> "Destination":
        """From what the user typed. Raises UsageError where the two places make no sense together."""
        for name, place in (("SRC", source), ("DST", destination)):
            if not place.strip():
                raise UsageError(f"{name} is empty; give a folder, a file or a URL")
        url = absolute(destination)
        if protocol_of(url) in WEB:
            raise UsageError(f"{shown(url)}: a web server is a source, not a destination; give a folder or a bucket")
        if real(url) == real(absolute(source)):
            raise UsageError(f"{url}: source and destination are the same; the originals would be overwritten")
        written = format_of(url)
        is_folder = storage.is_folder(url)
        if destination.endswith("/") or written is None or is_folder:
            if not is_folder and storage.exists(url):
                raise UsageError(f"{url}: is a file; give a folder")
            return cls(root=url, format=format_name)
        if GLOB.search(source) or storage.is_folder(absolute(source)):
            raise UsageError(f"{destination}: the name of one photo for many; give a folder's name")
        if format_name not in (None, written.name) or not written.writable:
            raise UsageError(f"{destination}: cannot be written as {format_name or written.name}; change the extension")
        return cls(root=parent(url), file=url, format=format_name)

    def names(self, relatives: Sequence[str]) -> list[str]:
        """The URL of each output. Names that would meet once their extension has changed keep the old one too."""
        if self.file:
            return [self.file for _ in relatives]
        natural = [_renamed(relative, self.format) for relative in relatives]
        count = Counter(natural)
        return [
            join(self.root, name if name == relative or count[name] == 1 else relative + posixpath.splitext(name)[1])
            for relative, name in zip(relatives, natural, strict=True)
        ]


def make_plan(storage: Storage, source: str, destination: Destination, selection: Selection, history: History) -> Plan:
    """Raises NotFound and other StorageErrors from the listing; UsageError where there is no photo, or where an
    output would replace a file that is not ours.

    An output that has vanished from the destination is work again.
    """
    listed = _inputs(storage, source, destination)
    targets = dict(
        zip((file.url for file in listed), destination.names([file.relative for file in listed]), strict=True)
    )
    owners: dict[str, str] = {}
    for file in listed:
        if _photo_format(file) is not None:
            owners.setdefault(targets[file.url], file.url)
    present = _present(storage, destination, history)
    plan = Plan()
    chosen = [file for file in listed if selection(file.relative)]
    for file in chosen:
        target = targets[file.url]
        before = history.done.get(shown(file.url))
        if before in ((file.version, ""), (file.version, target)) and (not before[1] or target in present):
            plan.done += 1
        elif (refusal := _refusal(file, target, owners)) is not None:
            plan.refused.append(refusal)
        else:
            plan.records.append(
                Record(source=file.url, version=file.version, size_bytes=file.size_bytes, destination=target)
            )
    _check_there_are_photos(source, chosen)
    _protect_originals(storage, source, destination, listed, plan, history)
    return plan


def _inputs(storage: Storage, source: str, destination: Destination) -> list[Listed]:
    """All files of the source, less what nightlift itself wrote: manifests, and a destination inside the source."""
    if protocol_of(source) in WEB and not GLOB.search(source) and format_of(urlsplit(source).path) is None:
        raise UsageError(f"{shown(source)}: from a web server give one photo, or a glob over an index page")
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
    """Raises UsageError where a photo that nightlift did not write would be replaced: near the sources, or named
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


def _check_there_are_photos(source: str, chosen: Sequence[Listed]) -> None:
    if not chosen:
        raise UsageError(f"{shown(source)}: no files there, or none that --include and --exclude let through")
    if not any(_photo_format(file) or file.code for file in chosen):
        kinds = Counter(posixpath.splitext(file.relative)[1].lower() or "no extension" for file in chosen)
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        raise UsageError(f"{shown(source)}: no photos there that nightlift reads, by their names ({found})")


def _refusal(file: Listed, target: str, owners: Mapping[str, str]) -> Outcome | None:
    """The outcome of a file that cannot be enhanced, as far as its name and place tell."""
    name = posixpath.basename(shown(file.url))
    extension = posixpath.splitext(file.relative)[1] or "no extension"
    problems = (
        ("bad_name", "its name is not UTF-8; rename it", not _is_text(file.url)),
        (file.code, file.problem, bool(file.code)),
        ("not_a_photo", f"{extension}: not a photo that nightlift reads", _photo_format(file) is None),
        ("unsafe_name", "its path climbs out of the source with '..'; rename it", ".." in file.relative.split("/")),
        ("collision", f"its output {target} is another photo's as well; rename it", owners.get(target) != file.url),
    )
    for code, reason, applies in problems:
        if applies:
            settled: Ending = "skipped" if code in ("not_a_photo", "not_followed") else "failed"
            return Outcome(
                source=spelled_out(shown(file.url)),
                version=file.version,
                destination="",
                outcome=settled,
                code=code,
                message=f"{spelled_out(name)}: {reason}",
            )
    return None


def _photo_format(file: Listed) -> Format | None:
    return format_of(shown(file.url))


def _renamed(relative: str, format_name: str | None) -> str:
    """The path with the extension of the format that will be written; unchanged where that is its own."""
    own = format_of(relative)
    if own is None:
        return relative
    wanted = FORMATS[format_name or own.written_as]
    return relative if wanted == own else posixpath.splitext(relative)[0] + wanted.extensions[0]


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
