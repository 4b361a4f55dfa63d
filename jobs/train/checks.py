"""Checks of where a training reads and writes: it replaces only its own files; OUT holds one training at a time."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any

from jobs.flags import flag
from jobs.train.config import TrainConfig
from jobs.train.state import RESULTS, SHEETS, WEIGHTS, State, state_url
from pipeline.errors import InTheWay, NotFound, UsageError, plural
from pipeline.planning.same_place import proven
from pipeline.storage.errors import SAID
from pipeline.storage.ownership import is_free
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, LOCAL, WEB, absolute, is_inside, is_same, join, protocol_of, real, redacted
from pipeline.training.files import TrainingFiles

FLAGS = {field.name for field in fields(TrainConfig)}
DIFFERENCES_SHOWN = 6
NAMES_SHOWN = 3
RECORD = "training.json"  # in `_nightlift/`: shows that the names of results in OUT belong to a training


def checked_root(config: TrainConfig) -> str:
    """Return OUT made absolute. Raises UsageError if it is unusable, or if it is or contains a source."""
    if not config.out.strip():
        raise UsageError("OUT is empty; give a folder or a bucket URL")
    root = absolute(config.out)
    if protocol_of(root) in WEB:
        raise UsageError(f"{redacted(root)}: cannot write to a web server; give a folder or a bucket URL as OUT")
    if root.endswith((".safetensors", ".pth")):
        raise UsageError(f"{config.out}: OUT must be a folder, in which {WEIGHTS} and other files are written")
    for source in config.sources:
        if is_same(absolute(source), root):
            raise UsageError(f"{config.out}: source and destination are the same; choose another folder for OUT")
        if is_inside(real(absolute(source)), real(root)):
            raise UsageError(f"{redacted(source)}: this source lies inside OUT ({config.out}); choose another OUT")
    if config.fresh and config.init_from is not None and is_inside(real(str(config.init_from.absolute())), real(root)):
        raise UsageError(f"--init-from {config.init_from}: lies inside OUT, which --fresh clears; choose another OUT")
    return root


def check_is_no_file(storage: Storage, root: str) -> None:
    """Check that `root` is not a file. Raises UsageError."""
    if storage.exists(root) and not storage.is_folder(root):
        raise UsageError(f"{root}: is a file; the last argument, OUT, must be a folder for the results")


def claim_names(storage: Storage, root: str, sources: Iterable[str], settings: Mapping[str, Any]) -> None:
    """Record that the names of results in `root` belong to a training, which may then replace and remove them.

    Raises UsageError if a file that nightlift did not write has such a name, or if `root` is one of the folders
    `sources`; StorageError if nothing can be written there.
    """
    record = join(root, FOLDER, RECORD)
    proven(storage, root, sources)
    if not (storage.exists(record) or storage.exists(state_url(root))):
        names = [join(root, name) for name in RESULTS if storage.exists(join(root, name))]
        with suppress(NotFound):
            names += [file.url for file in storage.list_files(join(root, SHEETS))]
        foreign = [name for name in names if not is_free(storage, name)]
        if foreign:
            raise UsageError(f"{foreign[0]}: {SAID[InTheWay]}")
    storage.write(record, json.dumps(dict(settings), indent=1).encode())


def check_same(settings: Mapping[str, Any], files: TrainingFiles, state: State, root: str) -> None:
    """Check that the settings are those of the training in `root`. Raises UsageError that says what differs."""
    names = dict.fromkeys([*settings, *state.settings])
    differing = [name for name in names if settings.get(name) != state.settings.get(name)]
    if not differing:
        return
    if differing == ["files"] and state.files:
        raise UsageError(
            f"{root}: its training ({plural(state.epoch, 'epoch')} done) began with other files: "
            f"{_changes(files, state)}; to go on with those, restore them; {otherwise(root)}"
        )
    # settings that are derived from flags are shown only if no flag differs
    shown = [name for name in differing if name in FLAGS or name == "files"] or differing
    said = [
        f"files: {_changes(files, state)}"
        if name == "files" and state.files
        else _difference(name, settings.get(name), state.settings.get(name))
        for name in shown[:DIFFERENCES_SHOWN]
    ]
    more = f", and {len(shown) - DIFFERENCES_SHOWN} more" if len(shown) > DIFFERENCES_SHOWN else ""
    raise UsageError(
        f"{root}: its training ({plural(state.epoch, 'epoch')} done) has other settings ({'; '.join(said)}{more}); "
        f"to go on, give the same settings; {otherwise(root)}"
    )


def otherwise(root: str) -> str:
    """Return words on what to do with a training in `root` that is not to go on as it began."""
    weights = f"{'' if protocol_of(root) == LOCAL else 'a copy of '}{join(root, WEIGHTS)}"
    return f"to train on from its weights, choose another OUT and --init-from {weights}; to start over, use --fresh"


def _difference(name: str, *values: object) -> str:
    """Describe a setting by its value now and its value before: `--epochs is 2, was 3`."""
    absent = "full" if name == "estimate_size" else "not given"
    now, before = (absent if value is None else value for value in values)
    return f"{flag(name) if name in FLAGS else name} is {now}, was {before}"


def few(names: Sequence[str]) -> str:
    """Join the first few names for a message, and count the rest."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{', '.join(names[:NAMES_SHOWN])}{more}"


def _changes(files: TrainingFiles, state: State) -> str:
    """Describe what became of the files that a training began with: `1 gone (a.jpg), 2 new (b.jpg, c.jpg)`."""
    now, then = Counter(files.names), Counter(state.files)
    gone, new = _names(then - now), _names(now - then)
    kinds = {
        "gone": [name for name in gone if name not in new],
        "new": [name for name in new if name not in gone],
        "changed": [name for name in new if name in gone],
    }
    return ", ".join(f"{len(names)} {kind} ({few(names)})" for kind, names in kinds.items() if names)


def _names(files: Iterable[tuple[str, int]]) -> list[str]:
    return sorted(dict.fromkeys(name for name, _ in files))
