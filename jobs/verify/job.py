"""The verify job: `nightlift verify DST`, or `python -m jobs.verify DST` from a checkout."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from jobs.flags import LogFormat, StorageOptions, positional
from jobs.progress import Progress
from jobs.verify.outputs import Output, Outputs, State, state_of
from pipeline.errors import Stopped, UsageError, plural, printable
from pipeline.planning.inputs import Inputs
from pipeline.storage.credentials import parse_options
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, absolute, redacted

AT_ONCE = 16  # files
BATCH = 1_000  # files
SHOWN = 10  # files that the manifest does not list
WORDS: dict[State, str] = {
    "missing": "missing",
    "changed": "changed",
    "unreadable": "cannot be read",
    "without checksum": "not known to be as written: an earlier version recorded no SHA-256",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyConfig:
    """Read every output of a job, and compare it with the SHA-256 in the manifest. Nothing is written.

    A destination that was moved or copied with its `_nightlift/` folder is verified where it is now. Files that the
    manifest does not list are only named.

    Examples:
      nightlift verify bright
      nightlift verify s3://photos/bright

    Exit status: 0 all outputs are as written; 1 some are missing, changed, unreadable or without a recorded SHA-256;
    2 wrong usage or no manifest.
    """

    dst: Annotated[str, positional("DST")]
    """Folder or bucket URL that a job wrote to: the DST of images, videos or enhance."""

    storage_options: StorageOptions = "{}"
    log_format: LogFormat = "text"


def run(config: VerifyConfig) -> int:
    """Check all outputs. Returns the exit status; raises UsageError and StorageError."""
    if not config.dst.strip():
        raise UsageError("DST is empty; give a folder or a URL")
    root = absolute(config.dst)
    storage = Storage.from_environment([root], parse_options(config.storage_options))
    outputs = Outputs(storage, root)
    if not len(outputs):
        raise UsageError(f"{redacted(root)}: no outputs are recorded there ({FOLDER}/manifest); give the DST of a job")
    sizes = {hash(file.url): file.size_bytes for file in Inputs(storage, root, follow_links=True) if not file.code}
    count = Counter[State]()
    for output, state, more in _states(storage, outputs, sizes):
        count[state] += 1
        if state not in ("as written", "without checksum"):
            print(printable(f"{WORDS[state]}: {output.url}" + f" ({more})" * bool(more)), flush=True)
    _name_others(storage, root, sizes, outputs)
    parts = [f"{count['as written']:,} of {plural(len(outputs), 'output')} as written"]
    parts += [f"{count[state]:,} {words}" for state, words in WORDS.items() if count[state]]
    print("; ".join(parts))
    return 0 if count["as written"] == len(outputs) else 1


def _states(storage: Storage, outputs: Outputs, sizes: dict[int, int]) -> Iterator[tuple[Output, State, str]]:
    """Yield each output with its state, read by several threads."""
    progress, left = Progress(len(outputs), "output", opening="reading outputs"), iter(outputs)
    pool, stop = ThreadPoolExecutor(AT_ONCE), threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped("verification was stopped")

    try:
        while batch := list(itertools.islice(left, BATCH)):
            found = pool.map(partial(state_of, storage, check), batch, [sizes.get(hash(each.url)) for each in batch])
            for output, (state, more) in zip(batch, found, strict=True):
                progress.advance(failed=state != "as written")
                yield output, state, more
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        progress.close()


def _name_others(storage: Storage, root: str, sizes: dict[int, int], outputs: Outputs) -> None:
    """Print how many files there the manifest does not list, and name the first of them."""
    known = {hash(output.url) for output in outputs}
    others = len(sizes.keys() - known)
    if not others:
        return
    print(f"not listed in the manifest: {plural(others, 'file')}")
    unlisted = (file.url for file in Inputs(storage, root, follow_links=True) if hash(file.url) not in known)
    for url in itertools.islice(unlisted, SHOWN):
        print(printable(f"  {url}"))
