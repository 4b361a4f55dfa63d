"""What files are whose names tell nothing, such as `IMG_1`, or not for sure, such as `a.ts`: their first bytes tell.

A TIFF may be a camera raw file by that name. That is found out where it decides how the output is named.
"""

import posixpath
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from pipeline.archives.recognition import archive_of
from pipeline.errors import Expired, StorageError, Unreachable
from pipeline.images import FORMATS, format_of
from pipeline.images.raw.recognition import is_raw
from pipeline.planning.destination import Destination
from pipeline.planning.history import History
from pipeline.planning.media_kinds import (
    PHOTOS,
    VIDEOS,
    Kind,
    Photos,
    extension_of,
    is_cut,
    tells_nothing,
    with_extension,
)
from pipeline.planning.path_list import Source
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import BUCKETS, LOCAL, WEB, absolute, join, protocol_of, redacted
from pipeline.video.reading.recognition import HEAD_BYTES, OTHERS

TIFF_HEAD_BYTES = 1 << 20  # in which raw files have their first directories
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
    `alone`: whether the user named a single file, which is of the destination's kind unless its content tells another,
    or its name that it is an archive: reading it says why not. Raises Expired, and Unreachable for a bucket.
    """
    kind, names_itself = destination.kind, not (destination.file or destination.format)
    asks_for_raw = isinstance(kind, Photos) and kind.raw_as is not None and names_itself

    def name(file: Listed) -> str:
        if format_of(file.relative) is FORMATS["tiff"]:
            return _name_of_raw(storage, history, destination, file)
        if alone:
            extension = _extension_at(storage, file, "") or ("" if archive_of(file.relative) else kind.unknown)
            return extension and with_extension(file.relative, extension)
        extension = _extension(storage, history, destination, file)
        if not extension or extension in OTHERS:
            return extension and file.relative + extension
        return with_extension(file.relative, extension)

    def is_asked(file: Listed) -> bool:
        if tells_nothing(file.relative):
            return alone or not _is_remote(file) or is_cut(file.relative)
        if format_of(file.relative) is FORMATS["tiff"]:
            return asks_for_raw
        return not alone and any(each.doubts(file.relative) for each in kinds)

    return _looked_at((file for file in files if not file.code and is_asked(file)), name)


def known_by_content(storage: Storage, source: Source, files: Sequence[Listed]) -> dict[str, str]:
    """Return such names for a command that makes no files of these: all of a source, or the first of them.

    Raises what `known_as` raises.
    """
    nowhere = Destination(kind=PHOTOS, root="")
    return known_as(storage, files, History(), nowhere, (PHOTOS, VIDEOS), alone=is_alone(source, files))


def is_alone(source: Source, listed: Sequence[Listed]) -> bool:
    """Return whether the source is a single file that the user named."""
    return isinstance(source, str) and [file.url for file in listed] == [absolute(source)]


def _name_of_raw(storage: Storage, history: History, destination: Destination, file: Listed) -> str:
    """Return the name that a TIFF should have if it is a camera raw file; else ""."""
    if history.is_done(redacted(file.url), file.version, join(destination.root, file.relative)):  # it stayed a TIFF
        return ""
    head = _head(storage, file, TIFF_HEAD_BYTES)
    return posixpath.splitext(file.relative)[0] + FORMATS["raw"].extensions[0] if is_raw(head) else ""


def _extension_at(storage: Storage, file: Listed, name: str) -> str:
    """Return the extension that the content of a file stands for; "" if that is unknown, or cannot be read.

    `name`: see `extension_of`.
    """
    return extension_of(name, _head(storage, file, HEAD_BYTES))


def _head(storage: Storage, file: Listed, count: int) -> bytes:
    """Return the first `count` bytes of a file; nothing if it cannot be read."""
    if not file.size_bytes and protocol_of(file.url) not in WEB:  # which do not always tell
        return b""
    try:
        return storage.read_part(file.url, 0, count)
    except StorageError as error:
        if isinstance(error, Expired) or (isinstance(error, Unreachable) and protocol_of(file.url) in BUCKETS):
            raise  # it would be the same for all that follow
        return b""


def _looked_at(asked: Iterable[Listed], name: Callable[[Listed], str]) -> dict[str, str]:
    """Return the names that files should have, by their paths. `name`: finds one out; "" for none."""
    found, left = dict[str, str](), iter(asked)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while batch := list(islice(left, BATCH)):
            names = (pool.map if any(map(_is_remote, batch)) else map)(name, batch)
            found |= {file.relative: each for file, each in zip(batch, names, strict=True) if each}
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
