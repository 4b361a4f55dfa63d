"""Flags of the training job, and what they decide: the starting point of a training."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

from jobs.flags import (
    Exclude,
    FollowLinks,
    Include,
    LogFormat,
    StorageOptions,
    check_estimate_size,
    check_ranges,
    loaded,
    optional,
    positional,
)
from model import CurveNetwork, Precision, Variant, fingerprint
from model.training.losses import LossWeights
from model.training.recipes import RECIPES, Recipe, RecipeName
from model.training.step import first_network
from pipeline.errors import UsageError
from pipeline.flow.time_limit import MOST_TIME_LIMIT_S, TIME_LIMIT_S
from pipeline.photos import MAX_PIXELS
from pipeline.training.files import TrainingFiles


def _recipe_help(name: str) -> str:
    """Return the sentence of a help text that gives the default of a flag in each recipe."""
    defaults = " or ".join(f"{getattr(values, name) or 'full'} ({recipe})" for recipe, values in RECIPES.items())
    return f"By default as in the recipe: {defaults}."


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Train a network on photos and videos, dark or not. No image pairs or reference images are needed.

    Run the same command again to resume after an interruption.

    Examples:
      nightlift train photos run
      nightlift train photos s3://films/night run --epochs 50
      nightlift images photos bright --weights run/weights.safetensors

    Exit status: 0 trained, with unreadable files left out and listed; 1 the training could not continue; 2 wrong usage
    or nothing to train on; 130, 143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP.
    """

    places: Annotated[tuple[str, ...], positional("SRC [SRC ...] OUT")]
    """SRC: photos and videos, as folders with their subfolders, files, quoted globs, or URLs (s3://, gs://, az://,
    https://).
    OUT: folder or bucket URL for the results, which are weights.safetensors, losses.parquet, losses.png, sheets/,
    tensorboard/ and `_nightlift/`."""

    recipe: RecipeName = "night"
    """Set of training settings. night: those of the shipped weights; published: those of the Zero-DCE papers."""
    variant: Variant = "dce"
    """Network to train: dce, or plus (smaller and faster). Has no effect with --init-from."""
    init_from: Annotated[Path | None, optional("FILE")] = None
    """Weights to start from: .safetensors, or a published Zero-DCE .pth. Their architecture is kept.
    By default the initial weights are random."""
    epochs: Annotated[
        int | None, optional("INT", help=f"Number of passes over all photos. {_recipe_help('epochs')}")
    ] = None
    batch: Annotated[
        int | None,
        optional("INT", help=f"Number of photos in a step, all workers together. {_recipe_help('batch')}"),
    ] = None
    learning_rate: Annotated[
        float | None,
        optional("NUMBER", help=f"Learning rate of Adam, above 0. {_recipe_help('learning_rate')}"),
    ] = None
    size_px: Annotated[
        int | None,
        optional(
            "INT",
            help=f"Side in pixels of the squares that the network is trained on: a multiple of 16, at least 32. "
            f"{_recipe_help('size_px')}",
        ),
    ] = None
    estimate_size: Annotated[
        int | Literal["full"] | None,
        optional(
            "INT|full",
            help="Long side in pixels of the reduced copy that the network will see when it enhances photos, at least "
            f"16; full: no reduction. {_recipe_help('estimate_size')}",
        ),
    ] = None
    validation_share: float = 0.05
    """Share of the files to hold out for validation, 0 or more and below 1. A hash of their content chooses them."""
    frames_per_video: int = 8
    """Number of frames to take from each video, evenly spread."""
    seed: int = 0
    """Seed of the initial weights and of all random choices."""

    workers: Annotated[int | None, optional("INT")] = None
    """Number of processes that share each step; it must divide the batch. It changes the result only by rounding.
    By default the largest such number, up to one per GPU (experimental), or one per CPU core if there are no GPUs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on. auto: GPUs if the cluster has any, else CPUs. cuda: GPUs.
    Training on GPUs is experimental: it has not been run on real GPUs yet."""
    precision: Precision = "auto"
    """Number format of the convolutions. auto: bf16 on GPUs and CPUs that are fast with it, else fp32."""
    sheet_every: Annotated[int | None, optional("INT")] = None
    """Number of epochs between contact sheets. By default a number that gives about five sheets in all."""

    include: Include = ()
    exclude: Exclude = ()
    follow_links: FollowLinks = False
    max_pixels: int = MAX_PIXELS
    """Leave out photos with more pixels than this, counting all frames of an animation."""
    limit: Annotated[int | None, optional("INT")] = None
    """Train on at most this many files. By default all.
    They are taken from all sources in turn: the first of each, the second of each, and so on."""
    time_limit: float = TIME_LIMIT_S
    """Seconds allowed for reading a file, plus one second for each megabyte of it. Slower files are left out."""
    fresh: bool = False
    """Start over, and remove the results of an earlier training in OUT."""
    storage_options: StorageOptions = "{}"
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        if len(self.places) < 2:
            raise UsageError("give at least one source and a destination: nightlift train SRC... OUT")
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
