"""The light-enhancement curve: curve maps and an image give the enhanced image. The readable reference.

One step is `x <- x + r (x^2 - x)` with r in (-1, 1) for each pixel and channel (Guo et al., CVPR 2020,
equation 2): it keeps 0 and 1 where they are and is monotone between; negative r brightens. Eight steps make
the published curve. Steps beyond the number of maps repeat the last map.

Maps are estimated on a copy of the image reduced by a whole factor and applied at full size: `reduce` averages
boxes of factor x factor pixels, `upsample` is the bilinear way back, exact about which pixels a box covered.

Tensor suffixes: B batch, C colour channels, K maps, M channels of a map (3 or 1), H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_ITERATIONS = 16


def apply_curve(image_BCHW: Tensor, maps_BKMHW: Tensor, iterations: int) -> Tensor:
    """Take `iterations` steps of the curve.

    `image_BCHW`: float in [0, 1]. `maps_BKMHW`: in [-1, 1], same height and width. `iterations`: 0 to 16.
    Returns an image of the same shape in [0, 1]. Raises ValueError on iterations out of range.
    """
    if not 0 <= iterations <= MAX_ITERATIONS:
        raise ValueError(f"iterations is {iterations}; it must be between 0 and {MAX_ITERATIONS}")
    x = image_BCHW
    last = maps_BKMHW.shape[1] - 1
    for step in range(iterations):
        x = x + maps_BKMHW[:, min(step, last)] * (x * x - x)
    return x


def reduction_factor(height: int, width: int, estimate_size: int | None) -> int:
    """The whole factor that brings the long side to `estimate_size` pixels or fewer; 1 where that is None."""
    return 1 if estimate_size is None else -(-max(height, width) // estimate_size)


def reduce(image_HWC: Tensor, factor: int) -> Tensor:
    """Average boxes of `factor` x `factor` pixels.

    `image_HWC`: any dtype, in its own range. Returns float32 in the same range, of ceil(H / factor) x
    ceil(W / factor) pixels; boxes that stick out see the border repeated. Works a band of rows at a time, so
    that no full-size float copy is made.
    """
    if factor == 1:
        return image_HWC.float()
    width = image_HWC.shape[1]
    bands = []
    for rows in image_HWC.split(factor * max(1, 64 // factor)):
        band = rows.float()
        band = _repeat_last(band, -len(band) % factor, dim=0).unflatten(0, (-1, factor)).mean(1)
        bands.append(_repeat_last(band, -width % factor, dim=1).unflatten(1, (-1, factor)).mean(2))
    return torch.cat(bands)


def _repeat_last(x: Tensor, count: int, dim: int) -> Tensor:
    if count == 0:
        return x
    return torch.cat(
        [x, x.narrow(dim, x.shape[dim] - 1, 1).expand_as(x.narrow(dim, 0, 1)).repeat_interleave(count, dim)], dim
    )


def upsample(maps_BKMHW: Tensor, factor: int, rows: slice, width: int) -> Tensor:
    """Curve maps for the full-size rows `rows`, interpolated bilinearly.

    `rows.start` must be a multiple of `factor`. Returns `maps_BKMHW` with H the length of `rows` and W `width`.
    The result for a band of rows equals those rows of the whole, so that an image can be worked in bands.
    """
    if factor == 1:
        return maps_BKMHW[..., rows, :]
    first, end = rows.start // factor, -(-rows.stop // factor)
    flat = maps_BKMHW.flatten(1, 2)
    # a neighbour on each side, the border's own where there is none: bilinear interpolation sees no further
    above = flat[..., max(first - 1, 0) : max(first - 1, 0) + 1, :]
    below = flat[..., min(end, flat.shape[-2] - 1), None, :]
    padded = F.pad(torch.cat([above, flat[..., first:end, :], below], dim=-2), (1, 1, 0, 0), mode="replicate")
    full: Tensor = F.interpolate(padded, scale_factor=factor, mode="bilinear", align_corners=False)
    height = rows.stop - rows.start
    band: Tensor = full[..., factor : factor + height, factor : factor + width].unflatten(1, maps_BKMHW.shape[1:3])
    return band
