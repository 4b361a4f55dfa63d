"""Brightness of an image, as the manifest records it for photos and videos, before and after."""

from typing import Any

import numpy as np
import numpy.typing as npt

RGB = np.array([0.299, 0.587, 0.114])  # BT.601
SAMPLES = 1 << 14  # approximate number of pixels that the mean is taken from


def sampled(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a regular sample of the pixels of an image or mask."""
    step = max(1, int((pixels.shape[0] * pixels.shape[1] / SAMPLES) ** 0.5))
    return pixels[::step, ::step]


def mean_luma(pixels: npt.NDArray[Any]) -> float:
    """Return the mean BT.601 luma in [0, 1], from a regular sample of the pixels.

    `pixels`: uint8 or uint16, HxWx3 RGB or HxWx1 grey.
    """
    return mean_luma_of_sample(sampled(pixels))


def mean_luma_of_sample(sample: npt.NDArray[Any], visible: npt.NDArray[np.bool_] | None = None) -> float:
    """Return the mean luma of all pixels of a sample. `visible`: those that count, HxW; 0 if there are none."""
    channels = sample.shape[2]
    counted = sample.reshape(-1, channels) if visible is None else sample[visible]
    if not len(counted):
        return 0.0
    mean = np.full(len(counted), 1 / len(counted)) @ counted  # in a tenth of the time of `mean`
    mean /= np.iinfo(sample.dtype).max
    return float(mean @ RGB if channels == 3 else mean[0])
