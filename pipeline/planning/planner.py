"""Plan of a run: list the source, name each output, leave out what the manifest says is done.

No output ever replaces a source, another file's output, or a file near the sources that nightlift did not write.
"""

import posixpath
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InTheWay, NotFound, UsageError, spelled_out
from pipeline.planning.contents import is_alone, known_as
from pipeline.planning.destination import ClaimedNames, Destination
from pipeline.planning.history import History, holds
from pipeline.planning.inputs import Inputs, Selection
from pipeline.planning.media_kinds import Kind, extension_of, tells_nothing
from pipeline.planning.path_list import PathList, Source
from pipeline.planning.plan import Plan, Refusal
from pipeline.planning.raw_pairs import PAIRED
from pipeline.records import Record
from pipeline.storage.errors import SAID
from pipeline.storage.listing import Listed
from pipeline.storage.ownership import is_free
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, GLOB, WEB, absolute, before_glob, is_inside, join, protocol_of, real, redacted
from pipeline.video.reading.containers import written_as_it_is
from pipeline.video.reading.recognition import HEAD_BYTES, SOUND

OF_ANOTHER = "is what another {} became; move it away or choose another DST"


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
        selected = [file for file in listed if selection(file.relative)]
        copies = any(each.gives_way for each in kinds)
        trusted = History() if copies else history  # a copy needs the kind for sure
        alone = is_alone(source, listed)
        inputs.known_as = known_as(storage, selected, trusted, destination, kinds or [destination.kind], alone=alone)
        heard = (file for file in selected if copies and history.is_sound(redacted(file.url), file.version))
        inputs.known_as |= {file.relative: file.relative + SOUND for file in heard}
    kinds = [each.knowing(inputs.known_as) for each in kinds or [destination.kind]]
    kind = next(each for each in kinds if each.noun == destination.kind.noun)
    destination = replace(destination, kind=kind)
    results = [folder for folder in inputs.written if _has_inputs(folder, listed, selection, kind)]
    # parts of a whole, each of which is named without regard to the others
    apart = bool(destination.file) or isinstance(source, PathList)
    asked = history.done.size or (apart and history.written.size) or (kind.gives_way and history.elsewhere.size)
    rules = _Rules(
        kinds=kinds,
        kind=kind,
        history=history,
        output_of=destination.naming(lambda: (file.relative for file in listed)),
        taken=ClaimedNames(destination, ignoring_case=ignoring_case),
        twin=kind.twin_in(lambda: (file.relative for file in listed if not file.code and selection(file.relative))),
        apart=apart,
        present=_present(storage, destination, asked=asked),
    )
    folders = inputs.roots | {inputs.written[folder] for folder in results}
    plan = Plan(folders=folders, results=results, left_out=_left_out(inputs, destination))
    ours: list[Listed] = []
    for file in listed:
        target = rules.output_of(file.relative)
        problem = rules.problem(file, target)
        if selection(file.relative):
            plan.found[posixpath.splitext(file.relative)[1].lower() or "no extension"] += 1
            plan.ours += bool(file.code) or kind.accepts(file.relative)
            rules.settle(plan, file, target, problem)
            if problem is None and not rules.twin(file.relative):
                ours.append(file)
    new, plan.records = len(plan.records), kind.placed(plan.records, ours, storage, rules.again)
    plan.again = len(plan.records) - new
    plan.done -= plan.again
    plan.records.sort(key=lambda record: history.has_failed(redacted(record.source), record.version))
    if destination.file and any(refusal.code == "collision" for refusal in plan.refused):
        raise UsageError(f"{destination.file} {OF_ANOTHER.format(kind.noun)}")
    _protect_sources(plan, listed)
    if _is_among_others(storage, source, destination):
        _protect_others(storage, destination, plan)
    return plan


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rules:
    """What decides about each file of a listing."""

    kinds: Sequence[Kind]
    kind: Kind
    history: History
    output_of: Callable[[str], str]
    taken: ClaimedNames
    twin: Callable[[str], str]
    apart: bool
    present: NDArray[np.int64]

    def problem(self, file: Listed, target: str) -> tuple[str, str] | None:
        """Return code and reason if a file cannot be enhanced; else None. A file without a problem takes its name."""
        refusal = "" if self.kind.accepts(file.relative) else self.kind.refusal
        problem = _problem(file, refusal, self.kind)
        if problem is None and not self.taken.take(target):
            return "collision", f"its output {target} is taken by another {self.kind.noun}; rename it"
        is_there = problem is None and self.apart and holds(self.present, hash(target))
        if is_there and self.history.is_of_another(target, redacted(file.url)):
            return "collision", f"{target} {OF_ANOTHER.format(self.kind.noun)}"
        return problem

    def settle(self, plan: Plan, file: Listed, target: str, problem: tuple[str, str] | None) -> None:
        """Add a file to the plan, as what it is: skipped, refused, done or work."""
        name = redacted(file.url)
        own = written_as_it_is(file.relative, target)  # of a copy
        is_known = self.history.is_known(spelled_out(name), file.version)
        if problem is None and (reason := self.twin(file.relative)):
            problem = PAIRED, reason
            if is_known or self.history.is_done(name, file.version, target):  # its row must stay the newest
                plan.skipped += 1
                return
        if self.history.is_done(name, file.version, ""):
            plan.skipped += self._is_reported(file)
            plan.sound += self.history.is_sound(name, file.version)
        elif problem is not None:
            # a file of another kind may have a row from its own kind's job, which must stay the newest
            if self._is_reported(file) and not (problem[0] == self.kind.refusal and is_known):
                plan.refused.append(Refusal(file, *problem))
        elif there := next((each for each in (target, own) if self._is_there(name, file.version, each)), ""):
            was_skipped = self.history.was_skipped(name, file.version, there)
            plan.skipped += was_skipped
            plan.done += not was_skipped
        else:
            plan.records.append(self._record(file, target))

    def again(self, file: Listed, neighbours: str) -> Record | None:
        """Return the record of a photo that was enhanced with other photos around it in its sequence; else None."""
        name, target = redacted(file.url), self.output_of(file.relative)
        was_skipped = self.history.was_skipped(name, file.version, target)
        is_done = self._is_there(name, file.version, target) and not was_skipped
        return self._record(file, target) if is_done and not self.history.is_beside(name, neighbours) else None

    def _record(self, file: Listed, target: str) -> Record:
        own = written_as_it_is(file.relative, target)
        return Record(
            source=file.url,
            version=file.version,
            size_bytes=file.size_bytes,
            destination=target,
            known_bytes=self.history.known_bytes(target) or self.history.known_bytes(own),
            modified_s=file.modified_s,
        )

    def _is_reported(self, file: Listed) -> bool:
        """Return whether this plan is the one that tells of a file, of several plans of one listing."""
        own = next((each for each in self.kinds if each.accepts(file.relative)), self.kinds[0])
        return self.kind.accepts(file.relative) or self.kind is own

    def _is_there(self, name: str, version: str, target: str) -> bool:
        """Return whether a file has become what is at `target`, in an earlier run or in a job that it gives way to."""
        if not holds(self.present, hash(target)):
            return False
        of_another = self.history.is_of_another(target, name)
        if self.kind.gives_way and not of_another and self.history.is_done_elsewhere(name, version):
            return True
        return self.history.is_done(name, version, target)


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


def _problem(file: Listed, refusal: str, kind: Kind) -> tuple[str, str] | None:
    """Return code and reason if a file cannot be enhanced, as far as its name and listing show; else None.

    `refusal`: the code for a file of another kind; "" if it is of this kind.
    """
    extension = posixpath.splitext(file.relative)[1] or "no extension"
    if content := kind.described(file.relative):
        extension += f": {content}"
    problems = (
        ("bad_name", "its name is not UTF-8; rename it", not _is_text(file.url)),
        (file.code, file.problem, bool(file.code)),
        (refusal, f"not a {kind.noun} that nightlift reads ({extension})", bool(refusal)),
        ("unsafe_name", "its path contains '.' or '..'; rename it", bool({".", ".."} & {*file.relative.split("/")})),
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
