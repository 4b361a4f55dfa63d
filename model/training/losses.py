"""Losses that judge enhanced images without a reference image: the published ones and our own.

The four published ones are of Guo et al., "Zero-Reference Deep Curve Estimation for Low-Light Image
Enhancement", CVPR 2020, section 3.3: spatial consistency, exposure control, colour constancy and illumination
smoothness. Our own:

- relative contrast: neighbouring regions keep their ratio of brightness, so that grey does not become fog
- overall exposure: a dark photo becomes as bright as photos usually are; a bright one stays as bright as it was
- dark exposure: a photo in which nothing is lit becomes as bright as photos are on average
- highlights: bright regions stay as they are, so that lamps and skies do not burn out
- flat tone: overall exposure for flat greys; and the brighter of two greys stays the brighter
- exposure consistency: two exposures of one scene come out alike
- restraint: a well exposed photo stays as it is
- black point: what the camera did not see stays black, so that a night sky does not become noise

Tensor suffixes: B batch, C colour channels, K maps, M channels of a map (3 or 1, or 2: of shade and of light), H
height, W width, N grey levels.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SPATIAL_PX = 4  # side of the regions whose differences are kept, as published
EXPOSURE_PX = 16  # side of the patches whose brightness is controlled, as published
REGION_PX = 8  # side of the regions in which highlights and lamps are searched
CONTRAST_PX = (4, 12)  # sides of the regions whose ratios are kept
BLACK_PX = 4  # side of the regions that may be black
CONSISTENCY_PX = 4  # side of the regions in which two exposures are compared: large enough not to learn noise
NOISE = 0.02  # brightness below which ratios mean little
BLACK = 0.01  # brightness at about which a camera's noise hides the scene
UNLIT, LAMP = 0.3, 0.5  # brightness of the brightest region: up to UNLIT nothing is lit, from LAMP something is
DIM, LIT = 0.15, 0.3  # mean brightness: up to DIM a photo is not well exposed, from LIT it is
TONE_SLOPE = 0.25  # the least slope from greys to enhanced greys
DISORDER = 0.1  # weight of a missing rise, relative to the square of a miss


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """Weight of each loss, and target brightness. The defaults are the published ones for `dce`."""

    spatial: float = 1.0
    exposure: float = 10.0
    exposure_level: float = 0.6
    """Target brightness of every patch."""
    colour: float = 5.0
    smoothness: float = 200.0
    """Weight of a sum over all maps: fewer maps need more weight."""
    contrast: float = 0.0
    overall: float = 0.0
    overall_level: float = 0.4
    """Target mean brightness: of `overall` unless the input is brighter, and of `dark` where nothing is lit."""
    highlights: float = 0.0
    flat: float = 0.0
    consistency: float = 0.0
    dark: float = 0.0
    restraint: float = 0.0
    black: float = 0.0


@dataclass(frozen=True, slots=True)
class Enhancement:
    """A batch before and after enhancement."""

    image: Tensor
    """`BCHW`, float in [0, 1]: what the network saw."""
    enhanced: Tensor
    """`BCHW`, float in [0, 1]."""
    maps: Tensor
    """`BKMHW`, in [-1, 1], as the network returns them: for `light`, of the cells of a grid."""

    def halves(self) -> tuple["Enhancement", "Enhancement"]:
        """Return the first and the second half of the batch."""
        parts = zip(self.image.chunk(2), self.enhanced.chunk(2), self.maps.chunk(2), strict=True)
        first, second = (Enhancement(*part) for part in parts)
        return first, second


def weighted_losses(weights: LossWeights, batch: Enhancement, darker: Enhancement | None = None) -> dict[str, Tensor]:
    """Compute the losses of one batch of images, each times its weight; those of weight 0 are left out.

    `darker`: darker exposures of the same scenes, in the same order, which should come out like `batch`. The losses of
    `flat` greys are not among these.
    """
    image, enhanced = batch.image, batch.enhanced
    both = [batch] if darker is None else [batch, darker]
    every: dict[str, tuple[float, Callable[[], Tensor]]] = {
        "spatial": (weights.spatial, lambda: spatial_consistency(image, enhanced)),
        "exposure": (weights.exposure, lambda: exposure_control(enhanced, weights.exposure_level)),
        "colour": (weights.colour, lambda: colour_constancy(enhanced)),
        "smoothness": (weights.smoothness, lambda: _mean(illumination_smoothness(part.maps) for part in both)),
        "contrast": (weights.contrast, lambda: relative_contrast(image, enhanced)),
        "overall": (weights.overall, lambda: overall_exposure(image, enhanced, weights.overall_level)),
        "highlights": (weights.highlights, lambda: highlights(image, enhanced)),
        "restraint": (weights.restraint, lambda: restraint(image, enhanced)),
        "black": (weights.black, lambda: _mean(black_point(part.image, part.enhanced) for part in both)),
    }
    if darker is not None:
        every["consistency"] = (weights.consistency, lambda: exposure_consistency(darker, batch))
        every["dark"] = (weights.dark, lambda: dark_exposure(darker.image, darker.enhanced, weights.overall_level))
    return {name: weight * loss() for name, (weight, loss) in every.items() if weight}


def spatial_consistency(image_BCHW: Tensor, enhanced_BCHW: Tensor) -> Tensor:
    """Measure how much the differences between neighbouring regions change; beyond the border, the change is 0."""
    change = F.avg_pool2d((enhanced_BCHW - image_BCHW).mean(1), SPATIAL_PX)
    padded = F.pad(change, (1, 1, 1, 1))
    left, right = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]
    above, below = padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    return torch.stack([(change - neighbour).square().mean() for neighbour in (left, right, above, below)]).sum()


def exposure_control(enhanced_BCHW: Tensor, level: float) -> Tensor:
    """Measure how far the brightness of each patch is from `level`."""
    return (F.avg_pool2d(enhanced_BCHW.mean(1), EXPOSURE_PX) - level).square().mean()


def colour_constancy(enhanced_BCHW: Tensor) -> Tensor:
    """Measure how far apart the means of the three channels are: the grey-world hypothesis."""
    red, green, blue = enhanced_BCHW.mean(dim=(2, 3)).unbind(1)
    # the small constant gives the root a gradient on grey images, where the sum is zero
    return ((red - green) ** 4 + (red - blue) ** 4 + (green - blue) ** 4 + 1e-12).sqrt().mean()


def illumination_smoothness(maps_BKMHW: Tensor) -> Tensor:
    """Measure how much neighbouring map pixels differ: a sum over the maps, a mean over pixels and batch."""
    down = F.mse_loss(maps_BKMHW[..., 1:, :], maps_BKMHW[..., :-1, :])
    across = F.mse_loss(maps_BKMHW[..., 1:], maps_BKMHW[..., :-1])
    return 2 * maps_BKMHW.shape[1] * maps_BKMHW.shape[2] * (down + across)


def relative_contrast(image_BCHW: Tensor, enhanced_BCHW: Tensor) -> Tensor:
    """Measure how much the ratios of brightness between neighbouring regions change; a mean over the scales."""
    scales = []
    for side_px in CONTRAST_PX:
        before, after = ((F.avg_pool2d(x.mean(1), side_px) + NOISE).log() for x in (image_BCHW, enhanced_BCHW))
        gain = after - before
        scales.append(gain.diff(dim=-1).square().mean() + gain.diff(dim=-2).square().mean())
    return torch.stack(scales).mean()


def overall_exposure(image_BCHW: Tensor, enhanced_BCHW: Tensor, level: float) -> Tensor:
    """Measure how far the mean of each image is from `level`, or from its input's mean if that is higher."""
    target_B = image_BCHW.mean(dim=(1, 2, 3)).clamp(min=level)
    return (enhanced_BCHW.mean(dim=(1, 2, 3)) - target_B).square().mean()


def dark_exposure(image_BCHW: Tensor, enhanced_BCHW: Tensor, level: float) -> Tensor:
    """Measure how far the mean of each image in which nothing is lit is from `level`.

    How much light such a photo lost cannot be seen in it, so this loss sets the default.
    """
    brightest_B = F.avg_pool2d(image_BCHW.mean(1), REGION_PX).amax(dim=(1, 2))
    unlit_B = 1 - ((brightest_B - UNLIT) / (LAMP - UNLIT)).clamp(0, 1)
    return (unlit_B * (enhanced_BCHW.mean(dim=(1, 2, 3)) - level).square()).mean()


def highlights(image_BCHW: Tensor, enhanced_BCHW: Tensor) -> Tensor:
    """Measure how much regions change, weighted by the square of their former brightness."""
    before, after = (F.avg_pool2d(x.mean(1), REGION_PX) for x in (image_BCHW, enhanced_BCHW))
    return (before.square() * (after - before).square()).mean()


def black_point(image_BCHW: Tensor, enhanced_BCHW: Tensor) -> Tensor:
    """Measure how bright black regions become: there is only noise in them."""
    before, after = (F.avg_pool2d(x.mean(1), BLACK_PX) for x in (image_BCHW, enhanced_BCHW))
    return ((1 - seen(before)) * after.square()).mean()


def seen(grey: Tensor) -> Tensor:
    """Compute how surely a brightness in [0, 1] shows the scene and not noise: 0 for black, soon near 1 above it."""
    return 1 - (-(grey / BLACK).square()).exp()


def flat_tone(levels_N: Tensor, enhanced_N: Tensor, level: float) -> Tensor:
    """Measure how far flat greys come out from `level`, or from themselves if brighter, and how far out of order.

    Black stays black. `levels_N`: greys before, rising, in [0, 1]. `enhanced_N`: after.
    """
    misses = (enhanced_N - levels_N.clamp(min=level) * seen(levels_N)).square().mean()
    disorder = (TONE_SLOPE * levels_N.diff() - enhanced_N.diff()).clamp(min=0).sum()
    return misses + DISORDER * disorder


def exposure_consistency(darker: Enhancement, lighter: Enhancement) -> Tensor:
    """Measure how far two enhanced exposures differ. Only the darker one gets gradients, and none where it is black."""
    before, first, second = (
        F.avg_pool2d(x, CONSISTENCY_PX) for x in (darker.image, darker.enhanced, lighter.enhanced.detach())
    )
    return (seen(before.mean(1, keepdim=True)) * (first - second).square()).mean()


def restraint(image_BCHW: Tensor, enhanced_BCHW: Tensor) -> Tensor:
    """Measure how much the regions of well exposed photos change."""
    before, after = (F.avg_pool2d(x, CONSISTENCY_PX) for x in (image_BCHW, enhanced_BCHW))
    lit_B = ((image_BCHW.mean(dim=(1, 2, 3)) - DIM) / (LIT - DIM)).clamp(0, 1)
    return (lit_B * (after - before).abs().mean(dim=(1, 2, 3))).mean()


def _mean(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
