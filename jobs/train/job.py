"""The training job: `nightlift train SRC... OUT`, or `python -m jobs.train SRC... OUT` from a checkout.

No image pairs or reference images are needed. Files are listed and read into Ray's object store (Ray Data), workers
train in step (Ray Train), and this process draws what they report.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import arg

from jobs.cluster.joining import ray_cluster
from jobs.flags import check_estimate_size, check_ranges, loaded
from jobs.train.checks import check_is_no_file, check_same, checked_root, claim_names, few
from model import CurveNetwork, Precision, Variant, fingerprint
from model.training.losses import LossWeights
from model.training.recipes import RECIPES, Recipe, RecipeName
from model.training.step import first_network
from pipeline.errors import UsageError
from pipeline.flow.time_limit import MOST_TIME_LIMIT_S, TIME_LIMIT_S
from pipeline.photos import MAX_PIXELS
from pipeline.planning.plan import Selection
from pipeline.storage.credentials import parse_options
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join, redacted
from pipeline.training.files import TrainingFiles, training_files

log = logging.getLogger("nightlift")


def _recipe_help(name: str) -> str:
    return ", ".join(f"{recipe}: {getattr(values, name) or 'full'}" for recipe, values in RECIPES.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Train a network on photos and videos, dark or not. No image pairs or reference images are needed.

    Run the same command again to resume after an interruption. Exit status: 0 trained (unreadable files are listed), 1
    the training could not continue, 2 wrong usage or nothing to train on.
    """

    places: tyro.conf.Positional[Annotated[tuple[str, ...], arg(metavar="SRC [SRC ...] OUT")]]
    """SRC: photos and videos, as folders (with all below them), files, quoted globs, or URLs (s3://, gs://, az://).
    OUT: folder or bucket URL for weights.safetensors, losses.parquet, losses.png, sheets/ and `_nightlift/`."""

    recipe: RecipeName = "night"
    """night: as the shipped weights were trained; published: as in the Zero-DCE papers."""
    variant: Variant = "dce"
    """Network: dce, or plus (smaller, faster). With --init-from, the network of that file."""
    init_from: Annotated[Path | None, arg(metavar="FILE")] = None
    """Start from these weights (.safetensors or a published Zero-DCE .pth) and keep their architecture."""
    epochs: Annotated[
        int | None, arg(metavar="INT", help=f"Times that every photo is seen. ({_recipe_help('epochs')})")
    ] = None
    batch: Annotated[
        int | None, arg(metavar="INT", help=f"Photos in one step, of all workers together. ({_recipe_help('batch')})")
    ] = None
    learning_rate: Annotated[float | None, arg(metavar="FLOAT", help=f"Adam's. ({_recipe_help('learning_rate')})")] = (
        None
    )
    size_px: Annotated[
        int | None,
        arg(
            metavar="INT",
            help=f"Side of the square that the network sees, a multiple of 16. ({_recipe_help('size_px')})",
        ),
    ] = None
    estimate_size: Annotated[
        int | Literal["full"] | None,
        arg(
            metavar="INT|{full}",
            help=f"Long side in pixels of the reduced copy that inference will use. ({_recipe_help('estimate_size')})",
        ),
    ] = None
    validation_share: float = 0.05
    """Share of the files held out for validation, chosen by the hash of their content."""
    frames_per_video: int = 8
    """Frames taken from each video, evenly spread."""
    seed: int = 0
    """Seed of the initial weights and of all random choices."""

    workers: Annotated[int | None, arg(metavar="INT")] = None
    """Processes that share each step. Default: the largest number that divides the batch, up to one per GPU or else
    per core. The result does not depend on it, except for rounding."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: GPUs if the cluster has any."""
    precision: Precision = "auto"
    """Precision of the convolutions: fp32, bf16. auto: bf16 on GPUs and processors that are fast with it."""
    sheet_every: Annotated[int | None, arg(metavar="INT")] = None
    """Epochs between contact sheets. Default: about five sheets in all."""

    include: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Use only paths below SRC that match this pattern ('*.jpg', '2024/*'); may be given several times."""
    exclude: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Leave out paths below SRC that match this pattern; may be given several times."""
    follow_links: bool = False
    """In a local SRC, also follow links that lead out of it, and links to folders."""
    max_pixels: int = MAX_PIXELS
    """Leave out photos with more pixels than this (counting all frames of an animation)."""
    limit: Annotated[int | None, arg(metavar="INT")] = None
    """Train on at most this many files, taken from all sources in turn: the first of each, the second of each, ..."""
    time_limit: float = TIME_LIMIT_S
    """Seconds after which reading a file is given up, plus one second for each megabyte of the file."""
    fresh: bool = False
    """Start over, even if OUT holds a training."""
    storage_options: Annotated[str, arg(metavar="JSON")] = "{}"
    """fsspec options for buckets, such as '{"anon": true}'; for several kinds of bucket, keyed by protocol."""

    def __post_init__(self) -> None:
        if len(self.places) < 2:
            raise UsageError("give what to train on and where results go: nightlift train SRC... OUT")
        check_ranges(self, epochs=(1, None), batch=(1, None), frames_per_video=(1, None), max_pixels=(1, None))
        check_ranges(self, workers=(1, None), sheet_every=(1, None), limit=(1, None), time_limit=(1, MOST_TIME_LIMIT_S))
        check_estimate_size(self.estimate_size)
        if self.learning_rate is not None and not 0 < self.learning_rate < inf:
            raise UsageError(f"--learning-rate is {self.learning_rate}; it must be above 0")
        if self.size_px is not None and (self.size_px < 32 or self.size_px % 16):
            raise UsageError(f"--size-px is {self.size_px}; it must be a multiple of 16, 32 or more")
        if not 0 <= self.validation_share < 1:
            raise UsageError(f"--validation-share is {self.validation_share}; it must be at least 0 and below 1")
        if self.workers is not None and self.resolved.batch % self.workers:
            raise UsageError(f"--workers is {self.workers}; it must divide the batch of {self.resolved.batch}")

    @property
    def sources(self) -> tuple[str, ...]:
        return self.places[:-1]

    @property
    def out(self) -> str:
        return self.places[-1]

    @property
    def resolved(self) -> Recipe:
        """Return the recipe with the changes from the command line."""
        recipe = RECIPES[self.recipe]
        chosen = {name: getattr(self, name) for name in ("epochs", "batch", "learning_rate", "size_px")}
        recipe = replace(recipe, **{name: value for name, value in chosen.items() if value is not None})
        if self.estimate_size is not None:
            recipe = replace(recipe, estimate_size=None if self.estimate_size == "full" else self.estimate_size)
        return recipe

    @property
    def selection(self) -> Selection:
        return Selection(include=self.include, exclude=self.exclude, follow_links=self.follow_links)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSetup:
    """The starting point of a training, and the settings that tell it from any other."""

    recipe: Recipe
    network: CurveNetwork
    losses: LossWeights
    settings: Mapping[str, Any]
    """All that decides the result, as plain JSON."""

    @classmethod
    def of(cls, config: TrainConfig, files: TrainingFiles) -> "TrainingSetup":
        """Build it from flags and the files found. Raises UsageError if --init-from cannot be read."""
        recipe = config.resolved
        origin = loaded(config.init_from, "init_from") if config.init_from is not None else None
        network = origin.network if origin is not None else first_network(recipe, config.variant, config.seed)
        variant = network.architecture.variant
        losses = recipe.losses[variant]
        plain = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
        settings = {
            "recipe": config.recipe,
            "variant": variant,
            "init_from": fingerprint(origin) if origin is not None else None,
            **{name: value for name, value in plain.items() if name not in ("architectures", "losses")},
            "seed": config.seed,
            "validation_share": config.validation_share,
            "frames_per_video": config.frames_per_video,
            "precision": config.precision,
            **{f"losses.{name}": value for name, value in asdict(losses).items()},
            **{f"architecture.{name}": value for name, value in asdict(network.architecture).items()},
            "files": f"{len(files.records)} ({files.digest})",
        }
        return cls(recipe=recipe, network=network.train(), losses=losses, settings=json.loads(json.dumps(settings)))


def run(config: TrainConfig) -> int:
    """Run the whole job. Returns the exit status; raises NightliftError for what stops it."""
    from jobs.train.loss_record import TrainingRecord, recorded
    from jobs.train.state import read_state

    root = checked_root(config)
    storage = Storage.from_environment([*config.sources, root], parse_options(config.storage_options))
    check_is_no_file(storage, root)
    log.info("listing %s", ", ".join(redacted(source) for source in config.sources))
    files = training_files(storage, config.sources, root, config.selection, config.limit)
    if files.results:
        count, folders = sum(files.results.values()), few(list(files.results))
        log.info(
            "left out, as nightlift wrote them: %d files in %s; name a folder to train on all of it", count, folders
        )
    setup = TrainingSetup.of(config, files)
    state = None if config.fresh else read_state(storage, root)
    if state is not None:
        check_same(setup.settings, files, state, root)
        if state.epoch >= setup.recipe.epochs:
            if recorded(storage, root) < state.epoch:  # the run that finished it was killed before it wrote the record
                TrainingRecord(storage, root).update(state.history, last=True)
            print(f"this training is finished: {state.epoch} epochs; --fresh starts over\n{_results(root)}")
            return 0
    claim_names(storage, root, files.roots, setup.settings)
    with ray_cluster(config.workers):
        from jobs.train.driver import Driver

        Driver(config, storage, root, files, setup, state).train()
    print(_results(root))
    return 0


def _results(root: str) -> str:
    return f"weights: {join(root, 'weights.safetensors')}\nlosses:  {join(root, 'losses.png')}, losses.parquet"
