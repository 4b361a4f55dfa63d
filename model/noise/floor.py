"""The floor of a photo or frame: the smallest differences that its camera and its coding keep, in luma and in colour.

Noise is measured at each brightness, in the flattest of many blocks of pixels (after Liu, Szeliski et al., "Automatic
Estimation and Removal of Noise from a Single Image", TPAMI 2008). Among blocks of similar luma, the flattest fifth is
chosen by low frequencies, which noise hardly affects. In these, noise is the deviation of the diagonal differences of
two pixels by two, which ramps do not affect. A low quantile is taken, as detail in a block only adds to it.

Dark areas that a video's codec discarded have no noise at all. They are recognised by squares near black of one value.

Suffixes: N blocks, S pixels along a block's side, L levels of luma, C planes, H height, W width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.compiled import compiled
from model.curve.light import BT709, Shares
from model.noise.blocks import Blocks, blocks_of

Floats = npt.NDArray[np.float32]

CODE = 1 / 255
LEVELS = np.linspace(0, 1, 17, dtype=np.float32) ** 2  # luma at which noise is given
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
    luma, *fine = blocks_of(image_HWC, box, MOST_BLOCKS, 0.0, unit, visible=visible, shares=shares)
    if not fine:
        return _found(luma, [], is_frame)
    _, *coarse = blocks_of(image_HWC, 2 * box, MOST_COARSE_BLOCKS, 0.0, unit, visible=visible, shares=shares)
    return _found(luma, [*zip(fine, coarse, strict=True)], is_frame)


def floor_of_planes(
    planes: Sequence[npt.NDArray[Any]], width: int, across: int, numbers: Iterable[Any], box: int = 1
) -> Floor:
    """Find the floor of a YUV frame. `planes`: Y, Cb and Cr, including the padding of their lines.

    `width`: of the frame. `across`: pixels that a chroma sample covers. `numbers`: of their coding, see
    `cpu.Coding.numbers`. `box`: as in `floor_of`.
    """
    red, _, blue, black, span, grey, chroma_span, _ = map(float, numbers)
    luma_HS, *chroma = planes
    (luma,) = blocks_of(luma_HS[..., None], box, MOST_BLOCKS, black, 1 / span, width, limits=(0, 1))
    colours = []
    for plane_HS, share in zip(chroma, (blue, red), strict=True):
        unit, samples = 2 * (1 - share) / chroma_span, -(-width // across)
        fine, coarse = (
            blocks_of(plane_HS[..., None], *blocks, grey, unit, samples)[0]
            for blocks in ((box, MOST_BLOCKS), (2 * box, MOST_COARSE_BLOCKS))
        )
        colours.append((fine, coarse))
    return _found(luma, colours, is_frame=True)


def _found(luma: Blocks, colours: Sequence[tuple[Blocks, Blocks]], is_frame: bool) -> Floor:
    """Compute a floor from blocks of luma, and for each colour blocks of pixels and of means of two by two."""
    if not len(luma.means):  # the image is smaller than a block
        return NO_FLOOR
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


def _deviation(colour: Blocks) -> float:
    deviations = _noise(colour, COLOUR_QUANTILE)[1]
    return float(np.median(deviations)) if len(deviations) else 0.0


def _coded_away(luma: Blocks, darkest: float) -> float:
    spreads = luma.spreads[luma.quarters < darkest + NEAR_BLACK]
    if len(spreads) < LEAST_BLOCKS:
        return 0.0
    return float(np.clip(((spreads <= UNIFORM).mean() - CODED_FROM) / (CODED_TO - CODED_FROM), 0, 1))


def _noise(plane: Blocks, quantile: tuple[float, float] = QUANTILE) -> tuple[Floats, Floats]:
    """Return the mean of each bin, rising, and the noise's deviation there. Few blocks make fewer bins, or none."""
    share, of_noise = quantile
    bins = min(BINS, len(plane.means) // LEAST_BLOCKS)
    lumas, deviations = np.empty((2, bins), np.float32)
    if not bins:
        return lumas, deviations
    order_N = _rising(plane.means)
    _noise_of_bins(lumas, deviations, plane.means[order_N], plane.ranges[order_N], plane.deviations[order_N], share)
    deviations /= np.float32(of_noise)
    order = np.argsort(lumas, kind="stable")
    return lumas[order], np.minimum(deviations[order], MOST_TO_MEDIAN * np.median(deviations))


def _rising(values_N: Floats) -> npt.NDArray[np.int64]:
    """Return the stable order of values: whole numbers of their bits and places, which numpy sorts by SIMD."""
    bits_N = values_N.view(np.int32).astype(np.int64)
    bits_N = np.where(bits_N < 0, bits_N ^ 0x7FFFFFFF, bits_N)
    order_N: npt.NDArray[np.int64] = np.sort((bits_N << 32) + np.arange(len(bits_N))) & 0xFFFFFFFF
    return order_N


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
def _quantile(values_N, share):  # type: ignore[no-untyped-def]
    """Compute a quantile of values of 0 or more, interpolated between the two nearest in rank, as numpy does.

    The lower one is found by halving the range of its bits, which rise with the value: counts are SIMD, sorts are not.
    """
    bits_N = values_N.view(np.int32)
    place = share * (len(bits_N) - 1)
    rank = int(place)
    found = np.int32(0)
    for bit in range(30, -1, -1):
        higher, below = found | np.int32(1 << bit), 0
        for bits in bits_N:
            below += bits < higher
        if below <= rank:
            found = higher
    upto, above = 0, np.int32(0x7FFFFFFF)
    for bits in bits_N:
        upto += bits <= found
        above = min(above, bits if bits > found else above)
    two = np.array([found, found if upto > rank + 1 or rank + 1 == len(bits_N) else above], np.int32).view(np.float32)
    return two[0] + (place - rank) * (two[1] - two[0])
