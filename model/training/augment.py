"""Darken photos as if a camera had taken them at night.

In linear light, a photo loses light in one of two ways: as a whole, or deeply in a part of it (a subject against the
sun, the near side of a wall, a room beside a lamp) by a smooth mask. The result gets the noise of a sensor and is
stored in 8 bits.

The depth of the shade decides what is learnt: a network that has seen slight shade as often as deep shade takes
everything dark for a dark object, and leaves deep shade dark.

Tensor suffixes: B batch, C colour channels, H height, W width.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from model.curve import srgb

STOPS = 6.0  # the most that the whole photo loses; a stop halves its light
DEEP = 0.6  # exponent of the draw of that loss: below 1, large losses are more frequent than small ones
SHADE_STOPS = 3.0, 5.5  # range of what a shaded part loses
BESIDES_STOPS = 1.0  # the most that the whole of a shaded photo loses in addition
SLIGHT_STOPS = 2.0  # the most that the lighter of two exposures loses
SHADED, LEFT_LIGHT = 0.6, 0.08  # share of photos that are darkened in part, and share that lose nothing
UNDEREXPOSED = 0.25  # share of lighter exposures that lose any light
SHADE_SHARE = 0.2, 0.6  # of the photo's area
SHADE_EDGE = 0.02, 0.5  # width of a mask's edge in deviations of its field: about 1 to 25 % of the photo's side
CLOUD_KNOTS = 3, 5  # range of a cloud's grid points along each side
FOLLOWING = 0.15  # share of masks that prefer parts that are dark already, as shaded parts are
NEIGHBOURHOOD_PX = 17  # neighbourhood of a pixel that decides how dark it is already
SHOT_VARIANCE = 4e-4  # at linear light 1, at most
READ_VARIANCE = 4e-6  # of linear light, at most
TINT_STOPS = 0.2  # deviation of each channel's gain, which changes the colour temperature


def darken(photo_BCHW: Tensor, generator: Generator) -> Tensor:
    """Darken each photo of a batch by its own amounts.

    `photo_BCHW`: float sRGB in [0, 1]. Returns the same shape and range, in steps of 1/255.
    """
    count = photo_BCHW.shape[0]
    kind = _uniform(count, 0, 1, generator)
    whole = STOPS * _uniform(count, 0, 1, generator) ** DEEP
    shade = _uniform(count, *SHADE_STOPS, generator) * _shade_mask(photo_BCHW, generator)
    besides = BESIDES_STOPS * _uniform(count, 0, 1, generator).square()
    stops = torch.where(kind < SHADED, shade + besides, torch.where(kind < 1 - LEFT_LIGHT, whole, 0.0))
    return _exposed(photo_BCHW, stops, generator)


def underexpose(photo_BCHW: Tensor, generator: Generator) -> Tensor:
    """Take little or no light from each whole photo: the lighter exposure beside that of `darken`."""
    count = photo_BCHW.shape[0]
    stops = _uniform(count, 0, SLIGHT_STOPS, generator) * (_uniform(count, 0, 1, generator) < UNDEREXPOSED)
    return _exposed(photo_BCHW, stops, generator)


def tint(photo_BCHW: Tensor, generator: Generator) -> Tensor:
    """Change the colour temperature of each photo of a batch; its strongest channel stays as it is."""
    stops = TINT_STOPS * torch.randn(photo_BCHW.shape[0], 3, 1, 1, generator=generator)
    return to_srgb(to_linear(photo_BCHW) * 2 ** (stops - stops.amax(1, keepdim=True)))


def to_linear(encoded: Tensor) -> Tensor:
    """Convert sRGB in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    return torch.where(
        encoded <= srgb.CODED_FROM, encoded / srgb.SLOPE, ((encoded + srgb.OFFSET) / (1 + srgb.OFFSET)) ** srgb.POWER
    )


def to_srgb(light: Tensor) -> Tensor:
    """Convert linear light to sRGB in [0, 1]; light outside [0, 1] is clipped, as by a sensor and its file."""
    light = light.clamp(0, 1)
    return torch.where(
        light <= srgb.LIGHT_FROM, light * srgb.SLOPE, (1 + srgb.OFFSET) * light ** (1 / srgb.POWER) - srgb.OFFSET
    )


def _shade_mask(photo_BCHW: Tensor, generator: Generator) -> Tensor:
    """Draw a smooth mask in (0, 1), of one channel, for each photo: a cloud, a half plane or an ellipse."""
    return torch.stack([_shade_of_one(photo_CHW, generator) for photo_CHW in photo_BCHW])


def _shade_of_one(photo_CHW: Tensor, generator: Generator) -> Tensor:
    height, width = photo_CHW.shape[1:]
    kind, following, weight, share, edge = torch.rand(5, generator=generator).tolist()
    shape = (_cloud, _half_plane, _ellipse)[int(3 * kind)]
    field_HW = _standardised(shape(height, width, generator))
    if following < FOLLOWING:
        field_HW = field_HW - 2 * weight * _standardised(_surroundings(photo_CHW))
    low, high = SHADE_SHARE
    threshold = float(np.quantile(field_HW.numpy(), 1 - (low + (high - low) * share)))  # torch's sorts all values
    narrow, wide = SHADE_EDGE
    return torch.sigmoid((field_HW - threshold) / (narrow * (wide / narrow) ** edge))[None]


def _cloud(height: int, width: int, generator: Generator) -> Tensor:
    few, many = CLOUD_KNOTS
    side = int(torch.randint(few, many + 1, (1,), generator=generator))
    knots = torch.randn(1, 1, side, side, generator=generator)
    return F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)[0, 0]


def _half_plane(height: int, width: int, generator: Generator) -> Tensor:
    y, x = _grid(height, width)
    angle = 2 * math.pi * float(torch.rand(1, generator=generator))
    return math.cos(angle) * x + math.sin(angle) * y


def _ellipse(height: int, width: int, generator: Generator) -> Tensor:
    y, x = _grid(height, width)
    centre_y, centre_x, ratio = torch.rand(3, generator=generator).tolist()
    return -torch.hypot((y - 1.2 * centre_y + 0.6) * (0.7 + 0.7 * ratio), x - 1.2 * centre_x + 0.6)


def _grid(height: int, width: int) -> tuple[Tensor, ...]:
    """Return the row and column of each pixel, from -1 to 1."""
    return torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")


def _surroundings(photo_CHW: Tensor) -> Tensor:
    """Return the mean brightness around each pixel."""
    means_1HW = photo_CHW.mean(0, keepdim=True)
    for window in ((NEIGHBOURHOOD_PX, 1), (1, NEIGHBOURHOOD_PX)):
        padding = window[0] // 2, window[1] // 2
        means_1HW = F.avg_pool2d(means_1HW, window, 1, padding, count_include_pad=False)
    return means_1HW[0]


def _standardised(field_HW: Tensor) -> Tensor:
    return (field_HW - field_HW.mean()) / (field_HW.std() + 1e-3)


def _exposed(photo_BCHW: Tensor, stops: Tensor, generator: Generator) -> Tensor:
    """Return what a camera records of the photo with `stops` less light: noisy, in steps of 1/255."""
    return (to_srgb(_add_noise(to_linear(photo_BCHW) * 2**-stops, generator)) * 255).round() / 255


def _add_noise(light_BCHW: Tensor, generator: Generator) -> Tensor:
    """Add shot noise, which grows with the light, and read noise, which does not, in amounts drawn for each photo."""
    count = light_BCHW.shape[0]
    strength = _uniform(count, 0, 1, generator) ** 2
    variance = strength * (SHOT_VARIANCE * light_BCHW + READ_VARIANCE * _uniform(count, 0, 1, generator))
    return light_BCHW + variance.sqrt() * torch.randn(light_BCHW.shape, generator=generator)


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)
