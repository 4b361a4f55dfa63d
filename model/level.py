"""How far the light of a scene is raised: to where it can be seen, not to full scale.

A network asks for a mean over all of a photo. Of a scene that is black but for a lit corner, that would bring the
corner to white; so the mean of what stands above black is held to LEVEL, or to what it was where that is more.

Tensor suffixes: B batch, C colour channels, K maps, M channels of a map, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.floor import CODE
from model.light import Space, lift, luma_of

LEVEL = 0.57  # of luma
ABOVE_FROM, ABOVE_TO = 4 * CODE, 8 * CODE  # above black: what counts for nothing, and what for all
HALVINGS = 7


def held_to_level(
    passes: Sequence[Tensor], image_BCHW: Tensor, black_B: Tensor, iterations: int, space: Space
) -> list[Tensor]:
    """Return the curve maps, weakened where an image would come out brighter than that.

    `passes`: for each pass of the enhancement `maps_BKMHW`, of the size of `image_BCHW`. `black_B`: luma of black.
    """
    luma = luma_of(image_BCHW)
    signal = ((luma - black_B[:, None, None, None] - ABOVE_FROM) / (ABOVE_TO - ABOVE_FROM)).clamp(0, 1)
    signal = signal / signal.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)

    def mean_B(of: Tensor) -> Tensor:
        mean: Tensor = (signal * luma_of(of)).sum(dim=(1, 2, 3))
        return mean

    def scaled(gain_B: Tensor) -> list[Tensor]:
        return [maps_BKMHW * gain_B[:, None, None, None, None] for maps_BKMHW in passes]

    most_B = mean_B(image_BCHW).clamp(min=LEVEL)
    if bool((mean_B(lift(image_BCHW, passes, iterations, space)) <= most_B).all()):
        return list(passes)
    low_B, high_B = torch.zeros_like(most_B), torch.ones_like(most_B)
    for _ in range(HALVINGS):
        middle_B = (low_B + high_B) / 2
        is_dark = mean_B(lift(image_BCHW, scaled(middle_B), iterations, space)) <= most_B
        low_B, high_B = torch.where(is_dark, middle_B, low_B), torch.where(is_dark, high_B, middle_B)
    whole_B = mean_B(lift(image_BCHW, passes, iterations, space)) <= most_B
    return scaled(torch.where(whole_B, torch.ones_like(low_B), low_B))
