"""Flags that several jobs share, their checks and conversions. These raise UsageError."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from jobs.command_line.options import Shown
from model import Checkpoint, EstimateSize, Look, WeightsError, load
from pipeline.errors import UsageError
from pipeline.planning.inputs import Selection

LEAST_ESTIMATE_PX = 16
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])")


def positional(metavar: str) -> Shown:
    """Describe a positional argument."""
    return Shown(metavar=metavar, positional=True)


def optional(metavar: str, help: str = "") -> Shown:  # noqa: A002 (as `--help` calls it)
    """Describe a flag that may be left out: its help says what happens then."""
    return Shown(metavar=metavar, help=help)


MATCHES = "files whose path below SRC, or name, matches this pattern"
Include = Annotated[
    tuple[str, ...], Shown(metavar="PATTERN", help=f"Use only {MATCHES} ('*.jpg', '2024/*').", repeatable=True)
]
Exclude = Annotated[tuple[str, ...], Shown(metavar="PATTERN", help=f"Leave out {MATCHES}.", repeatable=True)]
FollowLinks = Annotated[
    bool, Shown(help="In a local SRC, also follow links to folders and links that lead out of SRC.")
]
OPTIONS = (
    """fsspec options for buckets, in JSON: '{"anon": true}', or by protocol: '{"s3": {"anon": true}, "gs": {}}'."""
)
StorageOptions = Annotated[str, Shown(metavar="JSON", help=OPTIONS)]

LINES = "What is written to standard error. text: lines for people, and a progress bar; json: an object on each line."
LogFormat = Annotated[Literal["text", "json"], Shown(help=LINES)]

STEPS = "Steps of the light-enhancement curve, 0 to 16. Fewer give a darker result; many more than 8 bring up noise."
Iterations = Annotated[int, Shown(help=STEPS)]
Strength = Annotated[
    float, Shown(help="Scale of the curve maps, 0 (no change) to 2. Values far above 1 bring up noise.")
]
Passes = Annotated[int, Shown(help="How many times to do the whole enhancement, each on the result before, 1 to 4.")]
SMOOTHED = "Amount of noise to smooth, as a standard deviation in levels of 8 bits, 0 (none) to 2; auto: as measured."
ACTS = "Acts where the curve amplifies noise."
Denoise = Annotated[float | Literal["auto"], Shown(help=f"{SMOOTHED} {ACTS}")]
TOO_DARK = "What to do with areas too dark for the camera. off: brighten them like the rest."
KEPT_DARK = "auto: keep them dark and grey, and brighten a nearly black scene only as far as needed to see it."
SkipBright = Literal["no", "copy", "leave"]
BrightLuma = Annotated[
    float, Shown(help="Mean luma, 0 (black) to 1 (white), from which --skip-bright takes something as bright.")
]
Floor = Annotated[Literal["auto", "off"], Shown(help=f"{TOO_DARK} {KEPT_DARK}")]


def check_ranges(config: object, **ranges: tuple[float, float | None]) -> None:
    """Check that each flag that was given lies between its two numbers, inclusive; None: no upper limit."""
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        if value is not None and not (least <= value and (most is None or value <= most)):
            wanted = f"{least} or more" if most is None else f"between {least} and {most}"
            raise UsageError(f"{flag(name)} is {value}; it must be {wanted}")


def check_estimate_size(size: EstimateSize | None) -> None:
    if isinstance(size, int) and size < LEAST_ESTIMATE_PX:
        raise UsageError(f"--estimate-size is {size}; it must be auto, full, or {LEAST_ESTIMATE_PX} or more")


def look_of(config: object) -> Look:
    """Build a `Look` from the flags that are named like its fields."""
    try:
        return Look(**{field.name: getattr(config, field.name) for field in fields(Look)})
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def selection_of(config: Any) -> Selection:
    """Build a `Selection` from the flags that are named like its fields."""
    return Selection(include=config.include, exclude=config.exclude, follow_links=config.follow_links)


def loaded(path: Path, name: str = "weights") -> Checkpoint:
    """Load the network at `path`. `name`: the flag that asked for it."""
    try:
        return load(path)
    except WeightsError as error:
        raise UsageError(f"{flag(name)} {error}") from error


def seconds_of(text: str) -> float:
    """Return the seconds in a text like `10m`. Raises ValueError."""
    if not (match := DURATION.fullmatch(text.strip())):
        raise ValueError(f'"{text}" is no number with a unit: s, m, h or d, as in 10m')
    return float(match[1]) * UNITS_S[match[2]]


def flag(name: str) -> str:
    """Return a flag as it is typed."""
    return f"--{name.replace('_', '-')}"
