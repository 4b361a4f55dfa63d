"""What files are whose names tell nothing, such as `IMG_1`, or not for sure, such as `a.ts`: their first bytes tell."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

from pipeline.errors import Expired, StorageError, Unreachable
from pipeline.images import FORMATS
from pipeline.planning.destination import Destination
from pipeline.planning.history import History
from pipeline.planning.media_kinds import Kind, Photos, extension_of, is_cut, tells_nothing
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import BUCKETS, LOCAL, WEB, join, protocol_of, redacted
from pipeline.video.reading.recognition import HEAD_BYTES

AT_ONCE = 16  # files of a bucket
BATCH = 1_000  # files


def known_as(
    storage: Storage,
    files: Iterable[Listed],
    history: History,
    destination: Destination,
    kinds: Sequence[Kind],
    *,
    alone: bool,
) -> dict[str, str]:
    """Return names with the right extension, of files whose own names tell nothing or deceive, by relative path.

    Buckets, where each file takes a request, are asked only about names without an extension, with one that was cut
    short or numbered, or with one that any of `kinds` doubts, and only about files that no earlier run has settled.
    `alone`: whether the user named a single file, which is of the destination's kind unless its content tells another:
    reading it says why not. Raises Expired, and Unreachable for a bucket.
    """
    if alone:
        unnamed = (file for file in files if not file.code and tells_nothing(file.relative))
        assumed = destination.kind.unknown
        return {file.relative: file.relative + (_extension_at(storage, file, "") or assumed) for file in unnamed}

    def is_unknown(file: Listed) -> bool:
        if tells_nothing(file.relative):
            return not _is_remote(file) or is_cut(file.relative)
        return any(kind.doubts(file.relative) for kind in kinds)

    unknown = (file for file in files if not file.code and is_unknown(file))
    return _looked_at(unknown, partial(_extension, storage, history, destination))


def _extension_at(storage: Storage, file: Listed, name: str) -> str:
    """Return the extension that the content of a file stands for; "" if that is unknown, or cannot be read.

    `name`: see `extension_of`.
    """
    if not file.size_bytes and protocol_of(file.url) not in WEB:  # which do not always tell
        return ""
    try:
        return extension_of(name, storage.read_part(file.url, 0, HEAD_BYTES))
    except StorageError as error:
        if isinstance(error, Expired) or (isinstance(error, Unreachable) and protocol_of(file.url) in BUCKETS):
            raise  # it would be the same for all that follow
        return ""


def _looked_at(unknown: Iterable[Listed], extension: Callable[[Listed], str]) -> dict[str, str]:
    """Return the names with their extensions, of those files that have one. `extension`: finds it out."""
    found, left = dict[str, str](), iter(unknown)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while batch := list(islice(left, BATCH)):
            extensions = (pool.map if any(map(_is_remote, batch)) else map)(extension, batch)
            found |= {file.relative: file.relative + each for file, each in zip(batch, extensions, strict=True) if each}
    return found


def _extension(storage: Storage, history: History, destination: Destination, file: Listed) -> str:
    """Return the extension that a file's content stands for, as far as possible from what an earlier run found."""
    name = redacted(file.url)
    if history.is_done(name, file.version, ""):
        return ""
    if isinstance(destination.kind, Photos) and history.is_done(
        name, file.version, join(destination.root, file.relative)
    ):  # its format was kept
        return FORMATS[destination.format or "jpeg"].extensions[0]
    if destination.kind.doubts(file.relative):
        output = join(destination.root, destination.kind.renamed(file.relative, destination.format))
        if history.is_done(name, file.version, output):
            return ""
    return _extension_at(storage, file, file.relative)


def _is_remote(file: Listed) -> bool:
    return protocol_of(file.url) != LOCAL
