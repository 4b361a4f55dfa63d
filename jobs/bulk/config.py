"""The flags that jobs over many files share."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import arg

from jobs.cluster.joining import LEAST_GPU_SHARE
from jobs.flags import check_estimate_size, check_ranges, loaded, look_of
from model import DEFAULT_WEIGHTS, Checkpoint, EstimateSize, Precision, Variant
from pipeline.errors import UsageError
from pipeline.flow.time_limit import MOST_TIME_LIMIT_S, TIME_LIMIT_S
from pipeline.planning.plan import Selection


@dataclass(frozen=True, kw_only=True)  # without slots, which would not let `enhance` have the flags of two jobs
class BulkConfig:
    """The flags that jobs over many files share."""

    src: tyro.conf.Positional[Annotated[str, arg(metavar="SRC")]]
    """What to enhance: a folder (with all below it), a file, a quoted glob, or a URL (s3://, gs://, az://, https://)."""
    dst: tyro.conf.Positional[Annotated[str, arg(metavar="DST")]]
    """Where enhanced files and `_nightlift/` (the manifest) go: a folder or bucket URL; a file for one file."""

    iterations: int = 8
    """Steps of the light-enhancement curve, 0 to 16: fewer is darker, many more than 8 bring up noise."""
    strength: float = 1.0
    """Scale of the curve maps, 0 (no change) to 2; far above 1 brings up noise."""
    passes: int = 1
    """Times the whole enhancement is done, each on the result of the one before, 1 to 4."""
    denoise: float | Literal["auto"] = "auto"
    """Noise to smooth where the curve amplifies it, and in videos over time where nothing moves. auto: as much as is
    found in the file; 0: none, 1: a level of 8 bits, up to 2."""
    floor: Literal["auto", "off"] = "auto"
    """auto: what the camera did not see stays dark and grey, and what it saw is raised no further than it takes to be
    seen; off: all is lifted alike."""

    variant: Variant = "dce"
    """The network: dce, or plus (smaller, faster)."""
    weights: Annotated[Path | None, arg(metavar="FILE")] = None
    """Your own network instead of the shipped one: .safetensors, or a published Zero-DCE .pth."""
    estimate_size: EstimateSize = "auto"
    """Long side in pixels of the reduced copy that the network sees. auto: what the weights were trained for;
    full: no reduction, the published way: minutes and gigabytes for a photo of 12 megapixels."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: GPUs where the cluster has them."""
    precision: Precision = "auto"
    """Of the network: fp32, bf16. auto: bf16 on GPUs and processors that are fast with it, but for plus on a CPU."""

    include: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Only paths below SRC that match this pattern ('*.jpg', '2024/*'); may be given several times."""
    exclude: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """No paths below SRC that match this pattern; may be given several times."""
    follow_links: bool = False
    """Also follow links out of SRC, and links to folders, of a local SRC."""
    limit: Annotated[int | None, arg(metavar="INT")] = None
    """Do at most this many files in this run."""

    fresh: bool = False
    """Do everything again, whatever the manifest says."""
    dry_run: bool = False
    """List what would be done, with an estimate of the time, and write nothing."""
    workers: Annotated[int | None, arg(metavar="INT")] = None
    """How much is worked at once, on Ray. By default as many as the cluster's cores, or its GPUs, have room for, and
    more as nodes join it. A few small files are done without Ray, which takes longer to start than they do."""
    gpus_per_worker: float = 1.0
    """Share of a GPU that each worker takes: at 0.5 two share one, which also share its memory."""
    no_report: bool = False
    """Do not draw `_nightlift/report.html` at the end."""
    time_limit: float = TIME_LIMIT_S
    """Seconds after which a photo is given up, or a video of which no further frame was finished. Where all of a file
    is read, a second more for each megabyte."""
    storage_options: Annotated[str, arg(metavar="JSON")] = "{}"
    """fsspec options for buckets, such as '{"anon": true}'; for two kinds of bucket keyed by protocol."""

    def __post_init__(self) -> None:
        check_ranges(self, limit=(1, None), workers=(1, None), time_limit=(1, MOST_TIME_LIMIT_S))
        check_estimate_size(self.estimate_size)
        check_ranges(self, gpus_per_worker=(LEAST_GPU_SHARE, None))
        look_of(self)
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise UsageError(f"--gpus-per-worker is {self.gpus_per_worker}; above 1 it must be a whole number")

    @property
    def selection(self) -> Selection:
        return Selection(include=self.include, exclude=self.exclude, follow_links=self.follow_links)

    def checkpoint(self) -> Checkpoint:
        """Load the network. Raises UsageError."""
        return loaded(self.weights or DEFAULT_WEIGHTS[self.variant])

    @property
    def asks_for_ray(self) -> bool:
        """Return whether flags or the environment ask for something that only Ray can do."""
        return bool(self.workers or os.environ.get("RAY_ADDRESS"))
