"""The curve of sRGB (IEC 61966-2-1), on arrays; its numbers, for code that needs it in another form."""

from typing import Any

import numpy as np
import numpy.typing as npt

POWER, OFFSET, SLOPE = 2.4, 0.055, 12.92  # a power with an offset, and near black a line
LIGHT_FROM, CODED_FROM = 0.0031308, 0.04045  # where the power begins

Floats = npt.NDArray[Any]


def encoded(light: Floats) -> Floats:
    """Return sRGB values of light, both 0 to 1."""
    curved = (1 + OFFSET) * np.maximum(light, LIGHT_FROM) ** (1 / POWER) - OFFSET
    return np.where(light <= LIGHT_FROM, light * SLOPE, curved)


def decoded(values: Floats) -> Floats:
    """Return the light of sRGB values, both 0 to 1."""
    curved = ((np.maximum(values, CODED_FROM) + OFFSET) / (1 + OFFSET)) ** POWER
    return np.where(values <= CODED_FROM, values / SLOPE, curved)
