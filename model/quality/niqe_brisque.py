"""No-reference quality by natural scene statistics: NIQE and BRISQUE, lower is better.

Both take mean-subtracted, contrast-normalised (MSCN) luma, whose distribution is similar in all good photos, and fit
asymmetric generalised Gaussians (AGGD) to it and to the products of neighbours, at two scales: 36 features.

    NIQE      distance of the features of 96x96 blocks from those of pristine photos (Mittal, Soundararajan and
              Bovik, "Making a Completely Blind Image Quality Analyzer", IEEE Signal Processing Letters, 2013)
    BRISQUE   support vector regression from the features of the whole image to the opinions of viewers (Mittal,
              Moorthy and Bovik, "No-Reference Image Quality Assessment in the Spatial Domain", IEEE TIP, 2012)

The parameters are the authors' own, so scores are on the published scales; see `weights/NATURAL_SCENES.md`. NIQE takes
luma in studio range, as MATLAB's rgb2ycbcr returns it: the usual choice of papers on enhancement.

Tensor suffixes: B blocks, H height, W width, F features. All is float64, as features are small differences of large
numbers.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

PARAMETERS = Path(__file__).parents[1] / "weights" / "natural_scenes.safetensors"
BLOCK_PX = 96
LUMA = 0.299, 0.587, 0.114  # of R, G, B (BT.601)
STUDIO_LUMA = 65.481 / 255, 128.553 / 255, 24.966 / 255  # the same in studio range, above its black of 16
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # shifts of an image, in rows and columns
ROUNDING = 1e-9  # of luma: far above float64's errors, far below a level
TINY = 1e-6  # standard deviation of a side that has no samples


class Aggd(NamedTuple):
    """Asymmetric generalised Gaussians, one for each block: every field is `_B`."""

    shape: Tensor
    left: Tensor
    """Standard deviation of the samples below zero."""
    right: Tensor

    @property
    def spread(self) -> Tensor:
        """Return the scale parameter of a side in units of its standard deviation."""
        return torch.exp((torch.lgamma(1 / self.shape) - torch.lgamma(3 / self.shape)) / 2)

    @property
    def mean(self) -> Tensor:
        gammas = torch.exp(torch.lgamma(2 / self.shape) - torch.lgamma(1 / self.shape))
        return (self.right - self.left) * self.spread * gammas


def niqe(pixels_HW3: Tensor) -> float | None:
    """Compute the NIQE of a uint8 RGB image; None if it has no usable block of 96x96 pixels."""
    luma_HW = (luma(pixels_HW3, STUDIO_LUMA) + 16).round()
    rows, columns = luma_HW.shape[0] // BLOCK_PX, luma_HW.shape[1] // BLOCK_PX
    if not rows or not columns:
        return None
    luma_HW = luma_HW[: rows * BLOCK_PX, : columns * BLOCK_PX]
    features_BF = torch.cat(
        [
            _niqe_features(_blocks(mscn(luma_HW), BLOCK_PX)),
            _niqe_features(_blocks(mscn(half_size(luma_HW)), BLOCK_PX // 2)),
        ],
        dim=1,
    )
    features_BF = features_BF[features_BF.isfinite().all(dim=1)]
    if not len(features_BF):
        return None
    pristine = _parameters()
    covariance = torch.cov(features_BF.T) if len(features_BF) > 1 else torch.zeros_like(pristine["niqe.covariance"])
    gap_F = pristine["niqe.mean"] - features_BF.mean(dim=0)
    inverse = torch.linalg.pinv((pristine["niqe.covariance"] + covariance) / 2, hermitian=True)
    return math.sqrt(max(0.0, float(gap_F @ inverse @ gap_F)))


def brisque(pixels_HW3: Tensor) -> float:
    """Compute the BRISQUE of a uint8 RGB image: about 0 to 100, a little more or less for extremes."""
    full_HW = luma(pixels_HW3, LUMA)
    features_F = torch.cat([_brisque_features(mscn(scale_HW)[None])[0] for scale_HW in (full_HW, half_size(full_HW))])
    svr = _parameters()
    low_F, high_F = svr["brisque.low"], svr["brisque.high"]
    scaled_F = 2 * (features_F - low_F) / (high_F - low_F) - 1
    distances = (svr["brisque.vectors"] - scaled_F).square().sum(dim=1)
    return float(svr["brisque.coefficients"] @ torch.exp(-svr["brisque.gamma"] * distances) - svr["brisque.rho"])


def luma(pixels_HW3: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Return the weighted sum of the channels, float64, in the range of the pixels; one by one, to save memory."""
    red, green, blue = (pixels_HW3[..., channel].double() * weight for channel, weight in enumerate(weights))
    return red.add_(green).add_(blue)


def mscn(luma_HW: Tensor) -> Tensor:
    """Compute mean-subtracted, contrast-normalised luma from luma of 0 to 255: 7x7 Gaussian window, border repeated.

    The result is exactly 0 where luma is flat, as the fits count signs, which rounding errors must not decide.
    """
    offsets = torch.arange(-3, 4, dtype=torch.float64)
    taps = torch.exp(-offsets.square() / (2 * (7 / 6) ** 2))
    taps /= taps.sum()
    mean_HW = _blurred(luma_HW, taps)
    deviation_HW = (_blurred(luma_HW.square(), taps) - mean_HW.square()).abs().sqrt()
    difference_HW = luma_HW - mean_HW
    return torch.where(difference_HW.abs() < ROUNDING, 0.0, difference_HW) / (deviation_HW + 1)


def half_size(luma_HW: Tensor) -> Tensor:
    """Halve the size by bicubic interpolation with antialiasing, as MATLAB's imresize does; border mirrored."""
    at = (torch.arange(8, dtype=torch.float64) - 3.5).abs() / 2  # between pixels 2i and 2i + 1
    near, far = 1.5 * at**3 - 2.5 * at**2 + 1, -0.5 * at**3 + 2.5 * at**2 - 4 * at + 2
    taps = torch.where(at <= 1, near, far)
    taps /= taps.sum()
    for dim in (0, 1):
        length = luma_HW.shape[dim]
        index = torch.arange(-3, length + 5).remainder(2 * length)
        mirrored = luma_HW.index_select(dim, torch.minimum(index, 2 * length - 1 - index))
        halves = (length + 1) // 2
        luma_HW = sum(tap * _every_second(mirrored, dim, start, halves) for start, tap in enumerate(taps.tolist()))
    return luma_HW


def fit_aggd(samples_BHW: Tensor) -> Aggd:
    """Fit an asymmetric generalised Gaussian to each block by matching moments (Lasmar et al., ICIP 2009)."""
    squares_BHW = samples_BHW.square()
    left_B, right_B = (_deviation(squares_BHW, side) for side in (samples_BHW < 0, samples_BHW > 0))
    skew_B = left_B / right_B
    ratio_B = samples_BHW.abs().mean(dim=(1, 2)).square() / squares_BHW.mean(dim=(1, 2)).clamp_min(1e-12)
    ratio_B = ratio_B * (skew_B**3 + 1) * (skew_B + 1) / (skew_B.square() + 1).square()
    return Aggd(_shape(ratio_B), left_B, right_B)


def _niqe_features(mscn_BHW: Tensor) -> Tensor:
    own = fit_aggd(mscn_BHW)
    features = [own.shape, (own.left + own.right) * own.spread / 2]
    for shift in NEIGHBOURS:
        fit = fit_aggd(mscn_BHW * mscn_BHW.roll(shift, (1, 2)))
        features += [fit.shape, fit.mean, fit.left * fit.spread, fit.right * fit.spread]
    return torch.stack(features, dim=1)


def _brisque_features(mscn_BHW: Tensor) -> Tensor:
    own = fit_aggd(mscn_BHW)
    features = [own.shape, (own.left.square() + own.right.square()) / 2]
    for shift in NEIGHBOURS:
        fit = fit_aggd(mscn_BHW * mscn_BHW.roll(shift, (1, 2)))
        features += [fit.shape, fit.mean, fit.left.square(), fit.right.square()]
    return torch.stack(features, dim=1)


def _blocks(image_HW: Tensor, side: int) -> Tensor:
    """Cut the image into squares: `_BHW`, row by row."""
    rows, columns = image_HW.shape[0] // side, image_HW.shape[1] // side
    return image_HW.view(rows, side, columns, side).transpose(1, 2).reshape(-1, side, side)


def _blurred(image_HW: Tensor, taps: Tensor) -> Tensor:
    reach = len(taps) // 2
    for dim in (0, 1):
        length = image_HW.shape[dim]
        padded = image_HW.index_select(dim, torch.arange(-reach, length + reach).clamp(0, length - 1))
        image_HW = sum(tap * padded.narrow(dim, start, length) for start, tap in enumerate(taps.tolist()))
    return image_HW


def _every_second(image_HW: Tensor, dim: int, start: int, count: int) -> Tensor:
    rows = image_HW.narrow(dim, start, 2 * count - 1)
    return rows[::2] if dim == 0 else rows[:, ::2]


def _deviation(squares_BHW: Tensor, side_BHW: Tensor) -> Tensor:
    """Compute the root mean square of the samples on one side of zero; TINY if there are none."""
    count_B = side_BHW.sum(dim=(1, 2))
    root_B = ((squares_BHW * side_BHW).sum(dim=(1, 2)) / count_B.clamp_min(1)).sqrt()
    return torch.where(count_B > 0, root_B, TINY)


def _shape(ratio_B: Tensor) -> Tensor:
    """Find the shape parameter, from 0.2 to 10, whose generalised Gaussian has this ratio of moments."""
    shapes, ratios = _shape_table()
    above = torch.searchsorted(ratios, ratio_B.nan_to_num(0.0)).clamp(1, len(ratios) - 1)
    nearer_below = ratio_B - ratios[above - 1] <= ratios[above] - ratio_B
    return shapes[above - nearer_below.long()]


@lru_cache(1)
def _shape_table() -> tuple[Tensor, Tensor]:
    """Return shapes and the ratio E(|x|)^2 / E(x^2) of each, which grows with the shape."""
    shapes = torch.arange(200, 10001, dtype=torch.float64) / 1000
    gammas = 2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes)
    return shapes, torch.exp(gammas)


@lru_cache(1)
def _parameters() -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in load_file(PARAMETERS).items()}
