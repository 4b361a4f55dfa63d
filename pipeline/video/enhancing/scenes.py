"""Where scenes begin: told from two neighbouring frames alone, so that any part of a video is told the same."""

import numpy as np
import numpy.typing as npt

NOISE = 1.5 / 255  # by which the copies of two frames of one scene may differ
ALIKE = 0.6  # correlation below which two frames are of different scenes
BOX_PX = 4

Copy = npt.NDArray[np.uint8]  # a small copy of a frame, HxWx3
Tiny = npt.NDArray[np.float64]


class Scenes:
    """Looks at small copies of frames, one after the other.

    Two frames are compared by their correlation, which a change of exposure does not touch. NOISE is added to both as
    if it were common to them, so that dark, empty frames are alike.
    """

    def __init__(self) -> None:
        self.number = 0
        self._rank: int | None = None
        self._tiny: Tiny | None = None

    def begins(self, rank: int, copy: Copy) -> bool:
        """Whether a scene begins with this frame, as it does after frames that are missing. Counts the scenes."""
        before, follows = self._tiny, self._rank == rank - 1
        self._rank, self._tiny = rank, _tiny(copy)
        begins = before is None or not follows or _correlation(before, self._tiny) < ALIKE
        self.number += begins
        return begins


def _tiny(copy: Copy) -> Tiny:
    """Boxes of the copy averaged, with a mean of 0 in each channel."""
    height, width, _ = (side // BOX_PX for side in copy.shape)
    boxes = copy[: height * BOX_PX, : width * BOX_PX].reshape(height, BOX_PX, width, BOX_PX, 3) / 255
    tiny: Tiny = boxes.mean(axis=(1, 3))
    tiny -= tiny.mean(axis=(0, 1))
    return tiny


def _correlation(one: Tiny, other: Tiny) -> float:
    a, b, both = (float(np.mean(x * y)) + NOISE**2 for x, y in ((one, one), (other, other), (one, other)))
    return both / float(np.sqrt(a * b))
