"""A GPU's memory: images to it and back while it works, and what to do where it runs out.

A GPU copies from and to pinned memory by itself, while the processor goes on; from other memory everybody waits. On a
CPU nothing is copied, so that the same code runs there.
"""

from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from model.full_size.cpu import Pixels

BANDS_AT_ONCE = 2  # one is copied while the curve is at the other

Result = TypeVar("Result")


def tensor_of(image: Pixels) -> Tensor:
    """On the CPU; a copy only where torch cannot share the array's memory (it refuses read-only arrays)."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"]))


def sent(x: Tensor, device: torch.device) -> Tensor:
    """The same on `device`, for whatever is started there next; the processor does not wait."""
    if device.type == "cpu":
        return x
    return x.pin_memory().to(device, non_blocking=True)


def in_bands(image: Pixels, rows: int, work: Callable[[Tensor, int], Tensor], device: torch.device) -> Pixels:
    """What `work` makes of an image, `rows` rows at a time, on `device`.

    `work`: gets some rows there, as uint8 or, of 16 bits, int32, and which of the image's rows is the first; gives as
    many of the same dtype. Raises torch.OutOfMemoryError.
    """
    enhanced = np.empty_like(image)
    lanes = _lanes(device)
    for lane in lanes:
        if lane is not None:  # behind all that was started before
            lane.wait_stream(torch.cuda.current_stream(device))
    underway: deque[tuple[int, Tensor, torch.cuda.Stream | None]] = deque()

    def finish() -> None:
        top, band, lane = underway.popleft()
        if lane is not None:
            lane.synchronize()
        enhanced[top : top + rows] = band.numpy()

    for count, top in enumerate(range(0, image.shape[0], rows)):
        band, lane = image[top : top + rows], lanes[count % BANDS_AT_ONCE]
        with torch.cuda.stream(lane):
            x = tensor_of(band if band.dtype == np.uint8 else band.astype(np.int32))
            underway.append((top, _fetched(work(sent(x, device), top)), lane))
        if len(underway) == BANDS_AT_ONCE:
            finish()
    while underway:
        finish()
    return enhanced


@cache
def _lanes(device: torch.device) -> list[torch.cuda.Stream | None]:
    """What is started in one lane is done in turn, beside that of others. Always the same: memory is kept for each."""
    return [None if device.type == "cpu" else torch.cuda.Stream(device) for _ in range(BANDS_AT_ONCE)]


def _fetched(x: Tensor) -> Tensor:
    """The same on the CPU, once the lane that it is fetched in has come to its end."""
    if x.device.type == "cpu":
        return x
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)


def unless_out_of_memory(work: Callable[[], Result], *, last: bool) -> Result | None:
    """What `work` returns, or None where a GPU's memory runs out: then all that is free is given back to it.

    `last`: nothing smaller is left to try. Then it raises torch.OutOfMemoryError.
    """
    try:
        return work()
    except torch.OutOfMemoryError:
        if last:
            raise
    torch.cuda.empty_cache()  # only here: the error held on to what was in use
    return None
