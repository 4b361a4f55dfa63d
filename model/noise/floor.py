"""The floor of a photo or frame: the smallest differences that its camera and its coding keep, in luma and in colour.

Noise is measured at each brightness, in the flattest of many blocks of pixels (after Liu, Szeliski et al., "Automatic
Estimation and Removal of Noise from a Single Image", TPAMI 2008). Among blocks of similar luma, the flattest fifth is
chosen by low frequencies, which noise hardly affects. In these, noise is the deviation of the diagonal differences of
two pixels by two, which ramps do not affect. A low quantile is taken, as detail in a block only adds to it.

Dark areas that a video's codec discarded have no noise at all. They are recognised by squares near black of one value.

Suffixes: N blocks, S pixels along a block's side, L levels of luma, C planes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.compiled import compiled
from model.curve.light import BT709, Shares

Floats = npt.NDArray[np.float32]

CODE = 1 / 255
LEVELS = np.linspace(0, 1, 17, dtype=np.float32) ** 2  # luma at which noise is given
SIDE = 8  # pixels of a block
MOST_BLOCKS = 2500
MOST_COARSE_BLOCKS = 1000  # of means of two by two pixels: colour may have one sample for so many
BINS, LEAST_BLOCKS = 10, 8  # of luma, with equally many blocks in each; and blocks that a bin needs
FLAT = 0.2  # share of a bin's blocks that counts as flat
QUANTILE = 0.1, 0.763  # quantile taken of their deviations, and its value for noise of deviation 1
COLOUR_QUANTILE = 0.5, 0.979  # the same for colour: coding removes it from most blocks
MOST_TO_MEDIAN = 2.0  # limit of a bin's deviation in medians of all bins: its blocks may all be textured
DARKEST, DARK = 0.01, 0.1  # shares of an image that are taken for black and for dark: quantiles of luma
# the same in frames: codes are whole, so one quantile would jump while the scene hardly changes, and the light with it
DARKEST_OF_FRAMES, DARK_OF_FRAMES = DARKEST * np.geomspace(1 / 8, 8, 9), DARK * np.geomspace(1 / 2, 2, 5)
MOST_BELOW = 1.5 * CODE  # how far black lies below the darkest at most: if dark is brighter, the darkest was seen, too
OF_FRAMES = 0.8  # share of MOST_BELOW that is dropped where a codec left nothing of the dark
# upper limits of black: in an image with noise, and in one whose dark was coded away
HIGHEST_BLACK, HIGHEST_BLACK_CODED = 4 * CODE, 12 * CODE
NEAR_BLACK = 8 * CODE  # above the darkest
UNIFORM = 1.2 * CODE  # largest range within a square of one value; above 1/219, a code of studio range
CODED_FROM, CODED_TO = 0.3, 0.55  # share of such squares among the dark ones: in photos, in strongly coded clips


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor of an image, in units where white is 1."""

    black: float
    """Luma of black."""
    plain: float
    """0: the dark parts differ in luma; 1: all are as dark as black."""
    coded_away: float
    """0: the dark has noise or detail; 1: a codec reduced it to single values. 0 for photos."""
    noise: Floats
    """Deviation of the luma's noise at LEVELS."""
    colour_noise: float
    """Deviation of the noise of R - Y and of B - Y together."""
    has_unseen: bool = True
    """Whether anything counts as not seen by the camera."""

    def noise_at(self, luma: float) -> float:
        return float(np.interp(luma, LEVELS, self.noise))

    def expecting(self, noise: float) -> "Floor":
        """Return this floor with noise of this deviation at every brightness and in each colour."""
        return replace(self, noise=np.full_like(self.noise, noise), colour_noise=noise * 2**0.5)

    def hiding(self, noise: float) -> "Floor":
        """Return this floor with at least this deviation of noise, which compression may have hidden in places."""
        colour_noise = max(self.colour_noise, noise * 2**0.5)
        return replace(self, noise=np.maximum(self.noise, np.float32(noise)), colour_noise=colour_noise)

    def all_seen(self) -> "Floor":
        """Return a floor with the same noise, of an image that the camera saw all of."""
        return replace(self, black=0.0, plain=0.0, coded_away=0.0, has_unseen=False)


MEASURED = "black", "plain", "coded_away", "noise", "colour_noise"
NO_FLOOR = Floor(0.0, 0.0, 0.0, np.zeros_like(LEVELS), 0.0)


def mean_floor(weighted: Iterable[tuple[float, Floor]]) -> Floor:
    """Average floors by their weights, which add up to 1."""
    parts = list(weighted)
    means = {name: sum(weight * getattr(floor, name) for weight, floor in parts) for name in MEASURED}
    return replace(parts[0][1], **means)


def floor_of(
    image_HWC: npt.NDArray[Any],
    box: int = 1,
    shares: Shares = BT709,
    *,
    is_frame: bool = False,
    visible: npt.NDArray[np.bool_] | None = None,
) -> Floor:
    """Find the floor of an image, RGB or grey, uint8 or uint16, from means of `box` x `box` pixels.

    `shares`: of red, green and blue in luma. `is_frame`: it is a frame of a video, whose codec may have reduced the
    dark to single values; in a photo, areas of one value are taken to be smooth. `visible`: HxW, the pixels that count;
    None: all.
    """
    image_HWC, unit = np.ascontiguousarray(image_HWC), 1 / np.iinfo(image_HWC.dtype).max
    blocks_CNSS = _blocks(image_HWC, box, MOST_BLOCKS, 0.0, unit, visible=visible)
    if image_HWC.shape[2] == 1:
        return _found(blocks_CNSS[0], [], is_frame)
    luma_NSS, *fine = _luma_and_colours(blocks_CNSS, shares)
    coarse_CNSS = _blocks(image_HWC, 2 * box, MOST_COARSE_BLOCKS, 0.0, unit, visible=visible)
    _, *coarse = _luma_and_colours(coarse_CNSS, shares)
    return _found(luma_NSS, [*zip(fine, coarse, strict=True)], is_frame)


def _luma_and_colours(blocks_CNSS: Floats, shares: Shares) -> list[Floats]:
    """Return luma, R - Y and B - Y of blocks of RGB."""
    red, green, blue = blocks_CNSS
    luma_NSS = red * shares[0] + green * shares[1] + blue * shares[2]
    return [luma_NSS, red - luma_NSS, blue - luma_NSS]


def floor_of_planes(
    planes: Sequence[npt.NDArray[Any]], width: int, across: int, numbers: Iterable[Any], box: int = 1
) -> Floor:
    """Find the floor of a YUV frame. `planes`: Y, Cb and Cr, including the padding of their lines.

    `width`: of the frame. `across`: pixels that a chroma sample covers. `numbers`: of their coding, see
    `cpu.Coding.numbers`. `box`: as in `floor_of`.
    """
    red, _, blue, black, span, grey, chroma_span, _ = map(float, numbers)
    luma_HS, *chroma = planes
    luma_NSS = _blocks(luma_HS[..., None], box, MOST_BLOCKS, black, 1 / span, width)[0].clip(0, 1)
    colours = []
    for plane_HS, share in zip(chroma, (blue, red), strict=True):
        unit, samples = 2 * (1 - share) / chroma_span, -(-width // across)
        fine, coarse = (
            _blocks(plane_HS[..., None], *blocks, grey, unit, samples)[0]
            for blocks in ((box, MOST_BLOCKS), (2 * box, MOST_COARSE_BLOCKS))
        )
        colours.append((fine, coarse))
    return _found(luma_NSS, colours, is_frame=True)


def _blocks(
    image_HWC: npt.NDArray[Any],
    box: int,
    most: int,
    zero: float,
    unit: float,
    seen: int | None = None,
    visible: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """Return at most `most` blocks, spread evenly over the image, as `blocks_CNSS`.

    `image_HWC`: copied if not contiguous. `zero`: the code of 0. `unit`: value of one code. `seen`: the part of the
    width that is not padding. `visible`: the pixels of which blocks may consist.
    """
    height, width, channels = image_HWC.shape
    width = width if seen is None else seen
    rows, columns = height // (SIDE * box), width // (SIDE * box)
    there = rows * columns if visible is None else len(usable := _all_visible(visible, SIDE * box, rows, columns))
    wanted = np.linspace(0, there - 1, min(there, most)).astype(np.int64)
    if visible is not None:
        wanted = usable[wanted]
    blocks_CNSS = np.empty((channels, len(wanted), SIDE, SIDE), np.float32)
    corners = wanted // max(columns, 1) * (SIDE * box), wanted % max(columns, 1) * (SIDE * box)
    image_HV = image_HWC.reshape(height, image_HWC.shape[1] * channels)
    _take(blocks_CNSS, image_HV, *corners, box, np.float32(zero), np.float32(unit))
    return blocks_CNSS


def _all_visible(visible: npt.NDArray[np.bool_], side: int, rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the blocks of `side` x `side` pixels that are visible entirely."""
    blocks = visible[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return np.flatnonzero(blocks.all(axis=(1, 3)))


@compiled
def _take(blocks_CNSS, image_HV, tops, lefts, box, zero, unit):  # type: ignore[no-untyped-def]
    """Write blocks of means of `box` x `box` pixels. `tops`, `lefts`: the blocks' first pixels."""
    channels, blocks, _, _ = blocks_CNSS.shape
    share, zero = unit / np.float32(box * box), zero * unit
    sums_V = np.empty(SIDE * box * channels, np.float32)
    for n in range(blocks):
        left = lefts[n] * channels
        for y in range(SIDE):
            sums_V[:] = 0
            for row in range(tops[n] + y * box, tops[n] + (y + 1) * box):
                row_V = image_HV[row, left : left + len(sums_V)]
                for v in range(len(sums_V)):
                    sums_V[v] += np.float32(row_V[v])
            for c in range(channels):
                values_V, row_S = sums_V[c:], blocks_CNSS[c, n, y]
                if box <= 2:  # most often: a loop of constant length
                    for x in range(SIDE):
                        last = values_V[(x * box + box - 1) * channels]
                        row_S[x] = (values_V[x * box * channels] + np.float32(box - 1) * last) * share - zero
                else:
                    for x in range(SIDE):
                        values = values_V[x * box * channels : (x + 1) * box * channels : channels]
                        row_S[x] = np.sum(values) * share - zero


@compiled
def _look(blocks_NSS, means_N, ranges_N, deviations_N, quarters_N4, spreads_N4):  # type: ignore[no-untyped-def]
    """Compute for each block its mean, the range of its quarters' means and the deviation of diagonal differences, and
    for each quarter its mean and the range of its pixels."""
    blocks, side, _ = blocks_NSS.shape
    half = side // 2
    for n in range(blocks):
        for q in range(4):
            top, left = q // 2 * half, q % 2 * half
            total, least, most = np.float32(0), blocks_NSS[n, top, left], blocks_NSS[n, top, left]
            for y in range(top, top + half):
                for x in range(left, left + half):
                    value = blocks_NSS[n, y, x]
                    total += value
                    least, most = min(least, value), max(most, value)
            quarters_N4[n, q], spreads_N4[n, q] = total / np.float32(half * half), most - least
        squares = np.float32(0)
        for y in range(0, side, 2):
            for x in range(0, side, 2):
                difference = blocks_NSS[n, y, x] + blocks_NSS[n, y + 1, x + 1]
                difference -= blocks_NSS[n, y, x + 1] + blocks_NSS[n, y + 1, x]
                squares += difference * difference
        deviations_N[n] = np.sqrt(squares / np.float32(side * side))
        means_N[n] = np.mean(quarters_N4[n])
        ranges_N[n] = np.max(quarters_N4[n]) - np.min(quarters_N4[n])


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Statistics of the blocks of one plane, as `_look` computes them."""

    means: Floats
    ranges: Floats
    deviations: Floats
    quarters: Floats
    spreads: Floats

    @classmethod
    def of(cls, blocks_NSS: Floats) -> "_Blocks":
        count = len(blocks_NSS)
        found = [np.empty(size, np.float32) for size in (count, count, count, (count, 4), (count, 4))]
        _look(np.ascontiguousarray(blocks_NSS), *found)
        return cls(*found)


def _found(luma_NSS: Floats, colours: Sequence[tuple[Floats, Floats]], is_frame: bool) -> Floor:
    """Compute a floor from blocks of luma, and for each colour blocks of pixels and of means of two by two."""
    if not len(luma_NSS):  # the image is smaller than a block
        return NO_FLOOR
    luma = _Blocks.of(luma_NSS)
    shares = (DARKEST_OF_FRAMES, DARK_OF_FRAMES) if is_frame else (DARKEST, DARK)
    darkest, dark = (float(np.mean(np.quantile(luma.quarters, share))) for share in shares)
    coded_away = _coded_away(luma, darkest) if is_frame else 0.0
    most = HIGHEST_BLACK + coded_away * (HIGHEST_BLACK_CODED - HIGHEST_BLACK)
    most = min(most, float(luma.means.mean()) / 2)  # so that part of an evenly dark image counts as seen
    plain = 1 - min((dark - darkest) / MOST_BELOW, 1.0)
    below = MOST_BELOW * (1 - plain) * (1 - OF_FRAMES * coded_away)
    black = max(min(darkest, most) - below, 0.0)
    lumas, deviations = _noise(luma)
    noise_L = np.interp(LEVELS, lumas, deviations).astype(np.float32) if len(lumas) else np.zeros_like(LEVELS)
    colour_noise = float(np.hypot.reduce([max(_deviation(each) for each in both) for both in colours], initial=0.0))
    return Floor(black, plain, coded_away, noise_L, colour_noise)


def _deviation(colour_NSS: Floats) -> float:
    deviations = _noise(_Blocks.of(colour_NSS), COLOUR_QUANTILE)[1]
    return float(np.median(deviations)) if len(deviations) else 0.0


def _coded_away(luma: _Blocks, darkest: float) -> float:
    spreads = luma.spreads[luma.quarters < darkest + NEAR_BLACK]
    if len(spreads) < LEAST_BLOCKS:
        return 0.0
    return float(np.clip(((spreads <= UNIFORM).mean() - CODED_FROM) / (CODED_TO - CODED_FROM), 0, 1))


def _noise(plane: _Blocks, quantile: tuple[float, float] = QUANTILE) -> tuple[Floats, Floats]:
    """Return the mean of each bin, rising, and the noise's deviation there. Few blocks make fewer bins, or none."""
    share, of_noise = quantile
    bins = min(BINS, len(plane.means) // LEAST_BLOCKS)
    lumas, deviations = np.empty((2, bins), np.float32)
    if not bins:
        return lumas, deviations
    order_N = np.argsort(plane.means, kind="stable")
    _noise_of_bins(lumas, deviations, plane.means[order_N], plane.ranges[order_N], plane.deviations[order_N], share)
    deviations /= np.float32(of_noise)
    order = np.argsort(lumas, kind="stable")
    return lumas[order], np.minimum(deviations[order], MOST_TO_MEDIAN * np.median(deviations))


@compiled
def _noise_of_bins(lumas, deviations, means_N, ranges_N, deviations_N, share):  # type: ignore[no-untyped-def]
    """Compute the mean luma of the flattest blocks of each bin, and the quantile `share` of their deviations."""
    bins, count = len(lumas), len(means_N)
    end = 0
    for place in range(bins):
        first, end = end, end + count // bins + (1 if place < count % bins else 0)
        ranges = ranges_N[first:end]
        most, total, flat = _quantile(ranges, FLAT), 0.0, 0
        chosen = np.empty(end - first, np.float32)
        for n in range(end - first):
            if ranges[n] <= most:
                chosen[flat] = deviations_N[first + n]
                total += means_N[first + n]
                flat += 1
        lumas[place], deviations[place] = total / flat, _quantile(chosen[:flat], share)


@compiled
def _quantile(values, share):  # type: ignore[no-untyped-def]
    """Compute a quantile, interpolated between the two values nearest in rank, as numpy does."""
    rising = np.sort(values)
    place = share * (len(rising) - 1)
    below = int(place)
    above = min(below + 1, len(rising) - 1)
    return rising[below] + (place - below) * (rising[above] - rising[below])
