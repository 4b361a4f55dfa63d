"""Order of photo sequences: each record gets to know the photos around it, which its curve maps depend on.

The photos of a folder are one sequence, but camera raw files are one of their own: the JPEGs beside them are the same
shots.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

from pipeline.images import format_of
from pipeline.images.silence import quiet_pillow
from pipeline.records import Record
from pipeline.sequences.capture_time import captured_at
from pipeline.sequences.light_over_time import REACH
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted

Order = Literal["name", "time"]
Named = tuple[str, str]
"""URL of a photo, and its path below the source, with the extension that its content stands for."""

NUMBER = re.compile(r"(\d+)")
AT_ONCE = 16  # photos whose capture times are read


def in_sequence(records: Iterable[Record], photos: Iterable[Named], order: Order, storage: Storage) -> list[Record]:
    """Return the records in the order of their sequences, each with the photos around it.

    `photos`: all photos that belong to sequences, also those that are done. Those that tell no capture time come, in
    the order of `time`, behind the one before them by name.
    """
    wanted = {record.source: record for record in records}
    folders: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for url, name in photos:
        found = format_of(name)
        folders[posixpath.dirname(url), found is not None and found.name == "raw"].append(url)
    placed: list[Record] = []
    for place in sorted(folders):
        urls = sorted(folders[place], key=natural)
        if wanted.keys().isdisjoint(urls):
            continue
        if order == "time":
            urls = _by_time(urls, lambda url: captured_at(storage, url))
        placed += [_between(wanted.pop(url), urls, rank) for rank, url in enumerate(urls) if url in wanted]
    return [*placed, *wanted.values()]


def natural(url: str) -> tuple[list[str | int], str]:
    """Return the key to sort names by as people do: `img2` before `img10`, whatever the case."""
    parts = NUMBER.split(posixpath.basename(redacted(url)).casefold())  # text at even places, numbers at odd ones
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], url


def _by_time(urls: Sequence[str], time_of: Callable[[str], float | None]) -> list[str]:
    with quiet_pillow(), ThreadPoolExecutor(AT_ONCE) as pool:  # about damage each photo tells in its turn
        times = list(pool.map(time_of, urls))
    last = float("-inf")
    keys = []
    for rank, found in enumerate(times):
        last = last if found is None else found
        keys.append((last, rank))
    return [urls[rank] for _, rank in sorted(keys)]


def _between(record: Record, urls: Sequence[str], rank: int) -> Record:
    before, after = urls[max(0, rank - REACH) : rank], urls[rank + 1 : rank + 1 + REACH]
    return replace(record, before=tuple(before), after=tuple(after))
