"""Limit on how far the light of a scene is raised: far enough to be seen, not to full scale.

A network aims at a mean over the whole photo. In a scene that is black except for a lit corner, that would bring the
corner to white; so the mean of what stands above black is limited to LEVEL, or to its original mean if that is higher.
Only the network's own estimate is limited: more strength, steps or passes still give more light.

Tensor suffixes: B batch, C colour channels, K maps, M channels of a map, H height, W width, h and w those of the maps.
"""

import torch
from torch import Tensor

from model.curve.light import Space, luma_of, tone
from model.curve.reference import upsample
from model.noise.floor import CODE

LEVEL = 0.56  # of luma
HELD_BELOW, FREE_FROM = 0.3, 0.6  # share of an image above black: fully limited up to the first, free from the second
ABOVE_FROM, ABOVE_TO = 4 * CODE, 8 * CODE  # above black: where a pixel begins to count, and counts fully
HALVINGS = 7
STEPS = 8  # of the curve, as networks are trained with


def held_to_level(maps_BKMhw: Tensor, map_px: int, image_BCHW: Tensor, black_B: Tensor, space: Space) -> Tensor:
    """Return the curve maps, weakened for images that would exceed the limit after STEPS steps.

    `map_px`: pixels of the image along each side of a pixel of the maps. `black_B`: luma of black. `space`: what the
    curve acts on.
    """
    luma = luma_of(image_BCHW)
    signal = ((luma - black_B[:, None, None, None] - ABOVE_FROM) / (ABOVE_TO - ABOVE_FROM)).clamp(0, 1)
    share_B = signal.mean(dim=(1, 2, 3))
    signal /= signal.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    level_B = LEVEL + (1 - LEVEL) * ((share_B - HELD_BELOW) / (FREE_FROM - HELD_BELOW)).clamp(0, 1)
    most_B = (signal * luma).sum(dim=(1, 2, 3)).maximum(level_B)

    maps_BKMHW = upsample(maps_BKMhw, map_px, slice(0, luma.shape[2]), luma.shape[3])

    def is_dark(gain_B: Tensor) -> Tensor:
        lifted, _ = tone(luma, [maps_BKMHW * gain_B[:, None, None, None, None]], STEPS, space)
        return (signal * lifted).sum(dim=(1, 2, 3)) <= most_B

    low_B, high_B = torch.zeros_like(most_B), torch.ones_like(most_B)
    are_dark_B = is_dark(high_B)
    if bool(are_dark_B.all()):
        return maps_BKMhw
    for _ in range(HALVINGS):
        middle_B = (low_B + high_B) / 2
        dark_B = is_dark(middle_B)
        low_B, high_B = torch.where(dark_B, middle_B, low_B), torch.where(dark_B, high_B, middle_B)
    gain_B = torch.where(are_dark_B, torch.ones_like(low_B), low_B)
    return maps_BKMhw * gain_B[:, None, None, None, None]
