"""Brightness of an image, as the manifest records it for photos and videos, before and after."""

from typing import Any

import numpy as np
import numpy.typing as npt

RGB = np.array([0.299, 0.587, 0.114])  # BT.601
SAMPLES = 1 << 14  # approximate number of pixels that the mean is taken from


def mean_luma(pixels: npt.NDArray[Any]) -> float:
    """Return the mean BT.601 luma in [0, 1], from a regular sample of the pixels.

    `pixels`: uint8 or uint16, HxWx3 RGB or HxWx1 grey.
    """
    height, width, channels = pixels.shape
    step = max(1, int((height * width / SAMPLES) ** 0.5))
    mean = pixels[::step, ::step].reshape(-1, channels).mean(axis=0) / np.iinfo(pixels.dtype).max
    return float(mean @ RGB if channels == 3 else mean[0])
