"""The flags that jobs over many files share."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from jobs.cluster.nodes import LEAST_GPU_SHARE
from jobs.flags import (
    BrightLuma,
    Denoise,
    Exclude,
    Floor,
    FollowLinks,
    Include,
    Iterations,
    LogFormat,
    Passes,
    SkipBright,
    StorageOptions,
    Strength,
    check_estimate_size,
    check_ranges,
    loaded,
    look_of,
    optional,
    positional,
    seconds_of,
)
from model import DEFAULT_WEIGHTS, Checkpoint, EstimateSize, Precision, Variant
from pipeline.errors import UsageError
from pipeline.flow.time_limit import MOST_TIME_LIMIT_S, TIME_LIMIT_S

LEAST_EVERY_S, MOST_EVERY_S = 1.0, 365 * 86400.0


@dataclass(frozen=True, kw_only=True)  # without slots, which would not let `enhance` have the flags of two jobs
class BulkConfig:
    """The flags that jobs over many files share."""

    src: Annotated[str, positional("SRC")]
    """Files to enhance: a folder with its subfolders, a file, a quoted glob, or a URL (s3://, gs://, az://, https://).
    Or a list: @FILE, or - for standard input, with a path or URL on each line, or ended by NUL bytes (find -print0).
    Each keeps its listed path below DST, without a leading / or s3://; if it contains /./, only what follows that."""
    dst: Annotated[str, positional("DST")]
    """Destination of the enhanced files and of `_nightlift/` (the manifest): a folder or a bucket URL.
    If SRC is one file, DST may be a file name."""

    iterations: Iterations = 8
    strength: Strength = 1.0
    passes: Passes = 1
    denoise: Denoise = "auto"
    floor: Floor = "auto"

    skip_bright: SkipBright = "no"
    """What to do with what is bright already: enhance it too, copy it unchanged, or leave it out."""
    bright_luma: BrightLuma = 0.45

    variant: Variant = "dce"
    """Network to use: dce, or plus (smaller and faster)."""
    weights: Annotated[Path | None, optional("FILE")] = None
    """File of your own network, used instead of --variant: .safetensors, or a published Zero-DCE .pth."""
    estimate_size: EstimateSize = "auto"
    """Long side in pixels of the reduced copy that the network sees, 16 or more. auto: the size in training.
    full: no reduction, as in the papers; takes minutes and gigabytes for a photo of 12 megapixels."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run the network and the curve. auto: on GPUs (experimental) if torch can use some, else on CPUs.
    mps (experimental): the network runs on the GPU of an Apple computer."""
    precision: Precision = "auto"
    """Number format of the network. auto: bf16 on GPUs and CPUs that are fast with it, else fp32."""

    include: Include = ()
    exclude: Exclude = ()
    follow_links: FollowLinks = False
    others: Literal["skip", "copy"] = "skip"
    """What to do with all other files, such as sidecars (XMP, JSON) and media that this command does not enhance: leave
    them out, or copy them unchanged to DST."""
    limit: Annotated[int | None, optional("INT")] = None
    """Enhance at most this many files in this run. By default all."""

    fresh: bool = False
    """Enhance all files again, even those that the manifest lists as done."""
    dry_run: bool = False
    """Print what would be done and an estimate of the time; write nothing."""
    workers: Annotated[int | None, optional("INT")] = None
    """Number of workers on Ray. By default as many as GPUs, or cores and memory, have room for.
    Without this flag, a few small files are enhanced without Ray, which takes longer to start than they do."""
    gpus_per_worker: float = 1.0
    """GPUs (experimental) for each worker, 0.01 or more; above 1, a whole number. At 0.5, two workers share a GPU."""
    no_report: bool = False
    """Do not write `_nightlift/report.html` at the end."""
    time_limit: float = TIME_LIMIT_S
    """Seconds without a finished frame after which a file fails; a photo is one frame.
    Steps that read a whole file get one second more for each megabyte."""
    storage_options: StorageOptions = "{}"
    every: Annotated[str | None, optional("TIME")] = None
    """Stay, and do what is new each time so much has passed: 30s, 10m, 6h, 1d. Files that are still being written are
    left for a later round. Ends only by a signal."""
    on_finish: Annotated[str | None, optional("COMMAND")] = None
    """Shell command to run at the end of the run, or of each round of --every, also where it failed or was stopped.
    Gets a summary in JSON on its standard input. Killed after 10 minutes, or 20 s where the run was stopped."""
    price: Annotated[float | None, optional("NUMBER")] = None
    """What an hour of one core costs, in any currency: the estimate and the summary then show costs."""
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        check_ranges(self, limit=(1, None), workers=(1, None), time_limit=(1, MOST_TIME_LIMIT_S), bright_luma=(0, 1))
        check_estimate_size(self.estimate_size)
        check_ranges(self, gpus_per_worker=(LEAST_GPU_SHARE, None))
        check_ranges(self, price=(0, None))
        if self.every is not None:
            self._check_every(self.every)
        look_of(self)
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise UsageError(f"--gpus-per-worker is {self.gpus_per_worker}; above 1 it must be a whole number")

    @staticmethod
    def _check_every(every: str) -> None:
        try:
            fits = LEAST_EVERY_S <= seconds_of(every) <= MOST_EVERY_S
        except ValueError as error:
            raise UsageError(f"--every {error}") from None
        if not fits:
            raise UsageError(f"--every is {every}; it must be between 1s and 365d")

    def checkpoint(self) -> Checkpoint:
        """Load the network. Raises UsageError."""
        return loaded(self.weights or DEFAULT_WEIGHTS[self.variant])

    @property
    def asks_for_ray(self) -> bool:
        """Return whether flags or the environment ask for something that only Ray can do."""
        return bool(self.workers or os.environ.get("RAY_ADDRESS"))
