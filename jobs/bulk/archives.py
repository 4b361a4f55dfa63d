"""What a job says of tars, zips, Parquet files and the like among its inputs, which it does not read in place."""

import logging
from collections.abc import Mapping
from typing import Any

from pipeline.archives.advice import advice
from pipeline.archives.recognition import LANCE, archive_of
from pipeline.errors import UsageError
from pipeline.planning.inputs import Inputs, Selection
from pipeline.planning.media_kinds import extension_of
from pipeline.storage.storage import Storage
from pipeline.storage.urls import WEB, absolute, protocol_of, redacted
from pipeline.video.reading.recognition import HEAD_BYTES

log = logging.getLogger("nightlift")


def check_is_no_archive(source: str, destination: str, options: Mapping[str, Any]) -> None:
    """Report what is in the archives that a source names, and raise UsageError. Raises StorageError.

    A photo or video that is only named like one is a source. `options`: fsspec's.
    """
    kind = archive_of(redacted(source))
    if kind is None:
        return
    url = absolute(source)
    storage = Storage.from_environment([url], options)
    if protocol_of(url) not in WEB and kind is not LANCE and storage.is_folder(url):
        return
    files = [file for file in storage.walk(url) if not file.code]
    if not files or (kind is not LANCE and any(_is_media(storage, file.url) for file in files)):
        return
    *lines, last = advice(storage, files, destination)
    for line in lines:
        log.warning("%s", line)
    raise UsageError(last)


def _is_media(storage: Storage, url: str) -> bool:
    with storage.open(url, part_bytes=HEAD_BYTES) as file:
        return extension_of("", file.read(HEAD_BYTES)) != ""


def warn_of_archives(storage: Storage, inputs: Inputs, selection: Selection, destination: str) -> None:
    """Report what is in the archives among the inputs, which a job leaves out."""
    other = inputs.known_as or {}  # by their contents
    names = (file for file in inputs.sorted() if archive_of(file.relative) and file.relative not in other)
    files = [file for file in names if selection(file.relative)]
    for line in advice(storage, files, destination):
        log.warning("%s", line)
