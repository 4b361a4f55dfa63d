"""The preview job: `nightlift preview SRC`, or `python -m jobs.preview SRC` from a checkout."""

import itertools
import logging
import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jobs.flags import (
    Exclude,
    FollowLinks,
    Include,
    StorageOptions,
    check_estimate_size,
    check_ranges,
    loaded,
    optional,
    positional,
    selection_of,
)
from jobs.preview.server import Exhibit, PreviewServer, Shown
from model import DEFAULT_WEIGHTS, Checkpoint, EstimateSize, Variant
from model.curve.reference import MAX_ITERATIONS
from pipeline.archives.advice import advice
from pipeline.archives.recognition import archive_of
from pipeline.errors import UsageError, plural
from pipeline.planning.contents import known_by_content
from pipeline.planning.inputs import Inputs
from pipeline.planning.media_kinds import PHOTOS, VIDEOS
from pipeline.planning.path_list import Source, name_of, places_of, source_of
from pipeline.process import use_one_core
from pipeline.storage.credentials import parse_options
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted

log = logging.getLogger("nightlift")

MOST_FILES = 1000  # listed on the page


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewConfig:
    """Show photos and videos before and after in the browser, with sliders for the settings of a job.

    Nothing is written. Only this machine can open the page, which is served until Ctrl-C.

    Examples:
      nightlift preview photos
      nightlift preview 'photos/2024/*.jpg' --port 8000 --no-browser

    Exit status: 0 ended by Ctrl-C; 2 wrong usage or nothing to show.
    """

    src: Annotated[str, positional("SRC")]
    """Files to show: a folder with its subfolders, a file, a quoted glob, or a URL (s3://, gs://, az://, https://).
    Or a list of them: @FILE, or - for standard input, with a path or URL on each line."""

    iterations: int = 8
    """Steps of the light-enhancement curve when the page opens, 0 to 16."""
    strength: float = 1.0
    """Scale of the curve maps when the page opens, 0 to 2."""
    variant: Variant = "dce"
    """Network in use when the page opens: dce, or plus (smaller and faster)."""
    weights: Annotated[Path | None, optional("FILE")] = None
    """File of your own network, used instead of --variant when the page opens: .safetensors, or a published
    Zero-DCE .pth."""
    estimate_size: EstimateSize = "auto"
    """Long side in pixels of the reduced copy that the network sees, when the page opens, 16 or more.
    auto: the size that the weights were trained for; full: no reduction. The page estimates at 1024 pixels at most."""

    include: Include = ()
    exclude: Exclude = ()
    follow_links: FollowLinks = False
    port: int = 0
    """Port of the page; 0: any free port. To see the page of a remote machine: ssh -L PORT:localhost:PORT HOST."""
    no_browser: bool = False
    """Do not open a browser; the address of the page is always printed."""
    storage_options: StorageOptions = "{}"

    def __post_init__(self) -> None:
        check_ranges(self, iterations=(0, MAX_ITERATIONS), strength=(0, 2), port=(0, 65535))
        check_estimate_size(self.estimate_size)

    def networks(self) -> dict[str, Checkpoint]:
        """Load all networks, by name, with the initial one first. Raises UsageError."""
        shipped = {str(name): loaded(path) for name, path in DEFAULT_WEIGHTS.items()}
        chosen = (
            {str(self.weights): loaded(self.weights)} if self.weights else {str(self.variant): shipped[self.variant]}
        )
        return chosen | shipped


def run(config: PreviewConfig) -> int:
    """Serve the page until Ctrl-C. Raises UsageError, StorageError."""
    use_one_core()
    exhibit = exhibit_of(config)
    try:
        server = PreviewServer(exhibit, config.port)
    except OSError as error:
        raise UsageError(f"--port {config.port}: {error.strerror}; choose another port, or leave --port out") from error
    with server, suppress(KeyboardInterrupt):
        print(f"{plural(len(exhibit.files), 'file')} to preview: {server.address}\nPress Ctrl-C to end.", flush=True)
        if not config.no_browser and not (_has_screen() and webbrowser.open(server.address)):
            log.info("no browser could be opened here; open the address in one")
        server.serve_forever()
    return 0


def _has_screen() -> bool:
    """Return whether there is a screen; without one, `webbrowser` may open a text browser in the terminal."""
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def exhibit_of(config: PreviewConfig) -> Exhibit:
    """Collect the photos and videos at SRC, sorted by path; of very many, the first MOST_FILES found.

    Raises UsageError if there are none, and StorageErrors.
    """
    source = source_of(config.src)
    storage = Storage.from_environment(places_of(source), parse_options(config.storage_options))
    archives = list[Listed]()
    found = _files(storage, source, config, archives)
    files = sorted(itertools.islice(found, MOST_FILES), key=lambda file: file.name)
    for line in advice(storage, archives, "bright"):
        log.warning("%s", line)
    if not files:
        raise UsageError(
            f"{name_of(source)}: no photos or videos there, judging by names and first bytes; give a folder or files "
            "with some"
        )
    if len(files) == MOST_FILES:
        log.info("the page lists only the first %d files that were found; use --include to choose others", MOST_FILES)
    return Exhibit(storage=storage, files=files, networks=config.networks(), settings=_settings(config, files))


def _files(storage: Storage, source: Source, config: PreviewConfig, archives: list[Listed]) -> Iterator[Shown]:
    """Yield what is to be shown; add what holds more, and is not shown, to `archives`."""
    wanted = selection_of(config)
    found = (each for each in Inputs(storage, source, follow_links=config.follow_links) if wanted(each.relative))
    while files := list(itertools.islice(found, MOST_FILES)):
        known_as = known_by_content(storage, source, files)
        photos, videos = PHOTOS.knowing(known_as), VIDEOS.knowing(known_as)
        for file in files:
            if file.code:
                continue
            is_video = videos.accepts(file.relative)
            if is_video or photos.accepts(file.relative):
                yield Shown(file.url, file.relative, is_video)
            elif archive_of(file.relative):
                archives.append(file)


def _settings(config: PreviewConfig, files: list[Shown]) -> dict[str, object]:
    """Return the initial settings of the page, and the parts of the command that it shows."""
    kinds = {file.is_video for file in files}
    return {
        "job": "enhance" if len(kinds) == 2 else "videos" if kinds == {True} else "images",
        "src": redacted(config.src),
        "shipped": list(DEFAULT_WEIGHTS),
        "iterations": config.iterations,
        "strength": config.strength,
        "estimate": str(config.estimate_size),
        "flags": _flags(config),
    }


def _flags(config: PreviewConfig) -> list[str]:
    """Return the flags that select the same files in a job; bucket options may hold secrets and become `...`."""
    patterns = [("--include", pattern) for pattern in config.include]
    patterns += [("--exclude", pattern) for pattern in config.exclude]
    options = [] if parse_options(config.storage_options) == {} else ["--storage-options", "..."]
    return [word for pair in patterns for word in pair] + options
