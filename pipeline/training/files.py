"""Which files a network is trained on: photos and videos at all sources, without what nightlift wrote. No Ray here."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from pipeline.errors import NotFound, UsageError, spelled_out
from pipeline.images import format_of
from pipeline.planning.manifest import Manifest
from pipeline.planning.plan import Selection
from pipeline.records import Outcome, Record
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, absolute, join, real, shown
from pipeline.video import is_video


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingFiles:
    """What was found at the sources."""

    records: Sequence[Record]
    """Photos and videos."""
    refused: Sequence[Outcome]
    """Files that are neither, or cannot be read: settled."""
    names: Sequence[tuple[str, int]]
    """Relative path and size of each photo and video, sorted."""
    roots: Sequence[str]
    """Folders that the paths count from, one for each source."""
    results: Mapping[str, int]
    """Folders below the sources that nightlift wrote into, and how many files in each are left out as its own."""

    @property
    def digest(self) -> str:
        """Of `names`, to tell whether two listings are of the same files."""
        return hashlib.sha256(repr(list(self.names)).encode()).hexdigest()[:16]


def training_files(
    storage: Storage, sources: Sequence[str], destination: str, selection: Selection, limit: int | None
) -> TrainingFiles:
    """Files at all sources, each once, without what nightlift wrote. Raises UsageError, NotFound, StorageError.

    Below a source, a folder with `_nightlift/` in it is asked what was written there, unless the folder is a source
    itself. Not so where a source is a glob, whose matches tell nothing of what lies beside them: all of them count. Up
    to `limit` files are taken from all sources in turn: the first of each, the second of each, and so on.
    """
    named = {real(absolute(place)) for place in (*sources, destination)}
    seen: set[str] = set()
    refused, results, roots = list[Outcome](), dict[str, int](), list[str]()
    found: list[list[Listed]] = []
    for source in sources:
        if not source.strip():
            raise UsageError("SRC is empty; give a folder, a file or a URL")
        listed = storage.list_files(absolute(source), follow_links=selection.follow_links)
        roots += [file.folder for file in listed[:1]]
        written = _written(storage, listed, [folder for folder in _written_into(listed) if real(folder) not in named])
        results |= Counter(written.values())
        theirs = [file for file in _outside(listed, destination) if file.url not in written]
        wanted = [file for file in theirs if selection(file.relative) and file.url not in seen]
        seen |= {file.url for file in wanted}
        refusals = [_refusal(file) for file in wanted]
        refused += [refusal for refusal in refusals if refusal is not None]
        found.append([file for file, refusal in zip(wanted, refusals, strict=True) if refusal is None])
    chosen = [file for turn in zip_longest(*found) for file in turn if file is not None][:limit]
    if not chosen:
        reason = f"none of {len(seen)} files: {_commonest(refused)}" if seen else "no files there"
        reason += (
            f"; {', '.join(results)}: nightlift's own results, which count if the folder is named" if results else ""
        )
        raise NotFound(f"{', '.join(shown(source) for source in sources)}: no photo to train on ({reason})")
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
    """Return what is wrong with one of the files that are refused for the commonest reason."""
    (code, _), *_ = Counter(refusal.code for refusal in refused).most_common(1)
    return next(refusal.message for refusal in refused if refusal.code == code)


def _written_into(listed: Sequence[Listed]) -> list[str]:
    """Folders below the root of a listing that nightlift has written into: its own folder lies in them."""
    parts = [(file.url, file.relative.partition(f"/{FOLDER}/")) for file in listed]
    return sorted({url.removesuffix(f"/{FOLDER}/{below}") for url, (_, own, below) in parts if own})


def _written(storage: Storage, listed: Sequence[Listed], folders: Sequence[str]) -> dict[str, str]:
    """URL of each listed file that nightlift wrote, wherever links lead to it, and the one of `folders` it wrote to.

    Where a manifest names outputs and none of them is in its folder, the folder was moved: all in it counts as written.
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
        if owner is not None and FOLDER not in url.split("/"):
            written[url] = owner
    return written


def _training_of(url: str) -> str:
    """The folder that a training would have drawn such a file for: `losses.png`, `sheets/epoch-0010.png`."""
    folder, _, name = url.rpartition("/")
    if name == "losses.png":
        return folder
    is_sheet = name.startswith("epoch-") and folder.endswith("/sheets")
    return folder.removesuffix("/sheets") if is_sheet else ""


def _outside(listed: Sequence[Listed], destination: str) -> list[Listed]:
    """Without what lies below `destination`, wherever links lead to it, and without manifests."""
    ours = join(real(destination), "")
    return [file for file in listed if FOLDER not in file.relative.split("/") and not real(file.url).startswith(ours)]


def _refusal(file: Listed) -> Outcome | None:
    """The outcome of a file that is not to be read, as far as its name and place tell."""
    name = shown(file.url)
    if spelled_out(name) != name:
        code, problem = "bad_name", "its name is not UTF-8; rename it"
    elif file.code:
        code, problem = file.code, file.problem
    elif format_of(name) is None and not is_video(name):
        kind = posixpath.splitext(file.relative)[1] or "no extension"
        code, problem = "not_a_photo", f"{kind}: neither a photo nor a video that nightlift reads"
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
