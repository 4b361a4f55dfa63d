"""Files that a network is trained on: photos and videos at all sources, without what nightlift wrote. No Ray here."""

import hashlib
import logging
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from pipeline.archives.advice import advice
from pipeline.archives.recognition import archive_of
from pipeline.errors import NotFound, UsageError, plural, spelled_out
from pipeline.planning.contents import known_by_content
from pipeline.planning.inputs import Inputs, Selection
from pipeline.planning.manifest import Manifest
from pipeline.planning.media_kinds import PHOTOS, VIDEOS, Kind
from pipeline.records import Outcome, Record
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import absolute, join, real, redacted

log = logging.getLogger("nightlift")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingFiles:
    """Files found at the sources."""

    records: Sequence[Record]
    """Photos and videos."""
    refused: Sequence[Outcome]
    """Files that are settled: neither photos nor videos, or unreadable."""
    names: Sequence[tuple[str, int]]
    """Relative path and size of each photo and video, sorted."""
    roots: Sequence[str]
    """Folders that the paths start from, one for each source."""
    results: Mapping[str, int]
    """Folders below the sources that nightlift wrote into, with the number of files left out as its own."""

    @property
    def digest(self) -> str:
        """Return a hash of `names`, which shows whether two listings are of the same files."""
        return hashlib.sha256(repr(list(self.names)).encode()).hexdigest()[:16]


def training_files(
    storage: Storage, sources: Sequence[str], destination: str, selection: Selection, limit: int | None
) -> TrainingFiles:
    """Find the files at all sources, each once, without nightlift's own. Raises UsageError, NotFound, StorageError.

    In each folder below a source that contains `_nightlift/`, the manifest tells what nightlift wrote, unless the
    folder is itself a source. Matches of a glob do not show a `_nightlift/` beside them, so all of them count. Up to
    `limit` files are taken from all sources in turn: the first of each, the second of each, and so on.
    """
    named = {real(absolute(place)) for place in (*sources, destination)}
    seen: set[str] = set()
    refused, results, roots = list[Outcome](), dict[str, int](), list[str]()
    found: list[list[Listed]] = []
    archives: list[Listed] = []
    for source in sources:
        if not source.strip():
            raise UsageError("SRC is empty; give a folder, a file or a URL")
        inputs = Inputs(storage, source, follow_links=selection.follow_links, outside=destination)
        listed = inputs.sorted()
        roots += [file.folder for file in listed[:1]]
        folders = [join(file.folder, folder) for file in listed[:1] for folder in sorted(inputs.written)]
        written = _written(storage, listed, [folder for folder in folders if real(folder) not in named])
        results |= Counter(written.values())
        theirs = [file for file in listed if file.url not in written]
        wanted = [file for file in theirs if selection(file.relative) and file.url not in seen]
        seen |= {file.url for file in wanted}
        known_as = known_by_content(storage, source, wanted)
        kinds = [kind.knowing(known_as) for kind in (PHOTOS, VIDEOS)]
        refusals = [_refusal(file, kinds) for file in wanted]
        refused += [refusal for refusal in refusals if refusal is not None]
        archives += [file for file in wanted if archive_of(file.relative)]
        found.append([file for file, refusal in zip(wanted, refusals, strict=True) if refusal is None])
    for line in advice(storage, archives, None):
        log.warning("%s", line)
    chosen = [file for turn in zip_longest(*found) for file in turn if file is not None][:limit]
    if not chosen:
        reason = f"none of {plural(len(seen), 'file')} can be used: {_commonest(refused)}" if seen else "no files found"
        reason += (
            f"; nightlift's own results in {', '.join(results)} are left out unless that folder is a SRC"
            if results
            else ""
        )
        raise NotFound(f"{', '.join(redacted(source) for source in sources)}: no photo or video to train on ({reason})")
    return TrainingFiles(
        records=[
            Record(source=file.url, version=file.version, size_bytes=file.size_bytes, destination="") for file in chosen
        ],
        refused=refused,
        names=sorted((spelled_out(file.relative), file.size_bytes) for file in chosen),
        roots=roots,
        results=results,
    )


def _commonest(refused: Sequence[Outcome]) -> str:
    """Return the message of one of the files that are refused for the commonest reason."""
    (code, _), *_ = Counter(refusal.code for refusal in refused).most_common(1)
    return next(refusal.message for refusal in refused if refusal.code == code)


def _written(storage: Storage, listed: Sequence[Listed], folders: Sequence[str]) -> dict[str, str]:
    """Map the URL of each listed file that nightlift wrote, also through links, to the one of `folders` it wrote to.

    If a manifest names outputs and none of them is in its folder, the folder was moved: all in it counts as written.
    """
    if not folders:
        return {}
    places = {file.url: real(file.url) for file in listed}
    there = set(places.values())
    owners, moved = dict[str, str](), dict[str, str]()
    for folder in folders:
        inside = join(real(folder), "")
        outputs = {real(output) for output in Manifest(storage, folder, "", {}).outputs()}
        present = {output for output in outputs & there if output.startswith(inside)}
        owners |= dict.fromkeys(present, folder)
        if outputs and not present:
            moved[inside] = folder
    written = dict[str, str]()
    for url, place in places.items():
        around = [folder for inside, folder in moved.items() if place.startswith(inside)]
        drawn = [folder for folder in [_training_of(url)] if folder in folders]
        owner = owners.get(place) or next(iter([*around, *drawn]), None)
        if owner is not None:
            written[url] = owner
    return written


def _training_of(url: str) -> str:
    """Return the folder of the training that draws such files (`losses.png`, `sheets/epoch-0010.png`); else ""."""
    folder, _, name = url.rpartition("/")
    if name == "losses.png":
        return folder
    is_sheet = name.startswith("epoch-") and folder.endswith("/sheets")
    return folder.removesuffix("/sheets") if is_sheet else ""


def _refusal(file: Listed, kinds: Sequence[Kind]) -> Outcome | None:
    """Return the outcome of a file that is not to be read, as its name, first bytes and listing show; else None.

    `kinds`: those that are read, which know what files are whose names tell nothing.
    """
    name = redacted(file.url)
    if spelled_out(name) != name:
        code, problem = "bad_name", "its name is not UTF-8; rename it"
    elif file.code:
        code, problem = file.code, file.problem
    elif not any(kind.accepts(file.relative) for kind in kinds):
        extension = posixpath.splitext(file.relative)[1] or "no extension"
        content = kinds[0].described(file.relative)
        found = f"{extension}: {content}" if content else extension
        code, problem = "not_a_photo", f"neither a photo nor a video that nightlift reads ({found})"
    else:
        return None
    return Outcome(
        source=spelled_out(name),
        version=file.version,
        destination="",
        outcome="skipped" if code in ("not_a_photo", "not_followed") else "failed",
        code=code,
        message=f"{spelled_out(posixpath.basename(name))}: {problem}",
    )
