"""The light-enhancement curve at full size as one kernel of a GPU: what `kernels.py` is for a CPU.

Triton makes it; it comes with the builds of torch for GPUs. No map is ever of full size: each value of the image takes
all its steps in registers, from the four pixels of each map around it.

Tensor suffixes: K maps, M channels of a map (3 or 1), H height, W width, C channels of the image.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.curves import steps_of
from model.gpu_memory import sent

BLOCK = 1024  # values of the image that one program of the kernel works at
HALF = tl.constexpr(12582912.0)  # 1.5 * 2**23: a float32 of up to 16 bits that it is added to is rounded, half to even


def lift(
    image_HWC: Tensor, passes: Sequence[Tensor], factor: int, iterations: int, white: float, top: int = 0
) -> Tensor:
    """Apply curve maps to an image, or to some rows of it, the first of which is `top`.

    `image_HWC`: uint8, or int32 for 16 bits, its values 0 to `white`. `passes`: for each pass of the enhancement
    `maps_KMHW`, float32 in [-1, 1], of ceil(H / factor) x ceil(W / factor) pixels for H and W of the whole image, all
    on one GPU. `iterations`: steps of each pass; those beyond its maps repeat the last one. Returns an image of the
    same shape and dtype.
    """
    image_HWC, maps_KMHW = image_HWC.contiguous(), torch.cat(list(passes)).contiguous()
    steps = steps_of([len(maps_KMHW) for maps_KMHW in passes], iterations)
    enhanced_HWC = torch.empty_like(image_HWC)
    _lift[(triton.cdiv(image_HWC.numel(), BLOCK),)](
        image_HWC,
        enhanced_HWC,
        maps_KMHW,
        sent(torch.tensor([*steps, 0], dtype=torch.int32), image_HWC.device),
        len(steps),
        image_HWC.numel(),
        top,
        *image_HWC.shape[1:],
        *maps_KMHW.shape[1:],
        factor,
        white,
        BLOCK=BLOCK,
    )
    return enhanced_HWC


@triton.jit
def _lift(  # type: ignore[no-untyped-def]
    image,
    enhanced,
    maps,
    steps,
    count,
    values,
    top,
    width,
    channels,
    map_channels,
    map_height,
    map_width,
    factor,
    white,
    BLOCK: tl.constexpr,
):
    value = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = value < values
    pixel = value // channels
    channel = tl.minimum(value - pixel * channels, map_channels - 1)
    row = pixel // width
    above, below, y = _between(row + top, factor, map_height)
    left, right, x = _between(pixel - row * width, factor, map_width)
    lifted = tl.load(image + value, mask=inside, other=0).to(tl.float32) / white
    for step in range(count):
        map_ = maps + (tl.load(steps + step) * map_channels + channel) * map_height * map_width
        upper = _along(map_ + above * map_width, left, right, x, inside)
        lower = _along(map_ + below * map_width, left, right, x, inside)
        lifted += (upper + y * (lower - upper)) * (lifted * lifted - lifted)
    rounded = (lifted * white + HALF) - HALF
    tl.store(enhanced + value, rounded.to(enhanced.dtype.element_ty), mask=inside)


@triton.jit
def _between(at, factor, count):  # type: ignore[no-untyped-def]
    """The map pixels before and after a pixel, and its place between them, 0 to 1; see `curves.upsample`."""
    halves = 2 * at + 1 + factor  # of the way from one map pixel to the next, and one such way more: not negative
    before = halves // (2 * factor)
    place = (halves - before * (2 * factor)).to(tl.float32) / (2.0 * factor)
    return tl.minimum(tl.maximum(before - 1, 0), count - 1), tl.minimum(before, count - 1), place


@triton.jit
def _along(line, left, right, place, inside):  # type: ignore[no-untyped-def]
    one = tl.load(line + left, mask=inside, other=0.0)
    return one + place * (tl.load(line + right, mask=inside, other=0.0) - one)
