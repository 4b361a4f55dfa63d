"""The curve on the values of each channel, or on the light of luma, which colour follows. The readable reference.

`srgb`, the published way: the curve is applied to each channel's sRGB-coded value by itself.

`light`: the curve is applied to luma only, in nearly linear light, `v = x (x + 0.1) / 1.1`. There a step with r = -1 is
one stop more of exposure, with a soft shoulder. Chroma, a pixel's RGB minus its luma, is multiplied by the slope of the
tone curve from its luma upwards; in shadows that is less than what luma is multiplied by, so that noise does not turn
into colours. If a channel would leave [0, 1], the pixel's chroma becomes smaller and keeps its hue.

Tensor suffixes: B batch, C colour channels, K maps, M channels of a map (3 or 1, or 2: of shade and of light, see
`bilateral_grid.py`), H height, W width.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from model.curve.bilateral_grid import sliced
from model.curve.reference import apply_curve, maps_of_steps

Space = Literal["srgb", "light"]

TOE = 0.1  # keeps the slope of light finite at black, as sRGB itself does
SPAN, LEAST_SPAN = 0.5, 1 / 255  # the slope is taken over SPAN times the distance to black or white, plus the least
FULL = 0.96  # chroma may bring a channel up to this, or to where it was before
Shares = tuple[float, float, float]  # of red, green and blue in luma
BT709: Shares = (0.2126, 0.7152, 0.0722)  # sRGB has the same primaries
BT601 = 0.299, 0.587, 0.114


def to_light(coded: Tensor) -> Tensor:
    """Return nearly linear light, in [0, 1] as `coded` is."""
    return coded * (coded + TOE) * (1 / (1 + TOE))


def from_light(light: Tensor) -> Tensor:
    """Return the coded value of a light: the inverse of `to_light`."""
    return (light * (1 + TOE) + TOE**2 / 4).sqrt() - TOE / 2


def lift(image_BCHW: Tensor, passes: Sequence[Tensor], iterations: int, space: Space, shares: Shares = BT709) -> Tensor:
    """Take an image through the tone curve of curve maps.

    `image_BCHW`: float in [0, 1], RGB or grey. `passes`: for each pass of the enhancement `maps_BKMHW`, in [-1, 1], of
    the image's height and width; for `light`, of two channels. `iterations`: steps of each pass, 0 to 16. `shares`: of
    red, green and blue in luma. Returns an image of the same shape in [0, 1]. Raises ValueError on iterations out of
    range.
    """
    if space == "srgb":
        for maps_BKMHW in passes:
            image_BCHW = apply_curve(image_BCHW, maps_BKMHW, iterations)
        return image_BCHW
    luma = luma_of(image_BCHW, shares)
    lifted, rise = lift_luma(luma, passes, iterations)
    if image_BCHW.shape[1] == 1:
        return lifted
    highest, lowest = image_BCHW.amax(1, keepdim=True), image_BCHW.amin(1, keepdim=True)
    room_above = (highest.clamp(min=FULL) - lifted).clamp(min=0) / (highest - luma).clamp(min=1e-6)
    room_below = lifted / (luma - lowest).clamp(min=1e-6)
    return lifted + rise.minimum(room_above).minimum(room_below) * (image_BCHW - luma)


def lift_luma(luma_B1HW: Tensor, passes: Sequence[Tensor], iterations: int) -> tuple[Tensor, Tensor]:
    """Return the enhanced luma of a luma in [0, 1], and the slope of the tone curve from there upwards.

    The slope is computed without subtracting nearly equal numbers: a step multiplies the difference of two lights `one`
    and `other` by `1 + r (one + other - 1)`, and a difference of two roots is that of the squares over their sum.
    """
    span = SPAN * luma_B1HW.minimum(1 - luma_B1HW) + LEAST_SPAN
    one, other, rise = to_light(luma_B1HW), to_light(luma_B1HW + span), 2 * luma_B1HW + span + TOE
    for maps_BKMHW in passes:
        for r in maps_of_steps(sliced(maps_BKMHW, luma_B1HW), iterations):
            rise = rise + rise * r * (one + other - 1)
            one, other = (light + r * (light * light - light) for light in (one, other))
    lifted, above = (from_light(light) for light in (one, other))
    return lifted, rise / (lifted + above + TOE)


def tone(luma_B1HW: Tensor, passes: Sequence[Tensor], iterations: int, space: Space) -> tuple[Tensor, Tensor]:
    """Return the enhanced grey and the slope of the tone curve from there, in either space. See `lift_luma`."""
    if space == "light":
        return lift_luma(luma_B1HW, passes, iterations)
    span = SPAN * luma_B1HW.minimum(1 - luma_B1HW) + LEAST_SPAN
    lifted, above = (
        lift(luma, passes, iterations, space).mean(1, keepdim=True) for luma in (luma_B1HW, luma_B1HW + span)
    )
    return lifted, (above - lifted) / span


def luma_of(image_BCHW: Tensor, shares: Shares = BT709) -> Tensor:
    """Return `luma_B1HW` of RGB, or the grey image itself."""
    if image_BCHW.shape[1] == 1:
        return image_BCHW
    red, green, blue = image_BCHW.split(1, dim=1)
    luma: Tensor = red * shares[0] + green * shares[1] + blue * shares[2]
    return luma
