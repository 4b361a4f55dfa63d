"""Make a dark photo out of a light one, as a camera at night would have taken it.

Light is taken away in linear light: from the whole photo, and from parts of it (a subject against the sun, a
room behind a lamp) by a smooth mask. What is left gets the noise of a sensor and is stored in 8 bits.

Tensor suffixes: B batch, C colour channels, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

STOPS = 6.0  # the most that the whole photo loses, in halvings of its light
SHADE_STOPS = 6.0  # the most that a shaded part loses
SLIGHT_STOPS = 2.0  # the most that the lighter of two exposures loses
LEFT_EXPOSURE = 0.5  # share of lighter exposures that lose nothing
LEFT_LIGHT = 0.15  # share of photos whose whole is not darkened
SHADED = 0.6  # share of photos of which a part is darkened
SHADED_WHOLE = 0.1  # how much of the whole's loss a photo keeps that also has a shaded part
SHADE_KNOTS = 4  # the mask is drawn on a grid of 4 x 4 points
NEIGHBOURHOOD_PX = 17  # what is dark around a pixel is where shade tends to fall
SHOT_VARIANCE = 4e-4  # of linear light 1, at most
READ_VARIANCE = 4e-6  # of linear light, at most
TINT_STOPS = 0.2  # deviation of each channel's gain: the colour temperature of the light


def darken(photo_BCHW: Tensor, generator: Generator) -> Tensor:
    """Darken each photo of a batch by its own amounts.

    `photo_BCHW`: float sRGB in [0, 1]. Returns the same shape and range, in steps of 1/255.
    """
    count = photo_BCHW.shape[0]
    whole = _uniform(count, 0, STOPS, generator) * (_uniform(count, 0, 1, generator) > LEFT_LIGHT)
    shaded = _uniform(count, 0, 1, generator) < SHADED
    shade = _uniform(count, 0, SHADE_STOPS, generator) * _shade_mask(photo_BCHW, generator)
    stops = torch.where(shaded, SHADED_WHOLE * whole + shade, whole)
    light = _add_noise(to_linear(photo_BCHW) * 2**-stops, generator)
    return (to_srgb(light) * 255).round() / 255


def underexpose(photo_BCHW: Tensor, generator: Generator) -> Tensor:
    """Take a little light from the whole of each photo, or none: another exposure of what `darken` makes darker."""
    count = photo_BCHW.shape[0]
    stops = _uniform(count, 0, SLIGHT_STOPS, generator) * (_uniform(count, 0, 1, generator) > LEFT_EXPOSURE)
    light = _add_noise(to_linear(photo_BCHW) * 2**-stops, generator)
    return (to_srgb(light) * 255).round() / 255


def tint(photo_BCHW: Tensor, generator: Generator) -> Tensor:
    """Give each photo of a batch light of another colour temperature; its strongest channel stays as it is."""
    stops = TINT_STOPS * torch.randn(photo_BCHW.shape[0], 3, 1, 1, generator=generator)
    return to_srgb(to_linear(photo_BCHW) * 2 ** (stops - stops.amax(1, keepdim=True)))


def to_linear(encoded: Tensor) -> Tensor:
    """sRGB in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def to_srgb(light: Tensor) -> Tensor:
    """Linear light to sRGB in [0, 1]; what lies outside [0, 1] is clipped, as a sensor and its file do."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _shade_mask(photo_BCHW: Tensor, generator: Generator) -> Tensor:
    """A smooth mask in (0, 1), of one channel, that prefers what is dark already: that is what stands in shade."""
    count, _, height, width = photo_BCHW.shape
    knots = torch.randn(count, 1, SHADE_KNOTS, SHADE_KNOTS, generator=generator)
    field = F.interpolate(knots, size=(height, width), mode="bicubic", align_corners=False)
    grey = photo_BCHW.mean(1, keepdim=True)
    around = F.avg_pool2d(grey, NEIGHBOURHOOD_PX, 1, NEIGHBOURHOOD_PX // 2, count_include_pad=False)
    around = (around - around.mean((2, 3), keepdim=True)) / (around.std((2, 3), keepdim=True) + 0.05)
    field = field - _uniform(count, 0, 2.5, generator) * around
    steepness, shift = _uniform(count, 1, 5, generator), _uniform(count, -1, 1, generator)
    return torch.sigmoid(steepness * field + shift)


def _add_noise(light_BCHW: Tensor, generator: Generator) -> Tensor:
    """Shot noise grows with the light, read noise does not; how much of both differs from photo to photo."""
    count = light_BCHW.shape[0]
    strength = _uniform(count, 0, 1, generator) ** 2
    variance = strength * (SHOT_VARIANCE * light_BCHW + READ_VARIANCE * _uniform(count, 0, 1, generator))
    return light_BCHW + variance.sqrt() * torch.randn(light_BCHW.shape, generator=generator)


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)
