"""CurveMaps: the estimate for one image, small enough to be kept until the image itself is processed.

Tensor suffixes: K maps, M channels of a map (3 or 1, or 2: of shade and of light), H height, W width.
"""

from dataclasses import dataclass, replace

import torch
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
    """Average the maps that each pixel touches, as `adaptive_avg_pool2d` does, which takes five times as long."""
    down, across = (
        _touched(count, size, maps_1KMHW.device)
        for count, size in zip(maps_1KMHW.shape[3:], (height, width), strict=True)
    )
    return down @ (maps_1KMHW @ across.T)


def _touched(count: int, size: int, device: torch.device) -> Tensor:
    """Return the shares of `count` map pixels in each of `size` pixels, `size` x `count`."""
    pixel, cell = torch.arange(size, device=device)[:, None], torch.arange(count, device=device)
    touched = (cell >= pixel * count // size) & (cell * size < (pixel + 1) * count)
    return touched / touched.sum(1, keepdim=True)
