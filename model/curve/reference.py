"""The light-enhancement curve, which makes an enhanced image of an image and curve maps. The readable reference.

One step is `x <- x + r (x^2 - x)` with r in (-1, 1) for each pixel and channel (Guo et al., CVPR 2020,
equation 2): it leaves 0 and 1 as they are and is monotone in between; negative r brightens. Eight steps make
the published curve. Steps beyond the number of maps repeat the last map.

Maps are estimated on a copy of the image reduced by a whole factor and applied at full size: `reduce` averages
boxes of factor x factor pixels, `upsample` interpolates back bilinearly, exact about which pixels a box covered.

Tensor suffixes: B batch, C colour channels, K maps, M channels of a map (3 or 1), H height, W width.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

MAX_ITERATIONS = 16
TILE_HW = 64, 4096  # pixels that `reduce` averages at once, or one box if that is larger


def apply_curve(image_BCHW: Tensor, maps_BKMHW: Tensor, iterations: int) -> Tensor:
    """Take `iterations` steps of the curve.

    `image_BCHW`: float in [0, 1]. `maps_BKMHW`: in [-1, 1], same height and width. `iterations`: 0 to 16.
    Returns an image of the same shape in [0, 1]. Raises ValueError on iterations out of range.
    """
    x = image_BCHW
    for r in maps_of_steps(maps_BKMHW, iterations):
        x = x + r * (x * x - x)
    return x


def maps_of_steps(maps_BKMHW: Tensor, iterations: int) -> list[Tensor]:
    """Return the map that each step takes. Raises ValueError on iterations out of range."""
    if not 0 <= iterations <= MAX_ITERATIONS:
        raise ValueError(f"iterations is {iterations}; it must be between 0 and {MAX_ITERATIONS}")
    maps = maps_BKMHW.unbind(1)  # all at once, so that their gradients are combined once
    return [maps[min(step, len(maps) - 1)] for step in range(iterations)]


def steps_of(counts: Sequence[int], iterations: int) -> list[int]:
    """Return the index of the map that each step takes, among the maps of all passes put one after the other.

    `counts`: maps of each pass. `iterations`: steps of each pass; those beyond its maps repeat its last one.
    """
    firsts = accumulate(counts[:-1], initial=0)
    passes = zip(firsts, counts, strict=True)
    return [first + min(step, count - 1) for first, count in passes for step in range(iterations)]


def reduction_factor(height: int, width: int, estimate_size: int | None) -> int:
    """Return the whole factor that reduces the long side to `estimate_size` pixels or fewer; 1 if that is None."""
    return 1 if estimate_size is None else -(-max(height, width) // estimate_size)


def reduce(image_HWC: Tensor, factor: int) -> Tensor:
    """Average boxes of `factor` x `factor` pixels.

    `image_HWC`: any dtype, in its own range. Returns float32 in the same range, of ceil(H / factor) x
    ceil(W / factor) pixels; boxes that stick out see the border repeated. Works a tile at a time, so that no
    full-size float copy is made, however long and thin the image is.
    """
    if factor == 1:
        return image_HWC.float()
    height, width = (factor * max(1, side // factor) for side in TILE_HW)
    bands = []
    for rows in image_HWC.split(height):
        tiles = (_averaged(_averaged(tile.float(), factor, dim=0), factor, dim=1) for tile in rows.split(width, dim=1))
        bands.append(torch.cat(list(tiles), dim=1))
    return torch.cat(bands)


def _averaged(x: Tensor, factor: int, dim: int) -> Tensor:
    """Average every `factor` neighbours along `dim`; the last group is filled up with the last value."""
    count = x.shape[dim] // factor
    whole, rest = x.tensor_split([count * factor], dim)
    means: Tensor = whole.unflatten(dim, (count, factor)).mean(dim + 1)
    if not rest.shape[dim]:
        return means
    missing = factor - rest.shape[dim]
    last = (rest.sum(dim, keepdim=True) + missing * rest.narrow(dim, -1, 1)) / factor
    return torch.cat([means, last], dim)


def upsample(maps_BKMHW: Tensor, factor: int, rows: slice, width: int) -> Tensor:
    """Interpolate curve maps bilinearly to the full-size rows `rows`.

    Returns `maps_BKMHW` with H the length of `rows` and W `width`. The result for a band of rows equals those
    rows of the whole, so that an image can be processed in bands. At its peak, memory is about three times that of the
    result.
    """
    if factor == 1:
        return maps_BKMHW[..., rows, :]
    # only the map rows around these rows; columns first, while there are few rows
    first = max((2 * rows.start + 1 - factor) // (2 * factor), 0)
    end = (2 * rows.stop - 1 - factor) // (2 * factor) + 2
    wide = _interpolated(maps_BKMHW[..., first:end, :], factor, slice(0, width), dim=-1)
    return _interpolated(wide, factor, slice(rows.start - first * factor, rows.stop - first * factor), dim=-2)


def sample(maps_BKMHW: Tensor, factor: int, side: int, size: Sequence[int]) -> Tensor:
    """Interpolate curve maps at the centres of boxes of `side` x `side` pixels. `size`: rows and columns of boxes."""
    wide = _interpolated(maps_BKMHW, factor, slice(0, size[1]), dim=-1, side=side)
    return _interpolated(wide, factor, slice(0, size[0]), dim=-2, side=side)


def _interpolated(maps: Tensor, factor: int, wanted: slice, dim: int, side: int = 1) -> Tensor:
    """Interpolate maps along `dim` at the centres of the boxes `wanted`, of `side` pixels each.

    The centre of box p lies at (p + 1/2) side / factor - 1/2 of a map, computed in units of 1 / (2 factor).
    """
    at = (2 * torch.arange(wanted.start, wanted.stop, device=maps.device) + 1) * side - factor
    before = at // (2 * factor)
    weight = (at - before * 2 * factor).float() / (2 * factor)
    last = maps.shape[dim] - 1  # beyond the first and the last map pixel, that pixel is repeated
    one, other = (maps.index_select(dim, index.clamp(0, last)) for index in (before, before + 1))
    return torch.lerp(one, other, weight if dim == -1 else weight[:, None])
