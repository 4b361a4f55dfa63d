"""Cleaning and the light-enhancement curve at full size as one GPU kernel: what `cpu_kernels.py` is for a CPU.

Triton compiles it; it comes with torch's builds for GPUs. There are no full-size maps: each pixel of the image takes
all its steps in registers, using the four pixels of each map, and the four cells, around it.

Tensor suffixes: K maps, M channels of a map (3 or 1, or 2: of shade and of light), H height, W width, C channels of the
image, P planes of cells, h and w in cells.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.curve.light import BT709, FULL, LEAST_SPAN, SPAN, TOE, Shares, Space
from model.curve.reference import steps_of
from model.full_size.cpu import Cells
from model.full_size.gpu_transfer import sent
from model.noise.cleaning import LIFTED_UNSEEN

BLOCK = 1024  # pixels of the image that one program of the kernel processes
HALF = tl.constexpr(12582912.0)  # 1.5 * 2**23: adding it to a float32 of up to 16 bits rounds that, half to even
TOE_, SPANNED, LEAST_SPANNED, FULL_ = (tl.constexpr(number) for number in (TOE, SPAN, LEAST_SPAN, FULL))
LIFTED_UNSEEN_ = tl.constexpr(LIFTED_UNSEEN)


def lift(
    image_HWC: Tensor,
    passes: Sequence[Tensor],
    factor: int,
    iterations: int,
    space: Space,
    white: float,
    top: int = 0,
    cells: Cells | None = None,
    shares: Shares = BT709,
) -> Tensor:
    """Clean an image and apply curve maps to it, or to some of its rows, from row `top` on.

    `image_HWC`: RGB or grey, uint8, or int32 for 16 bits, its values 0 to `white`. `passes`: for each pass of the
    enhancement `maps_KMHW`, float32 in [-1, 1], of ceil(H / factor) x ceil(W / factor) pixels for H and W of the whole
    image, all on one GPU; of one channel for a grey image, for `light` always of two. `iterations`: steps of each pass;
    those beyond its maps repeat the last one. `space`: see `curve/light.py`. `cells`: of the whole image, on the same
    GPU; None to clean nothing. `shares`: of red, green and blue in luma. Returns an image of the same shape and dtype.
    """
    image_HWC, maps_KMHW = image_HWC.contiguous(), torch.cat(list(passes)).contiguous()
    steps = steps_of([len(maps_KMHW) for maps_KMHW in passes], iterations)
    enhanced_HWC = torch.empty_like(image_HWC)
    height, width, channels = image_HWC.shape
    cells_Phw = maps_KMHW[0] if cells is None else cells.planes[0].contiguous()
    _lift[(triton.cdiv(height * width, BLOCK),)](
        image_HWC,
        enhanced_HWC,
        maps_KMHW,
        sent(torch.tensor([*steps, 0], dtype=torch.int32), image_HWC.device),
        len(steps),
        cells_Phw,
        height * width,
        top,
        width,
        *maps_KMHW.shape[2:],
        factor,
        *cells_Phw.shape[1:],
        1 if cells is None else cells.side,
        0.0 if cells is None else cells.black,
        *shares,
        white,
        CHANNELS=channels,
        MAP_CHANNELS=maps_KMHW.shape[1],
        IN_LIGHT=space == "light",
        CLEANS=cells is not None,
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
    cells,
    pixels,
    top,
    width,
    map_height,
    map_width,
    factor,
    cells_height,
    cells_width,
    side,
    black,
    of_red,
    of_green,
    of_blue,
    white,
    CHANNELS: tl.constexpr,
    MAP_CHANNELS: tl.constexpr,
    IN_LIGHT: tl.constexpr,
    CLEANS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    red = tl.load(image + pixel * CHANNELS, mask=inside, other=0).to(tl.float32) / white
    green, blue = red, red
    if CHANNELS == 3:
        green = tl.load(image + pixel * CHANNELS + 1, mask=inside, other=0).to(tl.float32) / white
        blue = tl.load(image + pixel * CHANNELS + 2, mask=inside, other=0).to(tl.float32) / white
    seen, cleaned = red, red
    if CLEANS:
        row, line, y, left, right, x = _around(pixel, width, top, side, cells_height, cells_width)
        area = cells_height * cells_width
        gain = _at(cells, row, line, y, left, right, x, inside)
        offset = _at(cells + area, row, line, y, left, right, x, inside)
        colour_gain = _at(cells + 2 * area, row, line, y, left, right, x, inside)
        more_red = _at(cells + 3 * area, row, line, y, left, right, x, inside)
        more_blue = _at(cells + 4 * area, row, line, y, left, right, x, inside)
        seen = _at(cells + 5 * area, row, line, y, left, right, x, inside)
        luma = _luma(red, green, blue, of_red, of_green, of_blue, CHANNELS)
        smooth = _clipped(gain * luma + offset)
        if CHANNELS == 3:
            more_red += colour_gain * (red - luma)
            more_blue += colour_gain * (blue - luma)
            more_green = (of_red * more_red + of_blue * more_blue) / -of_green
            red, green, blue = _clipped(smooth + more_red), _clipped(smooth + more_green), _clipped(smooth + more_blue)
        else:
            red, green, blue = smooth, smooth, smooth
        cleaned = _luma(red, green, blue, of_red, of_green, of_blue, CHANNELS)
    above, below, y, left, right, x = _around(pixel, width, top, factor, map_height, map_width)
    area = map_height * map_width
    if IN_LIGHT:
        luma = _luma(red, green, blue, of_red, of_green, of_blue, CHANNELS)
        span = SPANNED * tl.minimum(luma, 1.0 - luma) + LEAST_SPANNED
        one, other = _to_light(luma), _to_light(luma + span)
        guide = tl.sqrt(luma)
        for step in range(count):
            map_ = maps + tl.load(steps + step) * (2 * area)
            r = _at(map_, above, below, y, left, right, x, inside)
            r += guide * (_at(map_ + area, above, below, y, left, right, x, inside) - r)
            one += r * (one * one - one)
            other += r * (other * other - other)
        lifted = _from_light(one)
        rise = (_from_light(other) - lifted) / span
        red, green, blue = _follow(red, green, blue, luma, lifted, rise, CHANNELS)
    else:
        for step in range(count):
            map_ = maps + tl.load(steps + step) * (MAP_CHANNELS * area)
            r = _at(map_, above, below, y, left, right, x, inside)
            red += r * (red * red - red)
            if CHANNELS == 3:
                if MAP_CHANNELS == 3:
                    r = _at(map_ + area, above, below, y, left, right, x, inside)
                green += r * (green * green - green)
                if MAP_CHANNELS == 3:
                    r = _at(map_ + 2 * area, above, below, y, left, right, x, inside)
                blue += r * (blue * blue - blue)
    if CLEANS:
        most = LIFTED_UNSEEN_ * tl.maximum(cleaned - black, 0.0)
        lifted = _luma(red, green, blue, of_red, of_green, of_blue, CHANNELS)
        unseen = tl.minimum(most / tl.maximum(lifted, 1e-6), 1.0)
        share = seen + (1.0 - seen) * unseen
        red, green, blue = red * share, green * share, blue * share
    _put(enhanced + pixel * CHANNELS, red, white, inside)
    if CHANNELS == 3:
        _put(enhanced + pixel * CHANNELS + 1, green, white, inside)
        _put(enhanced + pixel * CHANNELS + 2, blue, white, inside)


@triton.jit
def _luma(red, green, blue, of_red, of_green, of_blue, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    luma = red
    if CHANNELS == 3:
        luma = of_red * red + of_green * green + of_blue * blue
    return luma


@triton.jit
def _clipped(values):  # type: ignore[no-untyped-def]
    return tl.minimum(tl.maximum(values, 0.0), 1.0)


@triton.jit
def _follow(red, green, blue, luma, lifted, rise, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Scale chroma after luma was lifted; see `light.lift`."""
    if CHANNELS == 3:
        highest = tl.maximum(tl.maximum(red, green), blue)
        lowest = tl.minimum(tl.minimum(red, green), blue)
        room = tl.maximum(tl.maximum(highest, FULL_) - lifted, 0.0) / tl.maximum(highest - luma, 1e-6)
        room = tl.minimum(room, lifted / tl.maximum(luma - lowest, 1e-6))
        scale = tl.minimum(rise, room)
        red, green, blue = (
            lifted + scale * (red - luma),
            lifted + scale * (green - luma),
            lifted + scale * (blue - luma),
        )
    else:
        red, green, blue = lifted, lifted, lifted
    return red, green, blue


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
    """Find where the map lines above and below a pixel begin, the columns beside it, and its places between them."""
    row = pixel // width
    above, below, y = _between(row + top, factor, map_height)
    left, right, x = _between(pixel - row * width, factor, map_width)
    return above * map_width, below * map_width, y, left, right, x


@triton.jit
def _at(map_, above, below, y, left, right, x, inside):  # type: ignore[no-untyped-def]
    """Interpolate a map at each pixel, at the place that `_around` returned."""
    upper = _along(map_ + above, left, right, x, inside)
    return upper + y * (_along(map_ + below, left, right, x, inside) - upper)


@triton.jit
def _between(at, factor, count):  # type: ignore[no-untyped-def]
    """Find the map pixels before and after a pixel, and its place between, 0 to 1; see `reference.upsample`."""
    halves = 2 * at + 1 + factor  # in halves of an image pixel, plus a whole map pixel so as not to be negative
    before = halves // (2 * factor)
    place = (halves - before * (2 * factor)).to(tl.float32) / (2.0 * factor)
    return tl.minimum(tl.maximum(before - 1, 0), count - 1), tl.minimum(before, count - 1), place


@triton.jit
def _along(line, left, right, place, inside):  # type: ignore[no-untyped-def]
    one = tl.load(line + left, mask=inside, other=0.0)
    return one + place * (tl.load(line + right, mask=inside, other=0.0) - one)
