"""The floor of a photo or frame: the least that its camera and its coding tell apart, in luma and in colour.

Noise is found by brightness, in the flattest of many blocks of pixels (after Liu, Szeliski et al., "Automatic
Estimation and Removal of Noise from a Single Image", TPAMI 2008): of blocks alike in luma, a fifth is taken by their
low frequencies, which noise hardly has a part in, and of these the deviation of the diagonal differences of two pixels
by two, which ramps have no part in. A low quantile is taken, since what is drawn there only adds to it.

What a codec coded to nothing has no noise at all. It is told by squares that are as dark as black and of one value.

Suffixes: N blocks, S pixels along a block's side, L levels of luma, C planes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.light import BT709

Floats = npt.NDArray[np.float32]

CODE = 1 / 255
LEVELS = np.linspace(0, 1, 17, dtype=np.float32) ** 2  # of luma, at which noise is told
SIDE = 8  # pixels of a block
MOST_BLOCKS = 6000
BINS = 10  # of luma, with as many blocks in each
LEAST_BLOCKS = 8  # of a bin that tells anything
FLAT = 0.2  # share of a bin's blocks
QUANTILE, OF_NOISE = 0.1, 0.763  # of the deviation of those; and where that lies for noise of a deviation of 1
MOST_TO_MEDIAN = 2.0  # a bin whose blocks are all textured tells no more than so many times what half the bins do
DARKEST = 0.01  # share of an image that is taken for black
HIGHEST_BLACK = (
    4 * CODE,
    12 * CODE,
)  # what is brighter is a part of the scene: in an image with noise, and in one without
NEAR_BLACK = 8 * CODE  # above black
UNIFORM = 1.2 * CODE  # the most that a square which was coded to nothing differs within: a code of 219, too
CODED_FROM, CODED_TO = 0.3, 0.55  # share of such squares among the dark ones: of photos, of strongly coded clips


@dataclass(frozen=True, slots=True)
class Floor:
    """All in units of a white of 1."""

    black: float
    """Luma of black."""
    coded_away: float
    """0: the dark has noise, or drawing; 1: a codec left single values of it."""
    noise_L: Floats
    """Deviation of the noise of luma, at LEVELS."""
    colour_noise: float
    """Deviation of the noise of R - Y and of B - Y together."""
    has_unseen: bool = True
    """Whether there is anything that the camera did not see."""

    def noise_at(self, luma: float) -> float:
        return float(np.interp(luma, LEVELS, self.noise_L))

    def expecting(self, noise: float) -> "Floor":
        """The same with noise of this deviation at every brightness and in each colour, whatever was found."""
        return replace(self, noise_L=np.full_like(self.noise_L, noise), colour_noise=noise * 2**0.5)

    def all_seen(self) -> "Floor":
        """The same noise, and nothing that the camera did not see."""
        return replace(self, black=0.0, coded_away=0.0, has_unseen=False)


NO_FLOOR = Floor(0.0, 0.0, np.zeros_like(LEVELS), 0.0)


def mean_floor(weighted: Iterable[tuple[float, Floor]]) -> Floor:
    """The mean of floors by their weights, which add up to 1."""
    black, coded_away, noise_L, colour_noise = 0.0, 0.0, np.zeros_like(LEVELS), 0.0
    for weight, floor in weighted:
        black += weight * floor.black
        coded_away += weight * floor.coded_away
        noise_L = noise_L + np.float32(weight) * floor.noise_L
        colour_noise += weight * floor.colour_noise
        has_unseen = floor.has_unseen
    return Floor(black, coded_away, noise_L, colour_noise, has_unseen)


def floor_of(image_HWC: npt.NDArray[Any], box: int = 1) -> Floor:
    """Find the floor of an image, RGB or grey, uint8 or uint16: of its pixels, or of means of `box` x `box` pixels."""
    blocks_NSSC = _blocks(image_HWC, box) * np.float32(1 / np.iinfo(image_HWC.dtype).max)
    if image_HWC.shape[2] == 1:
        return _found(blocks_NSSC[..., 0], [])
    luma_NSS = blocks_NSSC @ np.array(BT709, np.float32)
    return _found(luma_NSS, [blocks_NSSC[..., channel] - luma_NSS for channel in (0, 2)])


def floor_of_planes(
    luma_HW: npt.NDArray[Any], chroma: Sequence[npt.NDArray[Any]], numbers: Sequence[float], box: int = 1
) -> Floor:
    """Likewise of YUV planes without padding. `numbers`: of their coding, see `apply.Coding.numbers`."""
    red, _, blue, black, span, grey, chroma_span, _ = map(np.float32, numbers)
    luma_NSS = (_blocks(luma_HW[..., None], box)[..., 0] - black) / span
    colours = [
        (_blocks(plane_HW[..., None], box)[..., 0] - grey) * (2 * (1 - share) / chroma_span)
        for plane_HW, share in zip(chroma, (blue, red), strict=True)
    ]
    return _found(luma_NSS.clip(0, 1), colours)


def _blocks(image_HWC: npt.NDArray[Any], box: int) -> Floats:
    """`blocks_NSSC`: at most MOST_BLOCKS, spread evenly."""
    side = SIDE * box
    rows, columns = image_HWC.shape[0] // side, image_HWC.shape[1] // side
    whole = image_HWC[: rows * side, : columns * side].reshape(rows, side, columns, side, -1)
    wanted = np.linspace(0, rows * columns - 1, min(rows * columns, MOST_BLOCKS)).astype(int)
    blocks_NSSC = whole[wanted // max(columns, 1), :, wanted % max(columns, 1)].astype(np.float32)
    if box == 1:
        return blocks_NSSC
    return blocks_NSSC.reshape(-1, SIDE, box, SIDE, box, image_HWC.shape[2]).mean((2, 4))


def _found(luma_NSS: Floats, colours: Sequence[Floats]) -> Floor:
    if not len(luma_NSS):  # smaller than a block
        return NO_FLOOR
    quarters_N4 = luma_NSS.reshape(-1, 2, SIDE // 2, 2, SIDE // 2).mean((2, 4)).reshape(-1, 4)
    darkest = float(np.quantile(quarters_N4, DARKEST))
    coded_away = _coded_away(luma_NSS, quarters_N4, darkest)
    most = HIGHEST_BLACK[0] + coded_away * (HIGHEST_BLACK[1] - HIGHEST_BLACK[0])
    lumas, deviations = _noise(luma_NSS)
    noise_L = np.interp(LEVELS, lumas, deviations).astype(np.float32) if len(lumas) else np.zeros_like(LEVELS)
    of_colours = [_noise(colour_NSS)[1] for colour_NSS in colours]
    colour_noise = float(np.sqrt(sum(float(np.median(each)) ** 2 for each in of_colours if len(each))))
    return Floor(min(darkest, most), coded_away, noise_L, colour_noise)


def _coded_away(luma_NSS: Floats, quarters_N4: Floats, darkest: float) -> float:
    squares = luma_NSS.reshape(-1, 2, SIDE // 2, 2, SIDE // 2).swapaxes(2, 3).reshape(-1, (SIDE // 2) ** 2)
    dark = squares[quarters_N4.ravel() < darkest + NEAR_BLACK]
    if len(dark) < LEAST_BLOCKS:
        return 0.0
    uniform = float((np.ptp(dark, axis=1) <= UNIFORM).mean())
    return min(max((uniform - CODED_FROM) / (CODED_TO - CODED_FROM), 0.0), 1.0)


def _noise(plane_NSS: Floats) -> tuple[Floats, Floats]:
    """The mean of each bin, rising, and its deviation. Bins with too few blocks are left out."""
    if len(plane_NSS) < LEAST_BLOCKS:
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    means_N = plane_NSS.mean((1, 2))
    quarters_N4 = plane_NSS.reshape(-1, 2, SIDE // 2, 2, SIDE // 2).mean((2, 4)).reshape(-1, 4)
    ranges_N = np.ptp(quarters_N4, axis=1)
    even, odd = plane_NSS[:, ::2], plane_NSS[:, 1::2]
    diagonal = (even[..., ::2] + odd[..., 1::2] - even[..., 1::2] - odd[..., ::2]) / 2
    deviations_N = np.sqrt(np.square(diagonal).mean((1, 2)))
    found = []
    for bin_ in np.array_split(np.argsort(means_N, kind="stable"), min(BINS, len(means_N) // LEAST_BLOCKS)):
        flat = bin_[ranges_N[bin_] <= np.quantile(ranges_N[bin_], FLAT)]
        found.append((means_N[flat].mean(), np.quantile(deviations_N[flat], QUANTILE) / OF_NOISE))
    lumas, deviations = np.array(sorted(found), np.float32).T
    return lumas, np.minimum(deviations, MOST_TO_MEDIAN * np.median(deviations))
