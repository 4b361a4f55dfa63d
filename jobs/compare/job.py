"""The compare job: `nightlift compare SRC DST OUT`, or `python -m jobs.compare SRC DST OUT` from a
checkout."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import av
import numpy as np

from jobs.compare.films import write_film
from jobs.compare.photos import webp
from jobs.flags import (
    Exclude,
    FollowLinks,
    Include,
    LogFormat,
    StorageOptions,
    check_ranges,
    optional,
    positional,
    selection_of,
)
from jobs.progress import Progress
from jobs.report.results import Results
from pipeline.errors import NightliftError, UsageError, plural, printable
from pipeline.planning.destination import Destination
from pipeline.planning.history import COPIED
from pipeline.planning.inputs import Inputs
from pipeline.planning.media_kinds import PHOTOS, VIDEOS, Kind
from pipeline.planning.path_list import Source, name_of, places_of, source_of
from pipeline.storage.credentials import parse_options
from pipeline.storage.storage import Storage
from pipeline.storage.urls import absolute, is_same, parent, redacted

log = logging.getLogger("nightlift")

LEAST_PX, MOST_PX = 64, 8000  # WebP holds 16,383 pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareConfig:
    """Show what a finished job did: a WebP of each photo and an MP4 of each video, before and after.

    Examples:
      nightlift compare photos bright shown
      nightlift compare clips bright shown --layout split --include 'yard/*'

    Exit status: 0 all written; 1 some could not be written; 2 wrong usage or nothing to show.
    """

    src: Annotated[str, positional("SRC")]
    """The SRC of the job, or a part of it: a folder, a file, a quoted glob, a URL, or a list (@FILE, or -)."""
    dst: Annotated[str, positional("DST")]
    """The DST of the job."""
    out: Annotated[str, positional("OUT")]
    """Folder or bucket URL for what is made, or one .webp or .mp4 file for one photo or video."""

    layout: Literal["side", "split", "flip"] = "side"
    """side by side; split: the left half before and the right half after; flip: in turns, each a second long."""
    long_side_px: int = 1280
    """Longer side in pixels of each of the two images; smaller ones stay as they are."""
    include: Include = ()
    exclude: Exclude = ()
    follow_links: FollowLinks = False
    limit: Annotated[int | None, optional("INT")] = None
    """Show at most this many files. By default all."""
    storage_options: StorageOptions = "{}"
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        check_ranges(self, limit=(1, None), long_side_px=(LEAST_PX, MOST_PX))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """A file before and after, and where both are shown."""

    before: str
    after: str
    frames: int
    shown: str
    kind: Kind


def run(config: CompareConfig) -> int:
    """Run the whole job. Returns the exit status; raises UsageError and StorageError."""
    source = source_of(config.src)
    places = [*places_of(source), config.dst, config.out]
    storage = Storage.from_environment(places, parse_options(config.storage_options))
    pairs = _found(storage, source, config)[: config.limit]
    progress = Progress(sum(pair.frames for pair in pairs), "frame", opening="")
    problems = 0
    try:
        for pair in pairs:
            end = progress.done + pair.frames
            try:
                _show(storage, pair, config, lambda: progress.advance_to(progress.done + 1))
                progress.say(pair.shown)
            except (NightliftError, MemoryError, av.FFmpegError) as error:
                problems += 1
                name, reason = redacted(pair.before), str(error) or type(error).__name__
                log.error("%s", printable(f"{name}: {reason.removeprefix(f'{name}: ')}"))
            progress.advance_to(end)
    finally:
        progress.close()
    print(f"{plural(len(pairs) - problems, 'file')} shown in {absolute(config.out)}")
    return 1 if problems else 0


def _show(storage: Storage, pair: _Pair, config: CompareConfig, on_frame: Callable[[], None]) -> None:
    settings = config.layout, config.long_side_px
    if pair.kind is PHOTOS:
        storage.write(pair.shown, webp(storage.read(pair.before), storage.read(pair.after), *settings))
        return
    with (
        storage.open(pair.before) as before,
        storage.open(pair.after) as after,
        storage.open(pair.after) as sound,
        storage.writing(pair.shown) as path,
    ):
        write_film(before, after, sound, path, *settings, on_frame)


def _found(storage: Storage, source: Source, config: CompareConfig) -> list[_Pair]:
    """Return the files at SRC that the job has done, in the order of their paths. Raises UsageError if none is."""
    root = absolute(config.dst)
    if is_same(root, absolute(config.out)):
        raise UsageError(f"{config.out}: OUT must differ from DST")
    is_folder = storage.is_folder(root)
    if not is_folder and not storage.exists(root):
        raise UsageError(f"{redacted(root)}: nothing is there; give the DST of the job")
    files = Results.read(storage, root if is_folder else parent(root)).files
    wanted, selection = files.ended("done") & (files.numbers("bytes_out") > 0), selection_of(config)
    outputs = np.flatnonzero(wanted).tolist()
    places = [place for place, code in zip(outputs, files.raw("code", outputs), strict=True) if code != COPIED]
    done = dict(zip(files.raw("source", places), places, strict=True))
    listed = [
        file
        for file in Inputs(storage, source, follow_links=config.follow_links, outside=root).sorted()
        if not file.code and redacted(file.url) in done and selection(file.relative)
    ]
    if not listed:
        raise UsageError(
            f"{name_of(source)}: the job at {redacted(root)} has done none of these files, or --include and --exclude "
            "select none of them"
        )
    pairs = []
    for kind, written in ((PHOTOS, "webp"), (VIDEOS, ".mp4")):
        chosen = {
            file.relative: file for file in listed if files.is_video[done[redacted(file.url)]] == (kind is VIDEOS)
        }
        if chosen:
            named = {name: name if kind.accepts(name) else f"{name}.{written.lstrip('.')}" for name in chosen}
            output_of = Destination.of(storage, source, config.out, kind, written).naming(named.values)
            rows = [done[redacted(file.url)] for file in chosen.values()]
            targets, frames = files.raw("destination", rows), files.numbers("frames")[rows]
            pairs += [
                _Pair(before=file.url, after=target, frames=int(count), shown=output_of(named[name]), kind=kind)
                for (name, file), target, count in zip(chosen.items(), targets, frames, strict=True)
            ]
    return pairs
