"""Cleaning: noise and the floor of an image are removed before the curve lifts them. The readable reference.

Luma and chroma go through a guided filter with themselves as guide (He, Sun and Tang, "Guided Image Filtering", TPAMI
2013, equations 5, 6 and 8): every window is modelled as `a I + b` with `a = variance / (variance + eps)`, so that flat
windows become their mean and edges stay. Windows are made of cells, boxes of pixels whose means and mean squares are
known; so the filter costs little more than reading the image ("Fast Guided Filter", He and Sun, 2015), and still sees
noise of single pixels. Where the curve amplifies nothing, eps is 0 and nothing changes.

There are three filters: one of luma, over three cells; one of its result, over five cells of twice the side, for coarse
grain and for the near-black blocks that a codec left; and one of chroma, over five cells of twice the side.

Where the filtered luma is hardly above the floor, chroma fades to that of its surroundings, then to none, and the curve
is held back: `seen` is how much of a pixel the camera saw.

All of this is expressed by six coefficients for each cell, interpolated to pixels; see `Cell`.

Tensor suffixes: B batch, C colour channels, P planes, K maps, M channels of a map, H height, W width in pixels, h and w
in cells of either size.
"""

from collections.abc import Sequence
from enum import IntEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from model.curve.light import BT709, Shares, Space, luma_of, tone
from model.curve.reference import sample, upsample
from model.noise.floor import CODE, LEVELS, Floor

WORKING_PX = 2400  # approximate long side that cells are made for: larger photos get coarser cells
MOST_SIDE = 128  # of a cell: a tile of the kernels must be a multiple of it
LUMA, COLOUR, COARSE = 2.5, 4.0, 0.7  # root of eps in deviations of noise; COARSE is of cells' means
BLOCKS, BLOCKS_UP_TO = 4 * CODE, 8 * CODE  # blocks' steps smoothed at black, and how far above it that fades
LEAST_VARIANCE = (1e-3 * CODE) ** 2  # avoids 0 / 0
# luma above black that counts as half seen: at least, where all the dark is plain, and where a codec left none of it
UNSEEN, UNSEEN_PLAIN, UNSEEN_CODED = 0.15 * CODE, CODE, 2.5 * CODE
NOISE_UNSEEN, NOISE_UNSEEN_CODED = 0.1, 1.5  # the same, in deviations of noise
AMPLIFIED_FROM = 1.05  # rise of the curve above which blocks are smoothed
FADE = 2.0  # half of chroma is gone at this many times the luma that is half seen
LIFTED_UNSEEN = 8.0  # the most that unseen luma above black is multiplied by


class Cell(IntEnum):
    """Coefficients of a cell, in the order of their planes."""

    GAIN = 0
    """Luma becomes GAIN times luma plus OFFSET."""
    OFFSET = 1
    COLOUR_GAIN = 2
    """R - Y and B - Y become COLOUR_GAIN times themselves plus their offsets."""
    RED_OFFSET = 3
    BLUE_OFFSET = 4
    SEEN = 5
    """Share of a pixel that the camera saw."""


def cell_side(height: int, width: int) -> int:
    """Return the pixels along each side of a cell: 2 for long sides up to 3,600 pixels, 4 up to 7,200, and so on."""
    side = 2
    while max(height, width) > side * 3 * WORKING_PX // 4 and side < MOST_SIDE:
        side *= 2
    return side


def moments(image_BCHW: Tensor, side: int, shares: Shares = BT709) -> Tensor:
    """Compute `moments_BPhw`: for each cell the means of luma and its square, then of R - Y and B - Y and theirs.

    `image_BCHW`: in [0, 1], RGB, or grey, which has only the first two. Cells that stick out average the pixels inside.
    A cell consists of two by two boxes: pixels, or in a large photo means of pixels; the squares are of these boxes.
    """
    image_BCHW = F.avg_pool2d(image_BCHW, side // 2, ceil_mode=True)
    luma = luma_of(image_BCHW, shares)
    planes = [luma, luma.square()]
    if image_BCHW.shape[1] == 3:
        for channel in (0, 2):
            colour = image_BCHW[:, channel : channel + 1] - luma
            planes += [colour, colour.square()]
    return F.avg_pool2d(torch.cat(planes, 1), 2, ceil_mode=True)


def coefficients(
    moments_BPhw: Tensor,
    passes: Sequence[Tensor],
    side: int,
    floor: Floor,
    factor: int,
    iterations: int,
    space: Space,
) -> Tensor:
    """Compute `cells_BPhw` of an image: see `Cell`.

    `moments_BPhw`: of its cells of `side` x `side` pixels. `passes`: for each pass of the enhancement `maps_BKMHW`,
    of ceil(H / factor) x ceil(W / factor) pixels. `iterations`: steps of each pass. `space`: see `curve/light.py`.
    """
    moments_BPhw = moments_BPhw
    coarse_BPhw = F.avg_pool2d(moments_BPhw, 2, ceil_mode=True)
    luma = coarse_BPhw[:, :1]
    near = [sample(maps, factor, 2 * side, luma.shape[2:]) for maps in passes]
    _, rise = tone(_box_mean(luma, 1), near, iterations, space)
    amplified = 1 - 1 / rise.clamp(min=1)
    noise = _noise(luma, floor) * amplified

    gain, offset = _guided(
        moments_BPhw[:, :1], moments_BPhw[:, 1:2], _repeated((LUMA * noise).square(), moments_BPhw), 1
    )
    mean, square = moments_BPhw[:, :1], moments_BPhw[:, 1:2]
    filtered = gain * mean + offset
    squares = gain * gain * square + 2 * gain * offset * mean + offset * offset
    mean, square = (F.avg_pool2d(plane, 2, ceil_mode=True) for plane in (filtered, squares))
    above = (mean - floor.black).clamp(min=0)
    blocks = floor.coded_away * BLOCKS * (-(above / BLOCKS_UP_TO).square()).exp() * (rise > AMPLIFIED_FROM)
    more, other = _doubled(
        torch.cat(_guided(mean, square, (COARSE * noise).square() + blocks.square(), 2), 1), moments_BPhw
    ).split(1, 1)
    gain, offset = more * gain, more * offset + other
    luma = gain * moments_BPhw[:, :1] + offset

    seen, coloured = _seen(luma, floor)
    red_blue = _colours(coarse_BPhw, floor, amplified)
    if red_blue is None:
        nothing = torch.zeros_like(gain)
        return torch.cat([gain, offset, nothing, nothing, nothing, seen], 1)
    colour_gain, red, blue, red_around, blue_around = _doubled(red_blue, moments_BPhw).split(1, 1)
    own, around = coloured * seen, coloured * (1 - seen)
    red, blue = own * red + around * red_around, own * blue + around * blue_around
    return torch.cat([gain, offset, own * colour_gain, red, blue, seen], 1)


def clean(image_BCHW: Tensor, cells_BKHW: Tensor, shares: Shares = BT709) -> Tensor:
    """Return the image with its noise smoothed, in [0, 1]. `cells_BKHW`: cells interpolated to its size."""
    gain, offset, colour_gain, red, blue, _ = cells_BKHW.split(1, 1)
    luma = luma_of(image_BCHW, shares)
    smooth: Tensor = (gain * luma + offset).clamp(0, 1)
    if image_BCHW.shape[1] == 1:
        return smooth
    red = colour_gain * (image_BCHW[:, :1] - luma) + red
    blue = colour_gain * (image_BCHW[:, 2:] - luma) + blue
    green = (red * shares[0] + blue * shares[2]) / -shares[1]  # so that luma stays
    cleaned: Tensor = (smooth + torch.cat([red, green, blue], 1)).clamp(0, 1)
    return cleaned


def hold_back(
    lifted_BCHW: Tensor, cleaned_BCHW: Tensor, seen_B1HW: Tensor, black: float, shares: Shares = BT709
) -> Tensor:
    """Darken the unseen part of a lifted image to at most LIFTED_UNSEEN times its former luma above black."""
    most = LIFTED_UNSEEN * (luma_of(cleaned_BCHW, shares) - black).clamp(min=0)
    unseen = (most / luma_of(lifted_BCHW, shares).clamp(min=1e-6)).clamp(max=1)
    return lifted_BCHW * (seen_B1HW + (1 - seen_B1HW) * unseen)


def _noise(luma: Tensor, floor: Floor) -> Tensor:
    """Interpolate the deviation of the floor's noise at each luma."""
    last = len(LEVELS) - 1
    place = luma.clamp(0, 1).sqrt() * last  # LEVELS are squares
    before = place.long().clamp(max=last - 1)
    noise_L = torch.from_numpy(floor.noise).to(luma.device)
    low, levels_L = noise_L[before], torch.from_numpy(LEVELS).to(luma.device)
    share = (luma.clamp(0, 1) - levels_L[before]) / (levels_L[before + 1] - levels_L[before])
    return low + share * (noise_L[before + 1] - low)


def _guided(mean: Tensor, square: Tensor, eps: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Compute gain and offset of the guided filter over windows of cells. `square`: mean squares of their pixels."""
    around = _box_mean(mean, radius)
    variance = (_box_mean(square, radius) - around.square()).clamp(min=LEAST_VARIANCE)
    gain = variance / (variance + eps)
    return _box_mean(gain, radius), _box_mean((1 - gain) * around, radius)


def _colours(coarse_BPhw: Tensor, floor: Floor, amplified: Tensor) -> Tensor | None:
    """Compute the gain of chroma, the offsets of R - Y and B - Y, and both in the surroundings; None for grey."""
    if coarse_BPhw.shape[1] == 2:
        return None
    mean, square = coarse_BPhw[:, 2::2], coarse_BPhw[:, 3::2]
    around = _box_mean(mean, 2)
    variance = (_box_mean(square, 2) - around.square()).clamp(min=LEAST_VARIANCE).sum(1, keepdim=True)
    gain = variance / (variance + (COLOUR * floor.colour_noise * amplified).square())
    offsets, gain = _box_mean((1 - gain) * around, 2), _box_mean(gain, 2)
    return torch.cat([gain, offsets, _box_mean(gain * mean + offsets, 2)], 1)


def seen_of(image_BCHW: Tensor, floor: Floor) -> Tensor:
    """Return the share of each pixel of a small copy that the camera saw."""
    return _seen(luma_of(image_BCHW), floor)[0]


def _seen(luma: Tensor, floor: Floor) -> tuple[Tensor, Tensor]:
    """Return the share of each cell that the camera saw, and that of its colour."""
    if not floor.has_unseen:
        return torch.ones_like(luma), torch.ones_like(luma)
    coarse = F.avg_pool2d(luma, 2, ceil_mode=True)
    around = _doubled(_box_mean(coarse, 1), luma)
    power = ((luma + around) / 2 - floor.black).clamp(min=0).square()
    half = half_seen(floor)
    return power / (power + half), power / (power + FADE**2 * half)


def half_seen(floor: Floor) -> float:
    """Return the square of the luma above black that counts as half seen."""
    coded, noise = floor.coded_away, floor.noise_at(floor.black + 4 * CODE)
    of_codes = max(UNSEEN + floor.plain * (UNSEEN_PLAIN - UNSEEN), UNSEEN + coded * (UNSEEN_CODED - UNSEEN))
    return of_codes**2 + ((NOISE_UNSEEN + coded * (NOISE_UNSEEN_CODED - NOISE_UNSEEN)) * noise) ** 2


def _doubled(coarse_BPhw: Tensor, like: Tensor) -> Tensor:
    """Interpolate from cells of twice the side to the size of `like`."""
    height, width = like.shape[2:]
    doubled: Tensor = upsample(coarse_BPhw[:, :, None], 2, slice(0, height), width)[:, :, 0]
    return doubled


def _repeated(coarse_BPhw: Tensor, like: Tensor) -> Tensor:
    height, width = like.shape[2:]
    return coarse_BPhw.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :height, :width]


def _box_mean(moments_BPhw: Tensor, radius: int) -> Tensor:
    """Average (2 radius + 1) x (2 radius + 1) cells, the border repeated. `radius`: 1 or 2.

    Sums of 2 and 4 neighbours are built by doubling, which is several times faster on a CPU than pooling.
    """
    total = F.pad(moments_BPhw, [radius] * 4, mode="replicate")
    for dim in (-1, -2):
        one, length, size = total, total.shape[dim], 1
        while size < 2 * radius:
            total = total.narrow(dim, 0, length - 2 * size + 1) + total.narrow(dim, size, length - 2 * size + 1)
            size *= 2
        total = total.narrow(dim, 0, length - size) + one.narrow(dim, size, length - size)
    return total * (1 / (2 * radius + 1) ** 2)
