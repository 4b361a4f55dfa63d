"""The reduced copy of an image as it lies in memory: what `curves.reduce` does, as a loop that numba compiles.

Suffixes: H height, W width, C channels, V values of a row of the image (W * C).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from model.kernels import compiled


def reduce_pixels(image_HWC: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float32]:
    """Average boxes of `factor` x `factor` pixels.

    `image_HWC`: uint8 or uint16. Returns float32 in [0, 1], of ceil(H / factor) x ceil(W / factor) pixels; boxes that
    stick out see the border repeated.
    """
    height, width, channels = image_HWC.shape
    image_HV = np.ascontiguousarray(image_HWC).reshape(height, width * channels)
    reduced_HWC = np.empty((-(-height // factor), -(-width // factor), channels), np.float32)
    _average(reduced_HWC, image_HV, factor, 1 / (factor**2 * np.iinfo(image_HV.dtype).max))
    return reduced_HWC


@compiled
def _average(reduced_HWC, image_HV, factor, scale):  # type: ignore[no-untyped-def]
    height, width, channels = reduced_HWC.shape
    sums_V = np.empty(image_HV.shape[1], np.uint32)  # of a column of each row of boxes
    bottom, last = len(image_HV) - 1, image_HV.shape[1] // channels - 1
    for y in range(height):
        sums_V[:] = 0
        for row in range(0, factor, 2):  # two at once, which halves the way to the sums and back
            one_V = image_HV[min(y * factor + row, bottom)]
            two_V, second = image_HV[min(y * factor + row + 1, bottom)], np.uint32(row + 1 < factor)
            for v in range(len(sums_V)):
                sums_V[v] += one_V[v] + second * two_V[v]
        for x in range(width):
            for c in range(channels):
                total = 0
                for column in range(x * factor, (x + 1) * factor):
                    total += sums_V[min(column, last) * channels + c]
                reduced_HWC[y, x, c] = total * scale
