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
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from model.compiled import compiled, inlined
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


@dataclass(frozen=True)
class Still:
    """A frame and its noise."""

    planes: tuple[Plane, ...]
    """Y, Cb and Cr, uint8 or uint16, without the padding of their lines."""
    coding: Coding
    floor: Floor

    @cached_property
    def means(self) -> tuple[Floats, ...]:
        """Return the mean code of each cell of each plane."""
        return tuple(_means(plane_HW, *_cell(self.coding, plane)) for plane, plane_HW in enumerate(self.planes))

    @cached_property
    def variances(self) -> tuple[Floats, ...]:
        """Return the variance of a sample by noise and coding, in codes, for each cell of each plane."""
        red, _, blue, black, span, _, chroma_span, _ = map(float, self.coding.numbers)
        of_coding = (CODED * (1 << (self.coding.depth - 8))) ** 2
        noise_hw = np.interp(self.means[0], black + span * LEVELS, span * self.floor.noise)
        variances = [noise_hw**2 + of_coding]
        for mean_hw, share in zip(self.means[1:], (blue, red), strict=True):
            of_colour = 2 * (1 - share)  # range of B - Y, or of R - Y, that a sample's codes cover
            variance = self.floor.colour_noise**2 / 2 * (chroma_span / of_colour) ** 2 + of_coding
            variances.append(np.full_like(mean_hw, variance))
        return tuple(variance_hw.astype(np.float32) for variance_hw in variances)

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
        share_hw, narrow_hw = np.empty_like(one.means[plane]), np.empty_like(one.means[plane])
        _square(share_hw, one_HW, other_HW, *_cell(one.coding, plane))
        _weigh(share_hw, narrow_hw, *(each[plane] for still in (one, other) for each in (still.means, still.variances)))
        shares.append(share_hw)
        narrowness.append(narrow_hw)
    share_hw = np.minimum.reduce(shares)
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


def _bayer(doublings: int) -> Floats:
    """Build the matrix of Bayer's ordered dither, with thresholds in (0, 1)."""
    matrix = np.zeros((1, 1))
    for _ in range(doublings):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return ((matrix + 0.5) / matrix.size).astype(np.float32)


DITHER = _bayer(3)


def _means(plane_HW: Plane, down: int, across: int) -> Floats:
    """Compute the mean of each cell of a plane."""
    height, width = plane_HW.shape
    means_hw = np.empty((-(-height // down), -(-width // across)), np.float32)
    _mean(means_hw, plane_HW, down, across)
    return means_hw


@compiled
def _mean(means_hw, plane_HW, down, across):  # type: ignore[no-untyped-def]
    height, width = plane_HW.shape
    sums_W = np.empty(width, np.float32)
    for row in range(len(means_hw)):
        top, bottom = row * down, min((row + 1) * down, height)
        sums_W[:] = 0
        for y in range(top, bottom):
            plane_W = plane_HW[y]
            for x in range(width):
                sums_W[x] += np.float32(plane_W[x])
        _mean_of_cells(means_hw[row], sums_W, bottom - top, across)


@compiled
def _square(squares_hw, one_HW, other_HW, down, across):  # type: ignore[no-untyped-def]
    """Compute for each cell the mean square of the difference of two frames."""
    height, width = one_HW.shape
    sums_W = np.empty(width, np.float32)
    for row in range(len(squares_hw)):
        top, bottom = row * down, min((row + 1) * down, height)
        sums_W[:] = 0
        for y in range(top, bottom):
            one_W, other_W = one_HW[y], other_HW[y]
            for x in range(width):
                difference = np.float32(one_W[x]) - np.float32(other_W[x])
                sums_W[x] += difference * difference
        _mean_of_cells(squares_hw[row], sums_W, bottom - top, across)


@compiled
def _weigh(share_hw, narrow_hw, one_hw, variance_hw, other_hw, other_variance_hw):  # type: ignore[no-untyped-def]
    """Compute a plane's share and narrowness in each cell, see `Likeness`, from the frames' means and variances.

    `share_hw`: their mean square differences, which are replaced.
    """
    zero, one, half, steep = np.float32(0), np.float32(1), np.float32(0.5), np.float32(STEEP)
    of_mean, of_square = one / np.float32(MOST_MEAN), half / np.float32(MOST_SQUARE)
    of_pixel = half / np.float32(MOST_PIXEL**2)
    for y in range(len(share_hw)):
        share_w, narrow_w, one_w, other_w = share_hw[y], narrow_hw[y], one_hw[y], other_hw[y]
        variance_w, other_variance_w = variance_hw[y], other_variance_hw[y]
        for x in range(len(share_w)):
            inverse = one / (half * (variance_w[x] + other_variance_w[x]))
            moved = of_mean * abs(one_w[x] - other_w[x]) * np.sqrt(inverse)
            moved = max(moved, of_square * share_w[x] * inverse)
            share_w[x] = min(max(one + steep * (one - moved), zero), one)
            narrow_w[x] = of_pixel * inverse


@inlined
def _mean_of_cells(means_w, sums_W, rows, across):  # type: ignore[no-untyped-def]
    """Compute means of cells of `across` columns from the sums of `rows` samples."""
    whole, share = len(sums_W) // across, np.float32(1) / np.float32(rows * across)
    if across == SIDE:
        for column in range(whole):
            x = SIDE * column
            left = (sums_W[x] + sums_W[x + 1]) + (sums_W[x + 2] + sums_W[x + 3])
            right = (sums_W[x + 4] + sums_W[x + 5]) + (sums_W[x + 6] + sums_W[x + 7])
            means_w[column] = share * (left + right)
    else:
        for column in range(whole):
            x = SIDE // 2 * column
            means_w[column] = share * ((sums_W[x] + sums_W[x + 1]) + (sums_W[x + 2] + sums_W[x + 3]))
    if whole < len(means_w):
        means_w[whole] = np.mean(sums_W[whole * across :]) / np.float32(rows)


@compiled
def _average(written_HS, still_HW, others, down, across, dither_DW):  # type: ignore[no-untyped-def]
    """Write the dithered mean of a plane. `others`: four frames' plane, and its cells' shares and narrowness."""
    first, second, third, fourth = others
    width = still_HW.shape[1]
    values_W, sums_W, weights_W = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    shares_NW, narrows_NW = np.empty((4, width), np.float32), np.empty((4, width), np.float32)
    for y in range(len(still_HW)):
        if y % down == 0:
            _spread(shares_NW[0], narrows_NW[0], first, y // down, across)
            _spread(shares_NW[1], narrows_NW[1], second, y // down, across)
            _spread(shares_NW[2], narrows_NW[2], third, y // down, across)
            _spread(shares_NW[3], narrows_NW[3], fourth, y // down, across)
        _begin(values_W, sums_W, weights_W, still_HW[y])
        _add(sums_W, weights_W, values_W, first[0][y], shares_NW[0], narrows_NW[0])
        _add(sums_W, weights_W, values_W, second[0][y], shares_NW[1], narrows_NW[1])
        _add(sums_W, weights_W, values_W, third[0][y], shares_NW[2], narrows_NW[2])
        _add(sums_W, weights_W, values_W, fourth[0][y], shares_NW[3], narrows_NW[3])
        _end(written_HS[y], values_W, sums_W, weights_W, dither_DW[y % len(dither_DW)])


@inlined
def _begin(values_W, sums_W, weights_W, still_W):  # type: ignore[no-untyped-def]
    for x in range(len(values_W)):
        values_W[x], sums_W[x], weights_W[x] = np.float32(still_W[x]), np.float32(0), np.float32(1)


@inlined
def _add(sums_W, weights_W, values_W, other_W, share_W, narrow_W):  # type: ignore[no-untyped-def]
    """Add another frame's differences times their weights, and the weights."""
    for x in range(len(values_W)):
        difference = np.float32(other_W[x]) - values_W[x]
        weight = share_W[x] * max(np.float32(1) - difference * difference * narrow_W[x], np.float32(0))
        sums_W[x] += weight * difference
        weights_W[x] += weight


@inlined
def _end(written_S, values_W, sums_W, weights_W, dither_W):  # type: ignore[no-untyped-def]
    for x in range(len(values_W)):
        written_S[x] = np.int32(values_W[x] + sums_W[x] / weights_W[x] + dither_W[x])


@inlined
def _spread(share_W, narrow_W, other, row, across):  # type: ignore[no-untyped-def]
    """Repeat a row of cells for each sample."""
    _, share_hw, narrowness_hw = other
    _repeat(share_W, share_hw[row], across)
    _repeat(narrow_W, narrowness_hw[row], across)


@inlined
def _repeat(values_W, cells_w, across):  # type: ignore[no-untyped-def]
    whole = len(values_W) // across
    if across == SIDE:
        for column in range(whole):
            for x in range(SIDE):
                values_W[SIDE * column + x] = cells_w[column]
    else:
        for column in range(whole):
            for x in range(SIDE // 2):
                values_W[SIDE // 2 * column + x] = cells_w[column]
    values_W[whole * across :] = cells_w[len(cells_w) - 1]
