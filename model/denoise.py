"""Denoising by what the light-enhancement curve did: where it amplified noise, smooth; where it did not, leave.

A guided filter with the image as its own guide (He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, equations
5, 6 and 8), whose eps follows the local gain of the curve. The filter models the image in every window as
`a I + b` with `a = var / (var + eps)`: flat windows, whose variance is far below eps, become their mean; edges, whose
variance is far above it, stay. With `c = 1 - a` the result is

    q = I + mean(c mean(I)) - mean(c) I

which is the image itself, to the last bit, where eps is 0.

Luma and chroma (B - Y and R - Y, BT.601) are filtered apart: the eye, and SSIM, forgive far more smoothing of colour.

Tensor suffixes: B batch, C colour channels (3 RGB or 1 grey), K maps, M channels of a map (3 or 1), H height, W width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model.light import BT601, Space, lift_luma

NOISE = 0.004  # standard deviation of the noise before enhancement, of a white of 1: one level of 8 bits
LUMA_RADIUS_PX, CHROMA_RADIUS_PX = 2, 4  # powers of two
CHROMA_EPS = 9.0  # of luma's eps
HALO_PX = 2 * CHROMA_RADIUS_PX  # how far a pixel of the result sees: a window of windows


def denoise(enhanced_BCHW: Tensor, gain_B1HW: Tensor, strength: float) -> Tensor:
    """Smooth an enhanced image where its gain is above 1; where the gain is 1 or less all around, nothing changes.

    `enhanced_BCHW`: float in [0, 1]. `gain_B1HW`: what `local_gain` returns. `strength`: scale of the noise that is
    expected, 0 or more; 1 expects NOISE. Returns an image of the same shape, up to rounding in [0, 1]; RGB may leave
    that range a little where luma and chroma were smoothed differently.

    Windows are of pixels, whatever the image's size: coarser grain of large photos stays.
    A pixel depends on those up to HALO_PX away, so a band of rows needs as many more rows on both sides.
    """
    eps = (3 * NOISE * strength * (gain_B1HW - 1).clamp_min_(0)).square_()
    if enhanced_BCHW.shape[1] == 1:
        return enhanced_BCHW + _smoothing(enhanced_BCHW, eps, LUMA_RADIUS_PX)
    luma = _luma(enhanced_BCHW)
    change = _smoothing(luma, eps, LUMA_RADIUS_PX)
    chroma = _smoothing(enhanced_BCHW[:, ::2] - luma, eps.mul_(CHROMA_EPS), CHROMA_RADIUS_PX)  # R - Y and B - Y
    red, green, blue = BT601
    chroma_of_green = (chroma[:, :1] * red + chroma[:, 1:] * blue) / -green  # leaves luma as it is
    return enhanced_BCHW + torch.cat([change + chroma[:, :1], change + chroma_of_green, change + chroma[:, 1:]], dim=1)


def local_gain(image_BCHW: Tensor, passes: Sequence[Tensor], iterations: int, space: Space) -> Tensor:
    """By how much the curve amplifies small differences: its slope at the local mean of luma.

    `image_BCHW`: float in [0, 1], before enhancement. `passes`: `maps_BKMHW` of each pass of the enhancement, of the
    image's height and width. Returns `gain_B1HW`: 1 where the curve does nothing; in dark parts about what luma is
    multiplied by; below 1 in highlights that are compressed.
    """
    if space == "light":
        return lift_luma(_box_mean(_luma(image_BCHW), LUMA_RADIUS_PX), passes, iterations)[1]
    # with u = 1 - 2x, a step x <- x + r (x^2 - x) is u <- u + r (1 - u^2) / 2, and its slope is 1 - r u
    u = 1 - 2 * _box_mean(_luma(image_BCHW), LUMA_RADIUS_PX)
    slope = torch.ones_like(u)
    for maps_BKMHW in passes:
        last = maps_BKMHW.shape[1] - 1
        for step in range(iterations):
            r = maps_BKMHW[:, min(step, last)]
            ru = r * u
            slope = torch.addcmul(slope, ru, slope, value=-1)
            u = torch.addcmul(u, ru, u, value=-0.5).add_(r, alpha=0.5)
    return slope.mean(dim=1, keepdim=True)


def _smoothing(image_BCHW: Tensor, eps_B1HW: Tensor, radius_px: int) -> Tensor:
    """What the guided filter changes in each channel: `q - I`."""
    mean = _box_mean(image_BCHW, radius_px)
    variance = _box_mean(image_BCHW.square(), radius_px).sub_(mean.square()).clamp_min_(1e-12)  # 0 / 0 is no number
    c = eps_B1HW / variance.add_(eps_B1HW)
    return _box_mean(c * mean, radius_px).addcmul_(_box_mean(c, radius_px), image_BCHW, value=-1)


def _luma(image_BCHW: Tensor) -> Tensor:
    if image_BCHW.shape[1] == 1:
        return image_BCHW
    red, green, blue = image_BCHW.split(1, dim=1)
    luma: Tensor = (red * BT601[0]).add_(green, alpha=BT601[1]).add_(blue, alpha=BT601[2])
    return luma


def _box_mean(image_BCHW: Tensor, radius_px: int) -> Tensor:
    """Mean over (2 radius + 1) x (2 radius + 1) pixels, the border repeated.

    `radius_px` is a power of two: sums of 2, 4, 8 ... neighbours are built by doubling, which is several times faster
    on a CPU than pooling. Each pixel's sum is taken in the same order wherever it lies, so bands equal the whole.
    """
    total = F.pad(image_BCHW, [radius_px] * 4, mode="replicate")
    for dim in (-1, -2):
        one, length, size = total, total.shape[dim], 1
        while size < 2 * radius_px:
            total = total.narrow(dim, 0, length - 2 * size + 1) + total.narrow(dim, size, length - 2 * size + 1)
            size *= 2
        total = total.narrow(dim, 0, length - size) + one.narrow(dim, size, length - size)
    return total.mul_(1 / (2 * radius_px + 1) ** 2)
