"""Noise averaged over time: a frame of a video becomes the mean of itself and those around it, where all is still.

Two frames are compared by cells, of 8 x 8 pixels. A cell whose mean or mean square differs by more than the noise of
the two explains has moved and counts for nothing, and of the others no pixel counts that differs by more than noise
does. So a thing that moves leaves no ghost, whether it is large and faint or small and bright, and a cut stops the
mean.

What the mean has between two codes is kept by dithering, in an ordered pattern that stays in its place: else the lift
would bring out steps that the noise had hidden. A pixel that nothing is averaged with keeps its code.

Suffixes: S samples of a line of a plane (with what pads it), H height, W samples of a line that are seen, h and w
cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.apply import Coding
from model.compiled import compiled
from model.floor import LEVELS, Floor

Floats = npt.NDArray[np.float32]
Plane = npt.NDArray[Any]  # uint8 or uint16

RADIUS = 2  # frames on either side
SIDE = 8  # pixels of a cell
CODED = 0.5  # deviation that coding adds to noise, in codes of 8 bits
MOST_MEAN = 0.8  # of a cell's difference, in deviations of noise
MOST_SQUARE = 1.4  # likewise of its mean square, in those that noise alone has
STEEP = 3.0  # beyond these, a cell counts less, and beyond them by a third nothing
MOST_PIXEL = 4.0  # of a pixel's difference, in deviations of it


@dataclass(frozen=True, slots=True)
class Still:
    """A frame, and what its noise is."""

    planes: tuple[Plane, ...]
    """Y, Cb and Cr, uint8 or uint16."""
    width: int
    coding: Coding
    floor: Floor

    def is_like(self, other: "Still") -> bool:
        """Whether the two are of one size and coding."""
        sizes = ([plane.shape for plane in each.planes] for each in (self, other))
        return (self.width, self.coding) == (other.width, other.coding) and next(sizes) == next(sizes)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How two frames compare, cell by cell."""

    share_hw: Floats
    """How much one counts for the other, 0 to 1."""
    narrowness: tuple[Floats, ...]
    """For each plane `1 / d^2`, where d is the difference at which a sample counts for nothing."""


def likeness(one: Still, other: Still) -> Likeness:
    """Compare two frames of one size and coding."""
    code = np.float32(1 << (one.coding.depth - 8))
    shares, narrowness = [], []
    for plane, (one_HS, other_HS) in enumerate(zip(one.planes, other.planes, strict=True)):
        down, across, width = _cell(one, plane)
        means_hw, squares_hw, levels_hw = np.empty((3, -(-len(one_HS) // down), -(-width // across)), np.float32)
        _compare(means_hw, squares_hw, levels_hw, one_HS, other_HS, down, across, width)
        variance_hw = (_noise(one, plane, levels_hw) ** 2 + _noise(other, plane, levels_hw) ** 2) / 2 + np.float32(
            CODED * code
        ) ** 2
        of_mean = np.abs(means_hw) / (MOST_MEAN * np.sqrt(variance_hw))
        of_square = squares_hw / (2 * MOST_SQUARE * variance_hw)
        shares.append((1 + STEEP * (1 - np.maximum(of_mean, of_square))).clip(0, 1))
        narrowness.append((1 / (2 * MOST_PIXEL**2 * variance_hw)).astype(np.float32))
    share_hw = np.minimum.reduce(shares).astype(np.float32)
    return Likeness(np.minimum(share_hw, _mean_of_nine(share_hw)), tuple(narrowness))


def average(still: Still, near: Sequence[tuple[Still, Likeness]], written: Sequence[Plane]) -> None:
    """Write the mean of a frame and of those near it, 2 * RADIUS at most, to planes of the same heights."""
    if not near:
        near = [(still, likeness(still, still))]
    nobody = still, Likeness(np.zeros_like(near[0][1].share_hw), near[0][1].narrowness)
    four = [*near, *[nobody] * (2 * RADIUS - len(near))]
    for plane, (still_HS, written_HS) in enumerate(zip(still.planes, written, strict=True)):
        down, across, width = _cell(still, plane)
        others = tuple((each.planes[plane], alike.share_hw, alike.narrowness[plane]) for each, alike in four)
        dither_W = np.ascontiguousarray(np.tile(DITHER, -(-width // len(DITHER)))[:, :width])
        _average(written_HS, still_HS, others, down, across, dither_W)


def _cell(still: Still, plane: int) -> tuple[int, int, int]:
    """Samples of a cell, down and across, and those of a line that are seen."""
    if plane == 0:
        return SIDE, SIDE, still.width
    across, down = still.coding.across, still.coding.down
    return SIDE // down, SIDE // across, -(-still.width // across)


def _noise(still: Still, plane: int, levels_hw: Floats) -> Floats:
    """The deviation of noise at each cell, in codes. `levels_hw`: its mean code."""
    red, _, blue, black, span, _, chroma_span, _ = map(float, still.coding.numbers)
    if plane == 0:
        noise_hw: Floats = np.interp(levels_hw, black + span * LEVELS, span * still.floor.noise).astype(np.float32)
        return noise_hw
    of_colour = 2 * (1 - (blue, red)[plane - 1])  # a sample's share in B - Y, or in R - Y
    return np.full_like(levels_hw, still.floor.colour_noise / 2**0.5 / of_colour * chroma_span)


def _mean_of_nine(plane_hw: Floats) -> Floats:
    padded = np.pad(plane_hw, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean: Floats = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / np.float32(9)
    return mean


def _bayer(doublings: int) -> Floats:
    """Bayer's ordered dither, its thresholds within (0, 1)."""
    matrix = np.zeros((1, 1))
    for _ in range(doublings):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return ((matrix + 0.5) / matrix.size).astype(np.float32)


DITHER = _bayer(3)


@compiled
def _compare(means_hw, squares_hw, levels_hw, one_HS, other_HS, down, across, width):  # type: ignore[no-untyped-def]
    """Of each cell: the mean and the mean square of the difference, and the mean of both frames."""
    sums_W, more_W, levels_W = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    half, height = np.float32(0.5), len(one_HS)
    for row in range(len(means_hw)):
        top, bottom = row * down, min((row + 1) * down, height)
        sums_W[:] = 0
        more_W[:] = 0
        levels_W[:] = 0
        for y in range(top, bottom):
            one_S, other_S = one_HS[y], other_HS[y]
            for x in range(width):
                one, other = np.float32(one_S[x]), np.float32(other_S[x])
                difference = one - other
                sums_W[x] += difference
                more_W[x] += difference * difference
                levels_W[x] += one + other
        for column in range(means_hw.shape[1]):
            left, right = column * across, min((column + 1) * across, width)
            mean, square, level = np.float32(0), np.float32(0), np.float32(0)
            for x in range(left, right):
                mean += sums_W[x]
                square += more_W[x]
                level += levels_W[x]
            share = np.float32(1) / np.float32((bottom - top) * (right - left))
            means_hw[row, column], squares_hw[row, column] = share * mean, share * square
            levels_hw[row, column] = half * share * level


@compiled
def _average(written_HS, still_HS, others, down, across, dither_W):  # type: ignore[no-untyped-def]
    """`others`: of four frames a plane, and of its cells the shares and the narrowness."""
    first, second, third, fourth = others
    width, one = dither_W.shape[1], np.float32(1)
    shares_W, narrow_W = np.empty((4, width), np.float32), np.empty((4, width), np.float32)
    for y in range(len(still_HS)):
        if y % down == 0:
            _spread(shares_W[0], narrow_W[0], first, y // down, across)
            _spread(shares_W[1], narrow_W[1], second, y // down, across)
            _spread(shares_W[2], narrow_W[2], third, y // down, across)
            _spread(shares_W[3], narrow_W[3], fourth, y // down, across)
        first_S, second_S, third_S, fourth_S = first[0][y], second[0][y], third[0][y], fourth[0][y]
        still_S, written_S, dither = still_HS[y], written_HS[y], dither_W[y % len(dither_W)]
        for x in range(width):
            value = np.float32(still_S[x])
            a, of_a = _counted(value, first_S[x], shares_W[0, x], narrow_W[0, x])
            b, of_b = _counted(value, second_S[x], shares_W[1, x], narrow_W[1, x])
            c, of_c = _counted(value, third_S[x], shares_W[2, x], narrow_W[2, x])
            d, of_d = _counted(value, fourth_S[x], shares_W[3, x], narrow_W[3, x])
            mean = value + (a + b + c + d) / (one + of_a + of_b + of_c + of_d)
            written_S[x] = np.int32(mean + dither[x])


@compiled
def _counted(value, other, share, narrowness):  # type: ignore[no-untyped-def]
    """The difference of another frame's sample times what it counts for, and that."""
    difference = np.float32(other) - value
    weight = share * max(np.float32(1) - difference * difference * narrowness, np.float32(0))
    return weight * difference, weight


@compiled
def _spread(share_W, narrow_W, other, row, across):  # type: ignore[no-untyped-def]
    """A row of cells, for each sample."""
    _, share_hw, narrowness_hw = other
    for column in range(share_hw.shape[1]):
        for x in range(column * across, min((column + 1) * across, len(share_W))):
            share_W[x], narrow_W[x] = share_hw[row, column], narrowness_hw[row, column]
