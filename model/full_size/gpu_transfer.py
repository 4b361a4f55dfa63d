"""Transfers of images to a GPU and back while it works, and recovery when its memory runs out.

A GPU copies from and to pinned memory by itself, while the processor goes on; copies of other memory make both wait.
On a CPU nothing is copied, so the same code runs there.
"""

from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from model.full_size.cpu import Pixels

BANDS_AT_ONCE = 2  # one is copied while the other is computed

Result = TypeVar("Result")


def tensor_of(image: Pixels) -> Tensor:
    """Return a tensor on the CPU, copying only if torch cannot share the array's memory (a read-only array's)."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"]))


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Return `x` on `device`, ready for whatever is started there next; the processor does not wait."""
    if device.type == "cpu":
        return x
    return x.pin_memory().to(device, non_blocking=True)


def in_bands(image: Pixels, rows: int, work: Callable[[Tensor, int], Tensor], device: torch.device) -> Pixels:
    """Apply `work` to an image on `device`, `rows` rows at a time.

    `work`: takes rows on `device`, uint8 or, for 16 bits, int32, and the index of the first; returns rows of the same
    shape and dtype. Raises torch.OutOfMemoryError.
    """
    enhanced = np.empty_like(image)
    lanes = _lanes(device)
    for lane in lanes:
        if lane is not None:  # after all that was started before
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
    """Return the concurrent streams that bands take in turn. Cached, as torch keeps memory for each stream."""
    return [None if device.type == "cpu" else torch.cuda.Stream(device) for _ in range(BANDS_AT_ONCE)]


def _fetched(x: Tensor) -> Tensor:
    """Start copying `x` to the CPU and return the copy, which is valid once the current stream is done."""
    if x.device.type == "cpu":
        return x
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)


def unless_out_of_memory(work: Callable[[], Result], *, last: bool) -> Result | None:
    """Return the result of `work`, or None if a GPU's memory runs out; torch's free memory is then given back to it.

    `last`: nothing smaller is left to try, so torch.OutOfMemoryError is raised instead.
    """
    try:
        return work()
    except torch.OutOfMemoryError:
        if last:
            raise
    torch.cuda.empty_cache()  # only here, as the error had kept memory in use
    return None
