"""Detection of scene starts from two neighbouring frames only, so that any part of a film gives the same result."""

import numpy as np
import numpy.typing as npt

NOISE = 1.5 / 255  # by how much copies of two frames of one scene may differ
ALIKE = 0.6  # correlation below which two frames are of different scenes
BOX_PX = 4

Copy = npt.NDArray[np.uint8]  # a small copy of a frame, HxWx3
Tiny = npt.NDArray[np.float64]


class Scenes:
    """Detector of scene starts, fed with small copies of frames in order.

    Two frames are compared by their correlation, which a change of exposure does not affect. NOISE is added to both as
    if they had it in common, so that dark, empty frames count as alike.
    """

    def __init__(self) -> None:
        self.number = 0
        self._tiny: Tiny | None = None

    def begins(self, copy: Copy, *, follows: bool) -> bool:
        """Return whether a scene begins with this frame. Counts the scenes.

        `follows`: whether it may be of the same scene as the frame before it; False after missing frames.
        """
        before, self._tiny = self._tiny, _tiny(copy)
        begins = before is None or not follows or _correlation(before, self._tiny) < ALIKE
        self.number += begins
        return begins


def alike(one: Copy, other: Copy) -> bool:
    """Return whether two frames may be of one scene."""
    return _correlation(_tiny(one), _tiny(other)) >= ALIKE


def _tiny(copy: Copy) -> Tiny:
    """Average boxes of the copy, and shift each channel to a mean of 0."""
    height, width, _ = (side // BOX_PX for side in copy.shape)
    boxes = copy[: height * BOX_PX, : width * BOX_PX].reshape(height, BOX_PX, width, BOX_PX, 3) / 255
    tiny: Tiny = boxes.mean(axis=(1, 3))
    tiny -= tiny.mean(axis=(0, 1))
    return tiny


def _correlation(one: Tiny, other: Tiny) -> float:
    a, b, both = (float(np.mean(x * y)) + NOISE**2 for x, y in ((one, one), (other, other), (one, other)))
    return both / float(np.sqrt(a * b))
