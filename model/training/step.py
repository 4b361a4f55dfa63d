"""One step of zero-reference training: from photos to examples, to losses, to a better network.

In the order data moves: a photo is cropped and flipped, given light of another colour, and shown in two exposures, a
lighter one and a darker one; both are reduced as in inference, the network estimates curve maps on each, the curve is
applied, and the losses measure how good the results are. Every example has its own seed, so it does not matter which
worker prepares it, or together with which others.

Tensor suffixes: B batch, C colour channels, K maps, M channels of a map, H height, W width, h and w those of the maps,
N grey levels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from model.curve.light import lift
from model.curve.reference import upsample
from model.dce_net import CurveNetwork, Variant, build
from model.training.augment import darken, tint, underexpose
from model.training.losses import Enhancement, LossWeights, flat_tone, weighted_losses
from model.training.recipes import Recipe

STEPS = 8  # of the curve, as published
GRADIENT_NORM = 0.1  # limit of the gradient's norm, as published
WEIGHT_DECAY = 1e-4  # as published
WARM_UP_STEPS = 50  # but at most a tenth of a training
FLAT_LEVELS = 32  # flat greys shown in one step, most of them dark
FLAT_PX = 4  # side of their images, but 1 where the border is repeated, as all pixels are equal

Examples = dict[str, Tensor]
"""`image`: `BCHW`, what the network sees. For an augmented recipe, the darker exposures of all photos come first, then
the lighter ones in the same order; and there is `flat`: `N`, rising grey levels."""


class Objective(nn.Module):
    """A network with its losses: examples in, weighted losses out, in one forward pass, so that DDP can wrap it."""

    def __init__(self, network: CurveNetwork, weights: LossWeights, *, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.network = network
        self.weights = weights
        self.autocast = autocast
        """Dtype of the convolutions; None: float32."""
        self.layout = torch.channels_last
        """Memory format of what the network sees; CPUs are about twice as fast with this one."""

    def forward(self, examples: Examples) -> dict[str, Tensor]:
        """Return each loss, times its weight, as a scalar; losses of weight 0 are left out."""
        image_BCHW = examples["image"]
        with torch.autocast(image_BCHW.device.type, self.autocast, enabled=self.autocast is not None):
            maps_BKMhw = self.network(image_BCHW.contiguous(memory_format=self.layout))
        maps_BKMhw = maps_BKMhw.to(torch.float32, memory_format=torch.contiguous_format)
        enhanced_BCHW = self._lifted(image_BCHW, maps_BKMhw)
        batch = Enhancement(image_BCHW, enhanced_BCHW, maps_BKMhw)
        if self.weights.consistency or self.weights.dark:
            darker, lighter = batch.halves()
            terms = weighted_losses(self.weights, lighter, darker)
        else:
            terms = weighted_losses(self.weights, batch)
        if self.weights.flat:
            levels_N = examples["flat"]
            side_px = 1 if self.network.architecture.padding == "replicate" else FLAT_PX
            flat_N3HW = levels_N[:, None, None, None].expand(-1, 3, side_px, side_px)
            enhanced_N = self._lifted(flat_N3HW, self.network(flat_N3HW))[:, 0, 0, 0]
            terms["flat"] = self.weights.flat * flat_tone(levels_N, enhanced_N, self.weights.overall_level)
        return terms

    def _lifted(self, image_BCHW: Tensor, maps_BKMhw: Tensor) -> Tensor:
        height, width = image_BCHW.shape[2:]
        maps_BKMHW = upsample(maps_BKMhw, self.network.architecture.map_px, slice(0, height), width)
        return lift(image_BCHW, [maps_BKMHW], STEPS, self.network.architecture.space)


def prepare(photos: Sequence[Tensor], seeds: Sequence[int], levels_seed: int, recipe: Recipe) -> Examples:
    """Make the examples of one step, or of a worker's part of it.

    `photos`: `CHW`, uint8 sRGB, of any sizes; `seeds`: one for each. `levels_seed`: of the grey levels, which all parts
    of a step share.
    """
    if not recipe.augmented:
        return {"image": torch.stack([squeeze(photo, recipe.size_px) for photo in photos])}
    pairs = [_exposures(photo, seed, recipe) for photo, seed in zip(photos, seeds, strict=True)]
    darker, lighter = zip(*pairs, strict=True)
    levels_N = torch.rand(FLAT_LEVELS, generator=Generator().manual_seed(levels_seed)).square().sort().values
    return {"image": torch.stack([*darker, *lighter]), "flat": levels_N}


def _exposures(photo_CHW: Tensor, seed: int, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Make a darker and a lighter exposure of one photo, each `CHW` at the size that the network sees."""
    generator = Generator().manual_seed(seed)
    tinted_BCHW = tint(crop(photo_CHW, recipe.reduction * recipe.size_px, generator)[None], generator)
    darker, lighter = darken(tinted_BCHW, generator), underexpose(tinted_BCHW, generator)
    return F.avg_pool2d(darker, recipe.reduction)[0], F.avg_pool2d(lighter, recipe.reduction)[0]


def squeeze(photo_CHW: Tensor, side_px: int) -> Tensor:
    """Scale the whole photo to a square, as in the published training. `photo_CHW`: uint8. Returns float in [0, 1]."""
    square_BCHW = F.interpolate(photo_CHW[None].float() / 255, (side_px, side_px), mode="bilinear", antialias=True)
    return square_BCHW[0].clamp(0, 1)


def crop(photo_CHW: Tensor, side_px: int, generator: Generator) -> Tensor:
    """Crop a random square, at least `side_px` wide if the photo is, scale it to `side_px` and flip half of them.

    `photo_CHW`: uint8. Returns `CHW`, float in [0, 1].
    """
    height, width = photo_CHW.shape[1:]
    longest = min(height, width)
    shortest = min(side_px, longest)
    side, top, left, flip = torch.rand(4, generator=generator).tolist()
    square = shortest + round(side * (longest - shortest))
    top, left = round(top * (height - square)), round(left * (width - square))
    pixels_1CHW = photo_CHW[None, :, top : top + square, left : left + square].float() / 255
    scaled = F.interpolate(pixels_1CHW, (side_px, side_px), mode="bilinear", antialias=True)[0].clamp(0, 1)
    return scaled.flip(-1) if flip < 0.5 else scaled


def first_network(recipe: Recipe, variant: Variant, seed: int) -> CurveNetwork:
    """Build a network with initial weights drawn from `seed`."""
    torch.manual_seed(seed)
    network = build(recipe.architectures[variant])
    if recipe.first_weights == "lively":
        _draw_lively_weights(network)
    return network


def _draw_lively_weights(network: CurveNetwork) -> None:
    """Draw weights that keep the size of the features from layer to layer (He et al., ICCV 2015).

    The published N(0, 0.02) shrinks features about fourfold a layer, which costs the first hundreds of steps.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    for weight in (parameter for parameter in network.conv7.parameters() if parameter.dim() == 4):
        weight.data.mul_(0.1)  # the first maps are near zero


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), recipe.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)


def learning_rate_factor(recipe: Recipe, step: int, steps: int) -> float:
    """Return the factor for step `step` of `steps`, counted from 0: 1, or a short rise and then a cosine down to 0."""
    if recipe.schedule == "constant":
        return 1.0
    rise = min(WARM_UP_STEPS, steps / 10)
    return min(1.0, (step + 1) / rise) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def descend(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """Take one optimiser step on the loss. Returns the norm of the gradient before it was clipped."""
    optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
    optimizer.step()
    return float(norm)
