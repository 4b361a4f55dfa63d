"""The reduced copy of an image: `reference.reduce` as a loop that numba compiles.

Suffixes: H height, W width, C channels, V values of a row of the image (W * C).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from model.compiled import compiled


def reduce_pixels(image_HWC: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float32]:
    """Average boxes of `factor` x `factor` pixels.

    `image_HWC`: uint8 or uint16. Returns float32 in [0, 1], of ceil(H / factor) x ceil(W / factor) pixels; boxes that
    stick out see the border repeated.
    """
    height, width, channels = image_HWC.shape
    image_HV = np.ascontiguousarray(image_HWC).reshape(height, width * channels)
    white = np.iinfo(image_HV.dtype).max
    reduced_HWC = np.empty((-(-height // factor), -(-width // factor), channels), np.float32)
    sums_V = np.empty(width * channels, np.uint32 if factor * white < 1 << 32 else np.uint64)
    _average(reduced_HWC, sums_V, image_HV, factor, 1 / (factor**2 * white))
    return reduced_HWC


@compiled
def _average(reduced_HWC, sums_V, image_HV, factor, scale):  # type: ignore[no-untyped-def]
    """Write the means of boxes. `sums_V`: scratch space for the column sums of a row of boxes."""
    height, width, channels = reduced_HWC.shape
    columns = len(sums_V) // channels
    for y in range(height):
        top, bottom = y * factor, min((y + 1) * factor, len(image_HV)) - 1
        last_V = image_HV[bottom]
        times = np.uint32(factor - (bottom - top))  # the last row counts once for each missing row, too
        for v in range(len(sums_V)):
            sums_V[v] = times * last_V[v]
        for row in range(top, bottom - 1, 2):  # two rows at once, which halves the traffic to and from the sums
            one_V, two_V = image_HV[row], image_HV[row + 1]
            for v in range(len(sums_V)):
                sums_V[v] += np.uint32(one_V[v]) + np.uint32(two_V[v])
        if (bottom - top) % 2:
            one_V = image_HV[bottom - 1]
            for v in range(len(sums_V)):
                sums_V[v] += one_V[v]
        for x in range(width):
            left, right = x * factor, min((x + 1) * factor, columns) - 1
            for c in range(channels):
                total = np.float64(factor - (right - left)) * np.float64(sums_V[right * channels + c])
                for column in range(left, right):
                    total += sums_V[column * channels + c]
                reduced_HWC[y, x, c] = total * scale
