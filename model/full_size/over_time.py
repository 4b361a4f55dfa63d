"""Averaging of noise over time: where nothing moves, a frame becomes the mean of itself and its neighbours.

Two frames are compared in cells of 8 x 8 pixels. A cell whose mean or mean square differs by more than the noise of
both explains has moved, and is left out; in the others, pixels that differ by more than noise are left out. So moving
things leave no ghosts, whether they are large and faint or small and bright, and a cut stops the averaging.

The fractions of codes in a mean are kept by dithering, in an ordered pattern that stays in place: otherwise the curve
would bring out steps that the noise had hidden. A pixel that is averaged with nothing keeps its code.

Suffixes: S samples of a line of a plane (with its padding), H height, W samples of a line without padding, h and w
cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.compiled import compiled
from model.full_size.cells import box_mean
from model.full_size.cpu import Coding
from model.noise.floor import LEVELS, Floor

Floats = npt.NDArray[np.float32]
Plane = npt.NDArray[Any]  # uint8 or uint16

RADIUS = 2  # frames on either side; `_average` takes exactly four
SIDE = 8  # pixels of a cell
CODED = 0.5  # deviation that coding adds to noise, in codes of 8 bits
MOST_MEAN = 0.8  # of a cell's mean difference, in deviations of noise
MOST_SQUARE = 1.4  # of a cell's mean square difference, relative to that of noise
STEEP = 3.0  # slope of a cell's share beyond these limits: it reaches 0 at a third above them
MOST_PIXEL = 4.0  # of a pixel's difference, in deviations of noise


@dataclass(frozen=True, slots=True)
class Still:
    """A frame and its noise."""

    planes: tuple[Plane, ...]
    """Y, Cb and Cr, uint8 or uint16, without the padding of their lines."""
    coding: Coding
    floor: Floor

    def is_like(self, other: "Still") -> bool:
        """Return whether both frames have the same size and coding."""
        return self.coding == other.coding and self.planes[0].shape == other.planes[0].shape


@dataclass(frozen=True, slots=True)
class Likeness:
    """Similarity of two frames, cell by cell."""

    share_hw: Floats
    """Weight of one frame in the mean of the other, 0 to 1."""
    narrowness: tuple[Floats, ...]
    """`1 / d^2` for each plane, where d is the difference from which a sample is left out."""


def likeness(one: Still, other: Still) -> Likeness:
    """Compare two frames of one size and coding."""
    shares, narrowness = [], []
    for plane, (one_HW, other_HW) in enumerate(zip(one.planes, other.planes, strict=True)):
        down, across = _cell(one.coding, plane)
        height, width = one_HW.shape
        means_hw, squares_hw, levels_hw = np.empty((3, -(-height // down), -(-width // across)), np.float32)
        _compare(means_hw, squares_hw, levels_hw, one_HW, other_HW, down, across)
        variance_hw = _variance(one, other, plane, levels_hw)
        of_mean = np.abs(means_hw) / (MOST_MEAN * np.sqrt(variance_hw))
        of_square = squares_hw / (2 * MOST_SQUARE * variance_hw)
        shares.append((1 + STEEP * (1 - np.maximum(of_mean, of_square))).clip(0, 1))
        narrowness.append((1 / (2 * MOST_PIXEL**2 * variance_hw)).astype(np.float32))
    share_hw = np.minimum.reduce(shares).astype(np.float32)
    return Likeness(np.minimum(share_hw, box_mean(share_hw, 1)), tuple(narrowness))


def average(still: Still, near: Sequence[tuple[Still, Likeness]], written: Sequence[Plane]) -> None:
    """Write the mean of a frame and 1 to 2 * RADIUS frames near it, to planes whose lines may be longer."""
    nobody = still, Likeness(np.zeros_like(near[0][1].share_hw), near[0][1].narrowness)
    four = [*near, *[nobody] * (2 * RADIUS - len(near))]
    for plane, (still_HW, written_HS) in enumerate(zip(still.planes, written, strict=True)):
        others = tuple((each.planes[plane], alike.share_hw, alike.narrowness[plane]) for each, alike in four)
        width = still_HW.shape[1]
        dither_DW = np.ascontiguousarray(np.tile(DITHER, -(-width // len(DITHER)))[:, :width])
        _average(written_HS, still_HW, others, *_cell(still.coding, plane), dither_DW)


def _cell(coding: Coding, plane: int) -> tuple[int, int]:
    """Return the samples of a cell, down and across."""
    return (SIDE // coding.down, SIDE // coding.across) if plane else (SIDE, SIDE)


def _variance(one: Still, other: Still, plane: int, levels_hw: Floats) -> Floats:
    """Compute the variance of a sample by noise and coding, for each cell. `levels_hw`: the cells' mean codes."""
    red, _, blue, black, span, _, chroma_span, _ = map(float, one.coding.numbers)
    of_coding = CODED * (1 << (one.coding.depth - 8))
    squares_hw: Floats = np.full_like(levels_hw, of_coding**2)
    for floor in (one.floor, other.floor):
        if plane == 0:
            noise_hw = np.interp(levels_hw, black + span * LEVELS, span * floor.noise).astype(np.float32)
        else:
            of_colour = 2 * (1 - (blue, red)[plane - 1])  # range of B - Y, or of R - Y, that a sample's codes cover
            noise_hw = np.full_like(levels_hw, floor.colour_noise / 2**0.5 / of_colour * chroma_span)
        squares_hw += noise_hw**2 / 2
    return squares_hw


def _bayer(doublings: int) -> Floats:
    """Build the matrix of Bayer's ordered dither, with thresholds in (0, 1)."""
    matrix = np.zeros((1, 1))
    for _ in range(doublings):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return ((matrix + 0.5) / matrix.size).astype(np.float32)


DITHER = _bayer(3)


@compiled
def _compare(means_hw, squares_hw, levels_hw, one_HW, other_HW, down, across):  # type: ignore[no-untyped-def]
    """Compute for each cell the mean and mean square of the frames' difference, and the mean of both frames."""
    height, width = one_HW.shape
    sums_W, more_W, levels_W = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    half = np.float32(0.5)
    for row in range(len(means_hw)):
        top, bottom = row * down, min((row + 1) * down, height)
        sums_W[:] = 0
        more_W[:] = 0
        levels_W[:] = 0
        for y in range(top, bottom):
            one_W, other_W = one_HW[y], other_HW[y]
            for x in range(width):
                one, other = np.float32(one_W[x]), np.float32(other_W[x])
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
def _average(written_HS, still_HW, others, down, across, dither_DW):  # type: ignore[no-untyped-def]
    """Write the dithered mean of a plane. `others`: four frames' plane, and its cells' shares and narrowness."""
    first, second, third, fourth = others
    width, one = still_HW.shape[1], np.float32(1)
    shares_W, narrow_W = np.empty((4, width), np.float32), np.empty((4, width), np.float32)
    for y in range(len(still_HW)):
        if y % down == 0:
            _spread(shares_W[0], narrow_W[0], first, y // down, across)
            _spread(shares_W[1], narrow_W[1], second, y // down, across)
            _spread(shares_W[2], narrow_W[2], third, y // down, across)
            _spread(shares_W[3], narrow_W[3], fourth, y // down, across)
        first_W, second_W, third_W, fourth_W = first[0][y], second[0][y], third[0][y], fourth[0][y]
        still_W, written_S, dither_W = still_HW[y], written_HS[y], dither_DW[y % len(dither_DW)]
        for x in range(width):
            value = np.float32(still_W[x])
            a, of_a = _counted(value, first_W[x], shares_W[0, x], narrow_W[0, x])
            b, of_b = _counted(value, second_W[x], shares_W[1, x], narrow_W[1, x])
            c, of_c = _counted(value, third_W[x], shares_W[2, x], narrow_W[2, x])
            d, of_d = _counted(value, fourth_W[x], shares_W[3, x], narrow_W[3, x])
            mean = value + (a + b + c + d) / (one + of_a + of_b + of_c + of_d)
            written_S[x] = np.int32(mean + dither_W[x])


@compiled
def _counted(value, other, share, narrowness):  # type: ignore[no-untyped-def]
    """Return the difference of another frame's sample times its weight, and the weight."""
    difference = np.float32(other) - value
    weight = share * max(np.float32(1) - difference * difference * narrowness, np.float32(0))
    return weight * difference, weight


@compiled
def _spread(share_W, narrow_W, other, row, across):  # type: ignore[no-untyped-def]
    """Repeat a row of cells for each sample."""
    _, share_hw, narrowness_hw = other
    for column in range(share_hw.shape[1]):
        for x in range(column * across, min((column + 1) * across, len(share_W))):
            share_W[x], narrow_W[x] = share_hw[row, column], narrowness_hw[row, column]
