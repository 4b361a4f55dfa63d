"""Plan of a run: list the source, name each output, leave out what the manifest says is done.

No output ever replaces a source, another file's output, or a file near the sources that nightlift did not write.
"""

import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InTheWay, NotFound, UsageError, printable, spelled_out
from pipeline.images.recognition import HEAD_BYTES
from pipeline.planning.contents import known_as
from pipeline.planning.destination import ClaimedNames, Destination
from pipeline.planning.history import OTHER_KIND, History, holds
from pipeline.planning.inputs import Inputs, Selection
from pipeline.planning.media_kinds import PHOTOS, VIDEOS, Kind, extension_of, tells_nothing
from pipeline.planning.path_list import PathList, Source
from pipeline.planning.raw_pairs import PAIRED
from pipeline.records import Ending, Outcome, Record
from pipeline.storage.errors import SAID
from pipeline.storage.listing import Listed
from pipeline.storage.ownership import is_free
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, GLOB, WEB, absolute, before_glob, is_inside, join, protocol_of, real, redacted

COMMAND_FOR = {"photo": "images", "video": "videos"}
OF_ANOTHER = "is what another {} became; move it away or choose another DST"


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
    later: int = 0
    """Number of files to enhance that are left for the next run."""
    refused: list[Refusal] = field(default_factory=list)
    """Files that are settled: named like another kind, unreadable, or without a place at the destination."""
    done: int = 0
    """Number of inputs whose outputs an earlier run has written under the same weights and settings."""
    skipped: int = 0
    """Number of inputs that an earlier run has skipped under the same weights and settings."""
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


def make_plan(
    storage: Storage,
    source: Source,
    destination: Destination,
    selection: Selection,
    history: History,
    *,
    ignoring_case: bool = False,
    inputs: Inputs | None = None,
    kinds: Sequence[Kind] = (),
) -> Plan:
    """List the source, name each output, leave out what is done. An output that has vanished is work again.

    What has failed under these settings comes last, so that a limit does not keep others from their turn.
    `ignoring_case`: the destination treats `a` and `A` as one name. `inputs`: the listing, if several plans share it.
    `kinds`: of the jobs of those plans; each reports files of its own kind, and the first those of no kind.
    Raises NotFound and other StorageErrors from the listing; UsageError where an output would replace a file that is
    not ours.
    """
    inputs = inputs_of(storage, source, destination, selection) if inputs is None else inputs
    listed = inputs.sorted()
    if inputs.known_as is None:
        selected = (file for file in listed if selection(file.relative))
        inputs.known_as = known_as(storage, selected, history, destination, alone=_is_alone(source, listed))
    kinds = [each.knowing(inputs.known_as) for each in kinds or [destination.kind]]
    kind = next(each for each in kinds if each.noun == destination.kind.noun)
    destination = replace(destination, kind=kind)
    results = [folder for folder in inputs.written if _has_inputs(folder, listed, selection, kind)]
    output_of = destination.naming(lambda: (file.relative for file in listed))
    twin = kind.twin_in(lambda: (file.relative for file in listed if not file.code and selection(file.relative)))
    taken = ClaimedNames(destination, ignoring_case=ignoring_case)
    # parts of a whole, each of which is named without regard to the others
    apart = bool(destination.file) or isinstance(source, PathList)
    asked = history.done.size or (apart and history.written.size) or (kind.gives_way and history.elsewhere.size)
    present = _present(storage, destination, asked=asked)
    folders = inputs.roots | {inputs.written[folder] for folder in results}
    plan = Plan(folders=folders, results=results, left_out=_left_out(inputs, destination))
    for file in listed:
        relative, name = file.relative, redacted(file.url)
        target, is_accepted = output_of(relative), kind.accepts(relative)
        wanted = bool(file.code) or is_accepted
        problem = _problem(file, relative, "" if is_accepted else kind.refusal, kind.noun)
        is_reported = is_accepted or kind is next((each for each in kinds if each.accepts(relative)), kinds[0])
        if problem is None and not taken.take(target):
            problem = "collision", f"its output {target} is taken by another {kind.noun}; rename it"
        if problem is None and apart and holds(present, hash(target)) and history.is_of_another(target, name):
            problem = "collision", f"{target} {OF_ANOTHER.format(kind.noun)}"
        if not selection(relative):
            continue
        plan.found[posixpath.splitext(relative)[1].lower() or "no extension"] += 1
        plan.ours += wanted
        if problem is None and (reason := twin(file.relative)):
            problem = PAIRED, reason
            # its row may tell of an output, and must stay the newest
            if history.is_known(spelled_out(name), file.version):
                plan.skipped += 1
                continue
        if history.is_done(name, file.version, ""):
            plan.skipped += is_reported
        elif problem is not None:
            # a file of another kind may have a row from its own kind's job, which must stay the newest
            is_new = problem[0] != kind.refusal or not history.is_known(spelled_out(name), file.version)
            if is_reported and is_new:
                plan.refused.append(Refusal(file, *problem))
        elif holds(present, hash(target)) and _is_done(history, kind, name, file.version, target):
            plan.done += 1
        else:
            plan.records.append(
                Record(
                    source=file.url,
                    version=file.version,
                    size_bytes=file.size_bytes,
                    destination=target,
                    known_bytes=history.known_bytes(target),
                    modified_s=file.modified_s,
                )
            )
    plan.records.sort(key=lambda record: history.has_failed(redacted(record.source), record.version))
    if destination.file and any(refusal.code == "collision" for refusal in plan.refused):
        raise UsageError(f"{destination.file} {OF_ANOTHER.format(kind.noun)}")
    _protect_sources(plan, listed)
    if _is_among_others(storage, source, destination):
        _protect_others(storage, destination, plan)
    return plan


def inputs_of(storage: Storage, source: Source, destination: Destination, selection: Selection) -> Inputs:
    """Return the listing of the source, without a destination inside it. Raises UsageError for a page on the web."""
    if isinstance(source, str):
        _check_is_no_page(storage, source, destination.kind)
    outside = "" if destination.file else destination.root
    return Inputs(storage, source, follow_links=selection.follow_links, outside=outside)


def _check_is_no_page(storage: Storage, source: str, kind: Kind) -> None:
    if protocol_of(source) not in WEB or GLOB.search(source):
        return
    path = urlsplit(source).path
    is_page = path.endswith("/") or not path
    if is_page or (tells_nothing(path) and not extension_of("", storage.read_part(source, 0, HEAD_BYTES))):
        said = f"cannot list a web server; give one {kind.noun}, or a glob over an index page"
        raise UsageError(f"{redacted(source)}: {said}")


def _is_alone(source: Source, listed: Sequence[Listed]) -> bool:
    """Return whether the source is a single file that the user named."""
    return isinstance(source, str) and [file.url for file in listed] == [absolute(source)]


def _is_done(history: History, kind: Kind, name: str, version: str, target: str) -> bool:
    """Return whether a file has become what is at `target`, in an earlier run or in a job that this kind gives way."""
    if kind.gives_way and not history.is_of_another(target, name) and history.is_done_elsewhere(name, version):
        return True
    return history.is_done(name, version, target)


def _left_out(inputs: Inputs, destination: Destination) -> int | None:
    """Return the number of files left out at a destination inside the source; None where it does not lie inside.

    A folder is a source before the destination is there.
    """
    source = inputs.source
    if isinstance(source, str) and inputs.roots == {source} and is_inside(real(destination.root), real(source)):
        return inputs.left_out
    return inputs.left_out or None


def _has_inputs(folder: str, inputs: Sequence[Listed], selection: Selection, kind: Kind) -> bool:
    names = (file.relative for file in inputs if file.relative.startswith(f"{folder}/"))
    return any(selection(name) and kind.accepts(name) for name in names)


def _present(storage: Storage, destination: Destination, *, asked: bool | int) -> NDArray[np.int64]:
    """Return the sorted hashes of the files that are at the destination; none unless `asked`."""
    urls: Iterable[str] = ()
    if asked and destination.file:
        urls = [destination.file] if storage.exists(destination.file) else []
    elif asked:
        urls = (file.url for file in storage.walk(destination.root, follow_links=True))
    return np.sort(np.fromiter(map(hash, urls), np.int64))


def _protect_sources(plan: Plan, listed: Sequence[Listed]) -> None:
    """Raise UsageError where an output would replace a source."""
    outputs = {hash(real(record.destination)): record.destination for record in plan.records}
    for file in listed if outputs else ():
        if destination := outputs.get(hash(real(file.url))):
            raise UsageError(f"{destination}: the output would replace a source; choose another destination")


def _is_among_others(storage: Storage, source: Source, destination: Destination) -> bool:
    """Return whether others' files may be there: at a single file, or near the sources and not yet written to."""
    root, below = real(_root_of(source)), real(destination.root)
    apart = root != below and not is_inside(root, below) and not is_inside(below, root)
    ours = is_inside(below, root) and storage.is_folder(join(destination.root, FOLDER))
    return bool(destination.file) or not (apart or ours)


def _protect_others(storage: Storage, destination: Destination, plan: Plan) -> None:
    """Raise UsageError, before any work is done, where a file that nightlift did not write would be in the way."""
    try:
        there = {hash(file.url) for file in storage.walk(destination.file or destination.root)}
    except NotFound:
        return
    taken = [record for record in plan.records if hash(record.destination) in there and not record.known_bytes]
    foreign = [record for record in taken if not is_free(storage, record.destination)]
    if foreign:
        others = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        raise UsageError(f"{foreign[0].destination}{others} {SAID[InTheWay]}")


def check_found(source: str, plans: Sequence[Plan], nouns: str) -> None:
    """Raise UsageError where the source has nothing for any of the plans. `nouns`: what was looked for."""
    found = max((plan.found for plan in plans), key=Counter.total)
    if not found:
        raise UsageError(f"{redacted(source)}: no files found, or none that --include and --exclude select")
    if not any(plan.ours for plan in plans):
        kinds = ", ".join(f"{count} {extension}" for extension, count in found.most_common(5))
        raise UsageError(
            f"{redacted(source)}: no {nouns} that nightlift reads, judging by names and first bytes (found: {kinds})"
            f"{_other_command(found)}"
        )


def _other_command(found: Collection[str]) -> str:
    """Return words on the command for files with these extensions, if there is one."""
    kinds = [kind for kind in (PHOTOS, VIDEOS) if any(kind.accepts(f"file{extension}") for extension in found)]
    commands = [COMMAND_FOR[kind.noun] for kind in kinds]
    return f"; for these: nightlift {' or '.join(commands)}" if commands else ""


def _problem(file: Listed, relative: str, refusal: str, noun: str) -> tuple[str, str] | None:
    """Return code and reason if a file cannot be enhanced, as far as its name and listing show; else None.

    `refusal`: the code for a file of another kind; "" if it is of this kind.
    """
    extension = posixpath.splitext(relative)[1] or "no extension"
    problems = (
        ("bad_name", "its name is not UTF-8; rename it", not _is_text(file.url)),
        (file.code, file.problem, bool(file.code)),
        (refusal, f"not a {noun} that nightlift reads ({extension})", bool(refusal)),
        ("unsafe_name", "its path contains '.' or '..'; rename it", bool({".", ".."} & {*relative.split("/")})),
    )
    return next(((code, reason) for code, reason, applies in problems if applies), None)


def _root_of(source: Source) -> str:
    """Return the folder that holds a source, as far as its name shows; that of a list may be anywhere."""
    return before_glob(absolute(source)) if isinstance(source, str) else "/"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
