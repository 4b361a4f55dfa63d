"""The training job: `nightlift train PHOTOS OUT.safetensors`, or `python -m jobs.train` from a checkout.

Any photos do; they need not be dark, and no pairs are needed. In the order data moves: a photo is cropped and
flipped, a dark copy is made of the crop, both are reduced as inference reduces, the network estimates curve maps on the
dark copy, the curve is applied, and the losses say how good the result is.

Tensor suffixes: B batch, C colour channels, H height, W width, N grey levels.
"""

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from PIL import Image
from torch import Generator, Tensor, nn

from model import Architecture, Checkpoint, CurveNetwork, Variant, apply_curve, build, save
from model.darkening import darken, tint
from model.dce_net import PUBLISHED_DCE, PUBLISHED_PLUS
from model.losses import (
    NIGHT,
    PUBLISHED_DCE_LOSSES,
    PUBLISHED_PLUS_LOSSES,
    Enhancement,
    Recipe,
    flat_tone,
    weighted_losses,
)
from pipeline.errors import MediaError, NotFound, UsageError
from pipeline.images import decode, format_of
from pipeline.images.photo import to_8_bits

MAX_PIXELS = 500_000_000  # of a photo; larger ones are left out
STEPS = 8  # of the curve, as published
REDUCTION = 2  # a crop is darkened at this many times the size that the network sees
GRADIENT_NORM = 0.1  # the most that a step may pull, as published
WEIGHT_DECAY = 1e-4  # as published
WARM_UP_STEPS = 50
FLAT_LEVELS = 32  # flat greys shown in one step, most of them dark


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Train a network on a folder of photos."""

    src: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="SRC")]]
    """Folder of photos, searched to any depth."""
    dst: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DST")]]
    """The .safetensors file to write."""
    variant: Variant = "dce"
    """`dce`: plain convolutions; `plus`: depthwise separable ones, a fifth of the weights."""
    recipe: Literal["night", "published"] = "night"
    """`night`: the layout and losses of the default weights; `published`: those of the papers."""
    epochs: int = 20
    """Times that every photo is seen."""
    batch: int = 8
    """Photos in one step."""
    size_px: int = 96
    """Side of the square that the network sees in training; a multiple of 16."""
    estimate_size: int = 256
    """Long side in pixels of the reduced copy that inference will use; photos are scaled to it before cropping."""
    learning_rate: float = 2e-3
    """Adam's, after the warm-up; it falls to 0 along a cosine. The papers have 1e-4."""
    validation_share: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.05
    """Share of the photos held out, by the hash of the file, to measure on."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the convolutions; bf16 halves the time where the processor has it."""
    threads: int = 0
    """Processor threads; 0 for all."""
    seed: int = 0
    """Of the first weights and of every draw."""

    def __post_init__(self) -> None:
        if self.dst.suffix != ".safetensors":
            raise UsageError(f"{self.dst}: the file to write must end in .safetensors")
        for flag, value in (("epochs", self.epochs), ("batch", self.batch), ("estimate-size", self.estimate_size)):
            if value < 1:
                raise UsageError(f"--{flag} is {value}; it must be 1 or more")
        if self.size_px < 16 or self.size_px % 16:
            raise UsageError(f"--size-px is {self.size_px}; it must be a multiple of 16")
        if not 0 <= self.validation_share < 1:
            raise UsageError(f"validation-share is {self.validation_share}; it must be at least 0 and below 1")


@dataclass(frozen=True, slots=True)
class Photo:
    pixels: Tensor
    """`CHW`, uint8 sRGB."""
    sha256: str
    """Of the file."""


def run(config: TrainConfig) -> int:
    """The whole job. Returns the exit status; raises NotFound where there is nothing to train on."""
    train(config)
    print(f"weights: {config.dst}")
    return 0


def train(settings: TrainConfig) -> Checkpoint:
    """Train, print a line for each epoch, write the file. Raises NotFound where there is no photo."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    generator = Generator().manual_seed(settings.seed)
    photos = load_photos(settings.src, REDUCTION * settings.estimate_size)
    trained, held_out = split(photos, settings.validation_share)
    if not trained:
        raise NotFound(f"{settings.src}: --validation-share {settings.validation_share} leaves no photo to train on")
    network, recipe = begin(settings)
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate, weight_decay=WEIGHT_DECAY)
    steps = settings.epochs * math.ceil(len(trained) / settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    scores: dict[str, float] = {}
    for epoch in range(1, settings.epochs + 1):
        start = time.perf_counter()
        measured = []
        for batch_BCHW in batches(trained, settings, generator):
            terms = measure(network, recipe, batch_BCHW, settings, generator)
            descend(network, optimizer, torch.stack(list(terms.values())).sum())
            schedule.step()
            measured.append({name: term.item() for name, term in terms.items()})
        scores = validate(network, recipe, held_out, settings)
        seconds = time.perf_counter() - start
        print(f"epoch {epoch}/{settings.epochs}  {seconds:.0f} s  training {line(mean(measured))}", flush=True)
        if scores:
            print(f"  validation {line(scores)}", flush=True)
    notes = describe(settings, recipe, trained, scores)
    checkpoint = Checkpoint(network=network, estimate_size=settings.estimate_size, notes=notes)
    settings.dst.parent.mkdir(parents=True, exist_ok=True)
    save(checkpoint, settings.dst)
    return checkpoint


def load_photos(folder: Path, long_side_px: int) -> list[Photo]:
    """Every photo below `folder`, of any format that the photo job reads, upright, scaled down to `long_side_px`.

    A file that cannot be read is named on stderr and left out. Raises NotFound where none is left.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder}: no such folder")
    photos = []
    for path in sorted(path for path in folder.rglob("*") if format_of(path.name)):
        content = path.read_bytes()
        try:
            pixels_HWC = to_8_bits(decode(content, max_pixels=MAX_PIXELS).frames[0].pixels)
        except MediaError as error:
            print(f"{path}: left out, {error}", file=sys.stderr)
            continue
        small = Image.fromarray(np.broadcast_to(pixels_HWC, (*pixels_HWC.shape[:2], 3)))
        small.thumbnail((long_side_px, long_side_px))
        pixels_CHW = torch.from_numpy(np.array(small)).permute(2, 0, 1)
        photos.append(Photo(pixels_CHW, hashlib.sha256(content).hexdigest()))
    if not photos:
        raise NotFound(f"{folder}: no photo to train on; give a folder of photos")
    return photos


def split(photos: Sequence[Photo], share: float) -> tuple[list[Photo], list[Photo]]:
    """Photos to train on and photos held out. The file's hash decides, so that no run mixes them up."""
    held_out = [photo for photo in photos if int(photo.sha256[:8], 16) < share * 2**32]
    trained = [photo for photo in photos if int(photo.sha256[:8], 16) >= share * 2**32]
    return trained, held_out


def batches(photos: Sequence[Photo], settings: TrainConfig, generator: Generator) -> Iterator[Tensor]:
    """Each photo once, in random order: `photo_BCHW`, crops in [0, 1] at `REDUCTION` times the size of training."""
    side_px = REDUCTION * settings.size_px
    order = torch.randperm(len(photos), generator=generator).tolist()
    for first in range(0, len(order), settings.batch):
        chosen = order[first : first + settings.batch]
        yield tint(torch.stack([crop(photos[index], side_px, generator) for index in chosen]), generator)


def crop(photo: Photo, side_px: int, generator: Generator) -> Tensor:
    """A random square, `side_px` or more wide where the photo is, scaled to `side_px` and flipped at times: `CHW`."""
    height, width = photo.pixels.shape[1:]
    longest = min(height, width)
    shortest = min(side_px, longest)
    side, top, left, flip = torch.rand(4, generator=generator).tolist()
    square = shortest + round(side * (longest - shortest))
    top, left = round(top * (height - square)), round(left * (width - square))
    pixels_1CHW = photo.pixels[None, :, top : top + square, left : left + square].float() / 255
    scaled = F.interpolate(pixels_1CHW, (side_px, side_px), mode="bilinear", antialias=True)[0].clamp(0, 1)
    return scaled.flip(-1) if flip < 0.5 else scaled


def begin(settings: TrainConfig) -> tuple[CurveNetwork, Recipe]:
    """A network with first weights, and the losses to train it by."""
    if settings.recipe == "published":
        if settings.variant == "plus":
            return build(PUBLISHED_PLUS), PUBLISHED_PLUS_LOSSES
        return build(PUBLISHED_DCE), PUBLISHED_DCE_LOSSES
    layout = Architecture(variant=settings.variant, map_channels=1, padding="replicate", encoded=True, context=True)
    network = build(layout)
    draw_lively_weights(network)
    return network, NIGHT


def draw_lively_weights(network: CurveNetwork) -> None:
    """Weights that keep the size of the features from layer to layer (He et al., ICCV 2015).

    The published N(0, 0.02) shrinks them about fourfold a layer, which costs the first hundreds of steps.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    for weight in (parameter for parameter in network.conv7.parameters() if parameter.dim() == 4):
        weight.data.mul_(0.1)  # the first maps are near zero


def measure(
    network: CurveNetwork, recipe: Recipe, batch_BCHW: Tensor, settings: TrainConfig, generator: Generator
) -> dict[str, Tensor]:
    """The weighted losses on one batch of crops."""
    image_BCHW = F.avg_pool2d(darken(batch_BCHW, generator), REDUCTION)
    # channels last is the faster layout under bf16
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
        maps_BKMHW = network(image_BCHW.contiguous(memory_format=torch.channels_last)).float()
    enhanced_BCHW = apply_curve(image_BCHW, maps_BKMHW, STEPS)
    terms = weighted_losses(recipe, Enhancement(image_BCHW, enhanced_BCHW, maps_BKMHW))
    if recipe.flat:
        levels_N = torch.rand(FLAT_LEVELS, generator=generator).square().sort().values
        flat_N3HW = levels_N[:, None, None, None].expand(-1, 3, 4, 4)
        enhanced_N = apply_curve(flat_N3HW, network(flat_N3HW), STEPS)[:, 0, 0, 0]
        terms["flat"] = recipe.flat * flat_tone(levels_N, enhanced_N, recipe.overall_level)
    return terms


def descend(network: CurveNetwork, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step against the gradient."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
    optimizer.step()


def learning_rate_factor(step: int, steps: int) -> float:
    """A short rise from 0, then a cosine down to 0."""
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


@torch.no_grad()
def validate(
    network: CurveNetwork, recipe: Recipe, held_out: Sequence[Photo], settings: TrainConfig
) -> dict[str, float]:
    """The mean losses on the held-out photos: the same crops and the same darkness in every epoch."""
    generator = Generator().manual_seed(settings.seed)
    measured = [
        measure(network, recipe, batch, settings, generator) for batch in batches(held_out, settings, generator)
    ]
    return mean([{name: term.item() for name, term in terms.items()} for terms in measured])


def mean(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each loss over batches."""
    return {name: sum(terms[name] for terms in measured) / len(measured) for name in measured[0]} if measured else {}


def line(terms: dict[str, float]) -> str:
    return f"{sum(terms.values()):.4f} ({', '.join(f'{name} {value:.4f}' for name, value in terms.items())})"


def describe(
    settings: TrainConfig, recipe: Recipe, photos: Sequence[Photo], scores: dict[str, float]
) -> dict[str, str]:
    """What the weights file says of its own making; places on this machine stay out of it."""
    knobs = {name: value for name, value in asdict(settings).items() if name not in ("src", "dst")}
    data = hashlib.sha256("".join(sorted(photo.sha256 for photo in photos)).encode()).hexdigest()[:16]
    return {
        "training": json.dumps(knobs),
        "losses": json.dumps(asdict(recipe)),
        "photos": json.dumps({"count": len(photos), "fingerprint": data}),
        "validation": json.dumps({name: round(value, 5) for name, value in scores.items()}),
    }


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
