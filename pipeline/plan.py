"""What is to be done: list the source, name each output, subtract what the manifest says is done."""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from pipeline.errors import UsageError
from pipeline.images import FORMATS, format_of
from pipeline.manifest import FOLDER
from pipeline.records import Outcome, Record
from pipeline.storage import READ_ONLY, Listed, Storage, absolute, before_glob, join, parent, protocol_of


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
    """Files that are not photos by their name, or have no place at the destination: already settled."""
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
        url = absolute(destination)
        if url == absolute(source):
            raise UsageError(f"{url}: source and destination are the same; the originals would be overwritten")
        if protocol_of(url) in READ_ONLY:
            raise UsageError(f"{url}: a web server is a source, not a destination; give a folder or a bucket")
        written = format_of(url)
        if destination.endswith("/") or written is None or storage.is_folder(url):
            return cls(root=url, format=format_name)
        if storage.is_folder(absolute(source)):
            raise UsageError(f"{destination}: the name of a photo, but the source is a folder; give a folder's name")
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


def make_plan(
    storage: Storage,
    source: str,
    destination: Destination,
    selection: Selection,
    done: Mapping[str, tuple[str, str]],
) -> Plan:
    """Raises NotFound and other StorageErrors from the listing, UsageError where an output would replace a source.

    `done`: what `Manifest.done` says; an output that has vanished from the destination is work again.
    """
    own = _own_outputs(source, destination)
    files = [file for file in storage.list_files(absolute(source)) if _is_input(file, own, selection)]
    present = _outputs_present(storage, destination, done)
    plan = Plan()
    taken: set[str] = set()
    sources = {file.url for file in files}
    for file, target in zip(files, destination.names([file.relative for file in files]), strict=True):
        version, written = done.get(file.url, ("", ""))
        if version == file.version and (not written or (written == target and written in present)):
            plan.done += 1
        elif format_of(file.url) is None:
            extension = posixpath.splitext(file.relative)[1] or "no extension"
            plan.refused.append(_refusal(file, "not_a_photo", f"{extension}: not a photo that nightlift reads"))
        elif ".." in file.relative.split("/"):
            plan.refused.append(_refusal(file, "unsafe_name", "its path climbs out of the source with '..'; rename it"))
        elif target in taken:
            plan.refused.append(
                _refusal(file, "collision", f"its output {target} is another photo's as well; rename it")
            )
        elif target in sources:
            raise UsageError(f"{target}: the output would replace a source; choose another destination")
        else:
            taken.add(target)
            plan.records.append(_record(file, target))
    return plan


def _own_outputs(source: str, destination: Destination) -> str | None:
    """The prefix of the URLs of our own outputs, where the destination lies inside the source."""
    inside = destination.root.startswith(join(before_glob(absolute(source)), ""))
    return join(destination.root, "") if inside and not destination.file else None


def _is_input(file: Listed, own_outputs: str | None, selection: Selection) -> bool:
    """Leaves out what nightlift itself wrote: outputs and manifests."""
    if own_outputs is not None and file.url.startswith(own_outputs):
        return False
    return FOLDER not in file.relative.split("/") and selection(file.relative)


def _outputs_present(storage: Storage, destination: Destination, done: Mapping[str, tuple[str, str]]) -> set[str]:
    return {file.url for file in storage.list_files(destination.root)} if done else set()


def _renamed(relative: str, format_name: str | None) -> str:
    """The path with the extension of the format that will be written; unchanged where that is its own."""
    own = format_of(relative)
    if own is None:
        return relative
    wanted = FORMATS[format_name or own.written_as]
    return relative if wanted == own else posixpath.splitext(relative)[0] + wanted.extensions[0]


def _record(file: Listed, target: str) -> Record:
    return Record(source=file.url, version=file.version, size_bytes=file.size_bytes, destination=target)


def _refusal(file: Listed, code: str, reason: str) -> Outcome:
    name = posixpath.basename(file.url)
    outcome = Outcome.of(_record(file, ""))
    return replace(
        outcome, outcome="skipped" if code == "not_a_photo" else "failed", code=code, message=f"{name}: {reason}"
    )


def _matches(relative: str, pattern: str) -> bool:
    return fnmatchcase(relative, pattern) or fnmatchcase(posixpath.basename(relative), pattern)
