"""Options of the library: named as the flags of the commands, with the same meanings, defaults and limits."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypedDict, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch

from jobs.bulk.config import BulkConfig
from model import EstimateSize, Precision, Variant, cuda_problem
from pipeline.errors import NightliftError, UsageError

Config = TypeVar("Config", bound=BulkConfig)
FLAG = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")
PLACE, PLACES = re.compile(r"\b(SRC|DST)\b"), {"SRC": "source", "DST": "destination"}


class Options(TypedDict, total=False):
    """Options that photos and videos share; see jobs/README.md."""

    strength: float
    """Scale of the curve maps, 0 (no change) to 2; 1 is the network's own estimate."""
    iterations: int
    """Steps of the curve, 0 to 16; 8 is what the network was trained for."""
    passes: int
    denoise: float | Literal["auto"]
    floor: Literal["auto", "off"]
    variant: Variant
    weights: str | os.PathLike[str] | None
    """File of your own network, used instead of `variant`."""
    estimate_size: EstimateSize
    device: Literal["auto", "cpu", "cuda", "mps"]
    """auto: the GPU (experimental) if torch can use one, else the CPU."""
    precision: Precision
    storage_options: Mapping[str, Any]
    """fsspec's options for buckets."""


class PhotoOptions(Options, total=False):
    """Options of photos."""

    format: str | None
    """Format of what is encoded; by default its own."""
    quality: int | None
    """Quality of what is encoded, 1 to 100; by default a JPEG keeps its own."""
    deflate_level: int
    """How hard PNG and TIFF are compressed, 1 to 9."""
    hdr: Literal["keep", "sdr"]
    max_pixels: int
    """Largest photo that is decoded, in pixels."""
    no_mark: bool
    """Do not write into metadata that nightlift edited the photo."""
    raw: Literal["develop", "preview"]
    lossy: bool
    """Not a flag: the pixels of arrays, and of PIL images that do not tell, come from a JPEG, another lossy file or a
    video. Compression hides their noise, which is then expected, as it is where the file tells."""


class VideoOptions(Options, total=False):
    """Options of videos."""

    codec: str | None
    crf: int | None
    preset: str | None
    pixel_format: str | None
    container: str | None
    hdr: Literal["keep", "sdr"]
    skip_bright: Literal["no", "copy"]
    bright_luma: float
    on_damage: Literal["keep", "fail"]
    estimate_every: int | None
    smoothing: int
    segment_frames: int
    max_frame_pixels: int


def config_of(
    config: type[Config], known: type[Options], options: Mapping[str, Any], src: str = "", dst: str = ""
) -> Config:
    """Build a job's config from options. Raises TypeError for an option that is not known or of a wrong type.

    Raises ValueError for one out of range.
    """
    hints = get_type_hints(known)
    options = {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}
    for name, value in options.items():
        if name not in hints:
            raise TypeError(f"there is no option {name}; choose from {', '.join(hints)}")
        if not _is_a(value, hints[name]):
            raise TypeError(f"{name} is {value!r}; it must be {_in_words(hints[name])}")
    flags = dict(options)
    if flags.get("weights") is not None:
        flags["weights"] = Path(flags["weights"])
    flags.pop("lossy", None)
    flags["storage_options"] = json.dumps(flags.get("storage_options", {}))
    with without_flags():
        return config(src=src, dst=dst, **flags)


def device_of(asked: str) -> str:
    """Return the torch device to use. Raises ValueError if `asked` cannot be used."""
    if asked == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device is mps, but torch finds no Apple GPU; leave out device")
    if asked in ("cpu", "mps"):
        return asked
    problem = cuda_problem()
    if problem and asked == "cuda":
        raise ValueError(f"device is cuda, but torch cannot use a GPU ({problem}); leave out device")
    return "cpu" if problem else "cuda"


@contextmanager
def without_flags(name: str = "") -> Iterator[None]:
    """Name options in errors as a program does, and the file `name`. Wrong usage becomes a ValueError."""
    try:
        yield
    except UsageError as error:
        raise ValueError(in_python(str(error))) from None
    except NightliftError as error:
        message = in_python(str(error))
        raise type(error)(message if not name or name in message else f"{name}: {message}") from error


def in_python(message: str) -> str:
    """Return a message with options in place of flags: `max_pixels` for `--max-pixels`."""
    message = FLAG.sub(lambda found: found[1].replace("-", "_"), message)
    return PLACE.sub(lambda found: PLACES[found[0]], message)


def _is_a(value: object, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_is_a(value, each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int and isinstance(value, bool):
        return False
    return isinstance(value, get_origin(hint) or hint)


def _in_words(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_in_words(each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    return "None" if hint is type(None) else str((get_origin(hint) or hint).__name__)
