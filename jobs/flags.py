"""Checks and conversions of flags that several jobs share. They raise UsageError."""

from dataclasses import fields
from pathlib import Path

from model import Checkpoint, EstimateSize, Look, WeightsError, load
from pipeline.errors import UsageError

LEAST_ESTIMATE_PX = 16


def check_ranges(config: object, **ranges: tuple[float, float | None]) -> None:
    """Check that each flag that was given lies between its two numbers, inclusive; None: no upper limit."""
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        if value is not None and not (least <= value and (most is None or value <= most)):
            wanted = f"{least} or more" if most is None else f"between {least} and {most}"
            raise UsageError(f"{flag(name)} is {value}; it must be {wanted}")


def check_estimate_size(size: EstimateSize | None) -> None:
    if isinstance(size, int) and size < LEAST_ESTIMATE_PX:
        raise UsageError(f"--estimate-size is {size}; it must be {LEAST_ESTIMATE_PX} or more, or full")


def look_of(config: object) -> Look:
    """Build a `Look` from the flags that are named like its fields."""
    try:
        return Look(**{field.name: getattr(config, field.name) for field in fields(Look)})
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def loaded(path: Path, name: str = "weights") -> Checkpoint:
    """Load the network at `path`. `name`: the flag that asked for it."""
    try:
        return load(path)
    except WeightsError as error:
        raise UsageError(f"{flag(name)} {error}") from error


def flag(name: str) -> str:
    """Return a flag as it is typed."""
    return f"--{name.replace('_', '-')}"
