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
from model.light import BT709, FULL, LEAST_SPAN, SPAN, TOE, Space

BLOCK = 1024  # values of the image that one program of the kernel works at
HALF = tl.constexpr(12582912.0)  # 1.5 * 2**23: a float32 of up to 16 bits that it is added to is rounded, half to even
TOE_, SPANNED, LEAST_SPANNED, FULL_ = (tl.constexpr(number) for number in (TOE, SPAN, LEAST_SPAN, FULL))
OF_RED, OF_GREEN, OF_BLUE = map(tl.constexpr, BT709)


def lift(
    image_HWC: Tensor,
    passes: Sequence[Tensor],
    factor: int,
    iterations: int,
    space: Space,
    white: float,
    top: int = 0,
) -> Tensor:
    """Apply curve maps to an image, or to some rows of it, the first of which is `top`.

    `image_HWC`: uint8, or int32 for 16 bits, its values 0 to `white`. `passes`: for each pass of the enhancement
    `maps_KMHW`, float32 in [-1, 1], of ceil(H / factor) x ceil(W / factor) pixels for H and W of the whole image, all
    on one GPU. `iterations`: steps of each pass; those beyond its maps repeat the last one. `space`: see `light.py`.
    Returns an image of the same shape and dtype.
    """
    image_HWC, maps_KMHW = image_HWC.contiguous(), torch.cat(list(passes)).contiguous()
    steps = steps_of([len(maps_KMHW) for maps_KMHW in passes], iterations)
    enhanced_HWC = torch.empty_like(image_HWC)
    height, width, channels = image_HWC.shape
    count, kernel = (height * width, _lift_in_light) if space == "light" else (image_HWC.numel(), _lift)
    kernel[(triton.cdiv(count, BLOCK),)](
        image_HWC,
        enhanced_HWC,
        maps_KMHW,
        sent(torch.tensor([*steps, 0], dtype=torch.int32), image_HWC.device),
        len(steps),
        count,
        top,
        width,
        channels,
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
    above, below, y, left, right, x = _around(pixel, width, top, factor, map_height, map_width)
    lifted = tl.load(image + value, mask=inside, other=0).to(tl.float32) / white
    for step in range(count):
        map_ = maps + (tl.load(steps + step) * map_channels + channel) * map_height * map_width
        lifted += _at(map_, above, below, y, left, right, x, inside) * (lifted * lifted - lifted)
    _put(enhanced + value, lifted, white, inside)


@triton.jit
def _lift_in_light(  # type: ignore[no-untyped-def]
    image,
    enhanced,
    maps,
    steps,
    count,
    pixels,
    top,
    width,
    channels: tl.constexpr,
    map_channels,
    map_height,
    map_width,
    factor,
    white,
    BLOCK: tl.constexpr,
):
    """The same for whole pixels; see `light.lift`. `map_channels` is 1."""
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    above, below, y, left, right, x = _around(pixel, width, top, factor, map_height, map_width)
    red = tl.load(image + pixel * channels, mask=inside, other=0).to(tl.float32) / white
    luma, green, blue = red, red, red
    if channels == 3:
        green = tl.load(image + pixel * channels + 1, mask=inside, other=0).to(tl.float32) / white
        blue = tl.load(image + pixel * channels + 2, mask=inside, other=0).to(tl.float32) / white
        luma = OF_RED * red + OF_GREEN * green + OF_BLUE * blue
    span = SPANNED * tl.minimum(luma, 1.0 - luma) + LEAST_SPANNED
    one, other = _to_light(luma), _to_light(luma + span)
    for step in range(count):
        map_ = maps + tl.load(steps + step) * map_height * map_width
        r = _at(map_, above, below, y, left, right, x, inside)
        one += r * (one * one - one)
        other += r * (other * other - other)
    lifted = _from_light(one)
    if channels == 3:
        highest = tl.maximum(tl.maximum(red, green), blue)
        lowest = tl.minimum(tl.minimum(red, green), blue)
        room = tl.maximum(tl.maximum(highest, FULL_) - lifted, 0.0) / tl.maximum(highest - luma, 1e-6)
        room = tl.minimum(room, lifted / tl.maximum(luma - lowest, 1e-6))
        scale = tl.minimum((_from_light(other) - lifted) / span, room)
        _put(enhanced + pixel * channels, lifted + scale * (red - luma), white, inside)
        _put(enhanced + pixel * channels + 1, lifted + scale * (green - luma), white, inside)
        _put(enhanced + pixel * channels + 2, lifted + scale * (blue - luma), white, inside)
    else:
        _put(enhanced + pixel, lifted, white, inside)


@triton.jit
def _to_light(coded):  # type: ignore[no-untyped-def]
    return coded * (coded + TOE_) / (1.0 + TOE_)


@triton.jit
def _from_light(light):  # type: ignore[no-untyped-def]
    return tl.sqrt(light * (1.0 + TOE_) + TOE_ * TOE_ / 4.0) - TOE_ / 2.0


@triton.jit
def _put(place, values, white, inside):  # type: ignore[no-untyped-def]
    rounded = (values * white + HALF) - HALF
    tl.store(place, rounded.to(place.dtype.element_ty), mask=inside)


@triton.jit
def _around(pixel, width, top, factor, map_height, map_width):  # type: ignore[no-untyped-def]
    """Where the lines of a map above and below a pixel begin, the columns beside it, and its places between them."""
    row = pixel // width
    above, below, y = _between(row + top, factor, map_height)
    left, right, x = _between(pixel - row * width, factor, map_width)
    return above * map_width, below * map_width, y, left, right, x


@triton.jit
def _at(map_, above, below, y, left, right, x, inside):  # type: ignore[no-untyped-def]
    """The value of a map at each pixel, of which `_around` tells where it lies."""
    upper = _along(map_ + above, left, right, x, inside)
    return upper + y * (_along(map_ + below, left, right, x, inside) - upper)


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
