"""What makes an enhanced image good: the published losses, which need no image to compare with, and our own.

The four published ones are of Guo et al., "Zero-Reference Deep Curve Estimation for Low-Light Image
Enhancement", CVPR 2020, section 3.3: spatial consistency, exposure control, colour constancy and illumination
smoothness. Our own know the photo that a dark image was made from, or speak of brightness alone:

- restoration: the enhanced image is the photo before it was darkened; so black stays black, and grey no fog
- overall exposure: a dark photo comes out as bright as photos are; a bright one as bright as it was
- light floor: a dark region that holds detail becomes visible
- flat tone: the same for flat greys; and of two of them, the brighter stays the brighter

Tensor suffixes: B batch, C colour channels, K maps, M channels of a map (3 or 1), H height, W width, N grey levels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SPATIAL_PX = 4  # side of the regions whose differences are kept, as published
EXPOSURE_PX = 16  # side of the patches whose brightness is controlled, as published
DETAIL_PX = 8  # side of the regions that the light floor looks at
FULL_DETAIL = 0.25  # contrast (deviation over mean) from which on a region counts fully as one that holds detail
NOISE = 0.02  # brightness below which contrast is no sign of detail
TONE_SLOPE = 0.25  # the least that an enhanced grey must rise for a rise of 1
DISORDER = 0.1  # weight of a rise that is missing, against the square of a miss


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The weight of each loss, and the brightness asked for. The defaults are the published ones for `dce`."""

    spatial: float = 1.0
    exposure: float = 10.0
    exposure_level: float = 0.6
    """Brightness asked of every patch."""
    colour: float = 5.0
    smoothness: float = 200.0
    """Of the sum over all maps: fewer maps need more weight."""
    restoration: float = 0.0
    overall: float = 0.0
    overall_level: float = 0.45
    """Mean brightness asked of an image, unless its input is brighter."""
    floor: float = 0.0
    floor_level: float = 0.35
    """Brightness asked of a region that holds detail."""
    flat: float = 0.0


PUBLISHED_DCE_LOSSES = Recipe()
PUBLISHED_PLUS_LOSSES = Recipe(smoothness=1600.0)
NIGHT = Recipe(
    spatial=0.0,
    exposure=0.0,
    colour=0.0,
    smoothness=10.0,
    restoration=10.0,
    overall=15.0,
    floor=8.0,
    flat=10.0,
)


@dataclass(frozen=True, slots=True)
class Enhancement:
    """A batch before and after, all of one height and width."""

    image: Tensor
    """`BCHW`, float in [0, 1]: what the network saw."""
    enhanced: Tensor
    """`BCHW`, float in [0, 1]."""
    maps: Tensor
    """`BKMHW`, in [-1, 1]."""
    photo: Tensor
    """`BCHW`, float in [0, 1]: what `image` was before it was darkened."""


def weighted_losses(recipe: Recipe, batch: Enhancement) -> dict[str, Tensor]:
    """The losses of one batch of images, each times its weight; those of weight 0 are left out."""
    image, enhanced = batch.image, batch.enhanced
    every: dict[str, tuple[float, Callable[[], Tensor]]] = {
        "spatial": (recipe.spatial, lambda: spatial_consistency(image, enhanced)),
        "exposure": (recipe.exposure, lambda: exposure_control(enhanced, recipe.exposure_level)),
        "colour": (recipe.colour, lambda: colour_constancy(enhanced)),
        "smoothness": (recipe.smoothness, lambda: illumination_smoothness(batch.maps)),
        "restoration": (recipe.restoration, lambda: restoration(batch.photo, enhanced)),
        "overall": (recipe.overall, lambda: overall_exposure(image, enhanced, recipe.overall_level)),
        "floor": (recipe.floor, lambda: light_floor(image, enhanced, recipe.floor_level)),
    }
    return {name: weight * loss() for name, (weight, loss) in every.items() if weight}


def spatial_consistency(image_BCHW: Tensor, enhanced_BCHW: Tensor) -> Tensor:
    """How much the differences between neighbouring regions change; beyond the border lies black."""
    change = F.avg_pool2d((enhanced_BCHW - image_BCHW).mean(1), SPATIAL_PX)
    padded = F.pad(change, (1, 1, 1, 1))
    left, right = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]
    above, below = padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    return torch.stack([(change - neighbour).square().mean() for neighbour in (left, right, above, below)]).sum()


def exposure_control(enhanced_BCHW: Tensor, level: float) -> Tensor:
    """How far the brightness of each patch is from `level`."""
    return (F.avg_pool2d(enhanced_BCHW.mean(1), EXPOSURE_PX) - level).square().mean()


def colour_constancy(enhanced_BCHW: Tensor) -> Tensor:
    """How far apart the means of the three channels are: the grey-world hypothesis."""
    red, green, blue = enhanced_BCHW.mean(dim=(2, 3)).unbind(1)
    # the small constant gives the root a gradient on grey images, where the sum is zero
    return ((red - green) ** 4 + (red - blue) ** 4 + (green - blue) ** 4 + 1e-12).sqrt().mean()


def illumination_smoothness(maps_BKMHW: Tensor) -> Tensor:
    """How much neighbouring pixels of the maps differ: a sum over the maps, a mean over pixels and batch."""
    down = maps_BKMHW.diff(dim=-2).square().mean(dim=(0, 3, 4)).sum()
    across = maps_BKMHW.diff(dim=-1).square().mean(dim=(0, 3, 4)).sum()
    return 2 * (down + across)


def restoration(photo_BCHW: Tensor, enhanced_BCHW: Tensor) -> Tensor:
    """How far the enhanced image is from the photo that its input was made from."""
    return (enhanced_BCHW - photo_BCHW).abs().mean()


def overall_exposure(image_BCHW: Tensor, enhanced_BCHW: Tensor, level: float) -> Tensor:
    """How far the mean of each image is from `level`, or from its input's mean where that is above it."""
    target_B = image_BCHW.mean(dim=(1, 2, 3)).clamp(min=level)
    return (enhanced_BCHW.mean(dim=(1, 2, 3)) - target_B).square().mean()


def light_floor(image_BCHW: Tensor, enhanced_BCHW: Tensor, level: float) -> Tensor:
    """How far regions that hold detail stay below `level`. A night sky holds none and may stay dark."""
    grey = image_BCHW.mean(1)
    mean = F.avg_pool2d(grey, DETAIL_PX)
    variance = (F.avg_pool2d(grey.square(), DETAIL_PX) - mean.square()).clamp(min=0)
    contrast = (variance / (mean.square() + NOISE**2)).sqrt()
    lacking = (level - F.avg_pool2d(enhanced_BCHW.mean(1), DETAIL_PX)).clamp(min=0)
    return ((contrast / FULL_DETAIL).clamp(max=1) * lacking.square()).mean()


def flat_tone(levels_N: Tensor, enhanced_N: Tensor, level: float) -> Tensor:
    """How far flat greys come out from `level`, or from themselves where above it; and how far out of order.

    `levels_N`: rising, in [0, 1]. `enhanced_N`: what became of each.
    """
    misses = (enhanced_N - levels_N.clamp(min=level)).square().mean()
    disorder = (TONE_SLOPE * levels_N.diff() - enhanced_N.diff()).clamp(min=0).sum()
    return misses + DISORDER * disorder
