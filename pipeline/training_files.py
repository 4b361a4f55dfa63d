"""Which files a network is trained on: photos and videos at all sources, without what nightlift wrote. No Ray here."""

import hashlib
import posixpath
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from pipeline.errors import NotFound, UsageError
from pipeline.images import format_of
from pipeline.manifest import FOLDER
from pipeline.plan import Selection
from pipeline.records import Outcome, Record, spelled_out
from pipeline.storage import GLOB, WEB, Listed, Storage, absolute, join, protocol_of, real, shown
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
    results: Sequence[str]
    """Folders below the sources that hold results of nightlift, which are not trained on."""

    @property
    def digest(self) -> str:
        """Of `names`, to tell whether two listings are of the same files."""
        return hashlib.sha256(repr(list(self.names)).encode()).hexdigest()[:16]


def training_files(
    storage: Storage, sources: Sequence[str], destination: str, selection: Selection, limit: int | None
) -> TrainingFiles:
    """Files at all sources, each once, without what nightlift wrote. Raises UsageError, NotFound, StorageError.

    A folder below a source that nightlift wrote into is left out, unless it is a source itself. Up to `limit` files are
    taken from all sources in turn: the first of each, the second of each, and so on.
    """
    named = {real(absolute(place)) for place in (*sources, destination)}
    seen: set[str] = set()
    refused, results = list[Outcome](), dict[str, None]()
    found: list[list[Listed]] = []
    for source in sources:
        if not source.strip():
            raise UsageError("SRC is empty; give a folder, a file or a URL")
        listed = storage.list_files(absolute(source))
        written = [folder for folder in _written_into(storage, source, listed) if real(folder) not in named]
        results |= dict.fromkeys(written)
        theirs = _not_ours(listed, [*written, destination])
        wanted = [file for file in theirs if selection(file.relative) and file.url not in seen]
        seen |= {file.url for file in wanted}
        refusals = [_refusal(file) for file in wanted]
        refused += [refusal for refusal in refusals if refusal is not None]
        found.append([file for file, refusal in zip(wanted, refusals, strict=True) if refusal is None])
    chosen = [file for turn in zip_longest(*found) for file in turn if file is not None][:limit]
    if not chosen:
        reason = f"{len(seen)} files, none of them a photo or video by its name" if seen else "no files there"
        reason += f"; {', '.join(results)}: nightlift's own results, which count if they are named" if results else ""
        raise NotFound(f"{', '.join(shown(source) for source in sources)}: no photo to train on ({reason})")
    return TrainingFiles(
        records=[
            Record(source=file.url, version=file.version, size_bytes=file.size_bytes, destination="") for file in chosen
        ],
        refused=refused,
        names=sorted((spelled_out(file.relative), file.size_bytes) for file in chosen),
        results=list(results),
    )


def _written_into(storage: Storage, source: str, listed: Sequence[Listed]) -> list[str]:
    """Folders below the root of a listing that nightlift has written into: its own folder lies in them."""
    parts = [(file.url, file.relative.partition(f"/{FOLDER}/")) for file in listed]
    folders = {url.removesuffix(f"/{FOLDER}/{below}") for url, (_, own, below) in parts if own}
    if GLOB.search(source) and protocol_of(source) not in WEB:  # matches tell nothing of what lies beside them
        around = {file.url.rsplit("/", up)[0] for file in listed for up in range(1, file.relative.count("/") + 1)}
        folders |= {folder for folder in around if storage.is_folder(join(folder, FOLDER))}
    return sorted(folders)


def _not_ours(listed: Sequence[Listed], folders: Collection[str]) -> list[Listed]:
    """Without what lies below `folders`, wherever links lead to them, and without manifests."""
    ours = tuple(join(real(folder), "") for folder in folders)
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
