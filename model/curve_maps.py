"""CurveMaps: the estimate for one image, small enough to be kept until the image itself is processed.

Tensor suffixes: K maps, M channels of a map (3 or 1, or 2: of shade and of light), H height, W width.
"""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from model.curve.light import BT709, Shares
from model.noise.floor import Floor


@dataclass(frozen=True, slots=True)
class CurveMaps:
    """Curve maps of one image, as `Enhancer.estimate` returns them: `maps_1KMHW` for each pass."""

    passes: tuple[Tensor, ...]
    factor: int
    """Pixels of the image that one pixel of the maps covers along each side."""
    floor: Floor | None = None
    """Floor by which the image is cleaned before the maps are applied; None: no cleaning."""
    shares: Shares = BT709
    """Shares of red, green and blue in the luma of the image."""

    def scaled(self, gain: float) -> "CurveMaps":
        """Return maps of `gain` times the strength, clipped to [-1, 1]."""
        return replace(self, passes=tuple((maps * gain).clamp_(-1, 1) for maps in self.passes))

    def fitted(self, height: int, width: int) -> "CurveMaps":
        """Return maps for a small copy of the image, averaged or repeated to `height` x `width`."""
        passes = tuple(_averaged(maps_1KMHW, height, width) for maps_1KMHW in self.passes)
        return replace(self, passes=passes, factor=1)


def _averaged(maps_1KMHW: Tensor, height: int, width: int) -> Tensor:
    mean = F.adaptive_avg_pool2d(maps_1KMHW.flatten(1, 2), (height, width))
    fitted: Tensor = mean.unflatten(1, maps_1KMHW.shape[1:3])
    return fitted
