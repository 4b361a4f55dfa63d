"""Order of photo sequences: each record gets to know the photos around it, which its curve maps depend on.

The photos of a folder are one sequence, but camera raw files are one of their own: the JPEGs beside them are the same
shots. In the order of time, so are those of each camera, whose clocks and views differ.
"""

import hashlib
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

from pipeline.images import format_of
from pipeline.images.silence import quiet_pillow
from pipeline.records import Place, Record
from pipeline.sequences.capture_time import Capture, captured_at
from pipeline.sequences.light_over_time import REACH
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import canonical_url, redacted

Order = Literal["name", "time"]
Named = tuple[Listed, str]
"""A photo, and its path below the source, with the extension that its content stands for."""
Again = Callable[[Listed, str], Record | None]
"""Of a photo that is not among the records, and its neighbours: its record if it was enhanced with other ones."""

NUMBER = re.compile(r"(\d+)")
AT_ONCE = 16  # photos whose capture times are read
HASH_DIGITS = 16


def in_sequence(
    records: Iterable[Record],
    photos: Iterable[Named],
    order: Order,
    storage: Storage,
    again: Again = lambda photo, neighbours: None,
) -> list[Record]:
    """Return the records in the order of their sequences, each with its place among the other photos.

    Near them are also the records that `again` returns: photos that are done, but were enhanced without them in view.

    `photos`: all photos that belong to sequences, also those that are done. Those that tell no capture time come, in
    the order of `time`, behind the one before them by name.
    """
    wanted = {record.source: record for record in records}
    folders: dict[tuple[str, bool], list[Listed]] = defaultdict(list)
    for photo, name in photos:
        found = format_of(name)
        folders[posixpath.dirname(photo.url), found is not None and found.name == "raw"].append(photo)
    placed: list[Record] = []
    for key in sorted(folders):
        folder = sorted(folders[key], key=lambda photo: natural(photo.url))
        if wanted.keys().isdisjoint(photo.url for photo in folder):
            continue
        sequences = [folder] if order == "name" else _by_time(folder, lambda photo: captured_at(storage, photo.url))
        for sequence in sequences:
            placed += _placed(sequence, wanted, again)
    return [*placed, *wanted.values()]


def natural(url: str) -> tuple[list[str | int], str]:
    """Return the key to sort names by as people do: `img2` before `img10`, whatever the case."""
    parts = NUMBER.split(posixpath.basename(redacted(url)).casefold())  # text at even places, numbers at odd ones
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], url


def _by_time(photos: Sequence[Listed], capture_of: Callable[[Listed], Capture]) -> list[list[Listed]]:
    """Return the photos of each camera in the order of time. `photos`: in the order of their names.

    A photo that tells no camera counts as of that of the one before it. Time zones count where all photos of a camera
    tell theirs: its clock may be set to summer time, or travel.
    """
    with quiet_pillow(), ThreadPoolExecutor(AT_ONCE) as pool:  # about damage that each photo tells in its turn
        captures = list(pool.map(capture_of, photos))
    first = next((each for each in captures if each.local_s is not None), Capture())
    last = first._replace(local_s=float("-inf"))
    cameras: dict[str, list[tuple[Capture, Listed]]] = defaultdict(list)
    for photo, found in zip(photos, captures, strict=True):
        if found.local_s is not None:
            last = found._replace(camera=found.camera or last.camera)
        cameras[last.camera].append((last, photo))
    sequences = []
    for taken in cameras.values():
        zoned = all(capture.offset_s is not None for capture, _ in taken)
        taken.sort(key=lambda each: each[0].seconds(zoned=zoned))  # those of one time stay in the order of their names
        sequences.append([photo for _, photo in taken])
    return sequences


def _placed(sequence: Sequence[Listed], wanted: dict[str, Record], again: Again) -> list[Record]:
    """Take the records of a sequence out of `wanted`, and return them with those to do again, each in its place."""
    urls = tuple(photo.url for photo in sequence)
    ranks = [rank for rank, url in enumerate(urls) if url in wanted]
    near = {rank for each in ranks for rank in range(each - REACH, each + REACH + 1) if 0 <= rank < len(urls)}
    versions = [f"{canonical_url(redacted(photo.url))}\0{photo.version}" for photo in sequence]
    placed = []
    for rank in sorted(near):
        around = [*versions[max(0, rank - REACH) : rank], "", *versions[rank + 1 : rank + 1 + REACH]]
        neighbours = hashlib.sha256("\0".join(around).encode()).hexdigest()[:HASH_DIGITS]
        record = wanted.pop(urls[rank], None) or again(sequence[rank], neighbours)
        if record is not None:
            placed.append(replace(record, place=Place(urls, rank), neighbours=neighbours))
    return placed
