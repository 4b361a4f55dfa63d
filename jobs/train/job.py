"""The training job: `nightlift train SRC... OUT`, or `python -m jobs.train SRC... OUT` from a checkout.

No image pairs or reference images are needed. Files are listed and read into Ray's object store (Ray Data), workers
train in step (Ray Train), and this process draws what they report.
"""

import logging

from jobs.cluster.joining import log_expiry, ray_cluster
from jobs.flags import (
    selection_of,
)
from jobs.train.checks import check_is_no_file, check_same, checked_root, claim_names, few, otherwise
from jobs.train.config import TrainConfig, TrainingSetup
from jobs.train.state import read_state
from pipeline.errors import plural
from pipeline.storage.credentials import parse_options
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join, redacted
from pipeline.training.files import training_files

log = logging.getLogger("nightlift")


def run(config: TrainConfig) -> int:
    """Run the whole job. Returns the exit status; raises NightliftError for what stops it."""
    from jobs.train.loss_record import TrainingRecord, recorded

    root = checked_root(config)
    storage = Storage.from_environment([*config.sources, root], parse_options(config.storage_options))
    check_is_no_file(storage, root)
    log.info("listing %s", ", ".join(redacted(source) for source in config.sources))
    files = training_files(storage, config.sources, root, selection_of(config), config.limit)
    if files.results:
        count, folders = sum(files.results.values()), few(list(files.results))
        log.info(
            "left out %s that nightlift wrote, in %s; to train on them, give their folder as a SRC",
            plural(count, "file"),
            folders,
        )
    setup = TrainingSetup.of(config, files)
    state = None if config.fresh else read_state(storage, root)
    if state is not None:
        check_same(setup.settings, files, state, root)
        if state.epoch >= setup.recipe.epochs:
            if recorded(storage, root) < state.epoch:  # the run that finished it was killed before it wrote the record
                TrainingRecord(storage, root).update(state.history, last=True)
            finished = f"this training is finished: {plural(state.epoch, 'epoch')}"
            print(f"{finished}; {otherwise(root)}\n{_results(root)}")
            return 0
    claim_names(storage, root, files.roots, setup.settings)
    log_expiry(storage)
    with ray_cluster(config.workers):
        from jobs.train.driver import Driver

        Driver(config, storage, root, files, setup, state).train()
    print(_results(root))
    return 0


def _results(root: str) -> str:
    return f"weights: {join(root, 'weights.safetensors')}\nlosses:  {join(root, 'losses.png')}, losses.parquet"
