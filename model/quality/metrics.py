"""Image quality: against a reference (PSNR, SSIM, MAE), without one (NIQE, BRISQUE), and plain statistics.

All take uint8 RGB pixels, HxWx3; a score is None if the image is too small for it. SSIM is scikit-image's, an optional
package that is imported only when there is a reference.
"""

import math

import numpy as np
import numpy.typing as npt
import torch

from model.quality.niqe_brisque import LUMA, brisque, luma, niqe

Pixels = npt.NDArray[np.uint8]  # HxWx3 RGB
Scores = dict[str, float | None]

FULL_REFERENCE = ("psnr", "ssim", "mae")
NO_REFERENCE = ("niqe", "brisque")
STATISTICS = ("luma", "dark", "clipped_high", "clipped_low", "cast")
DARK = 0.1  # mean luma below which a pixel counts as dark
SSIM_WINDOW_PX = 7
HIGHEST_PSNR_DB = 120.0  # of equal images, whose PSNR is infinite


def against_reference(image: Pixels, reference: Pixels) -> Scores:
    """Compute `psnr` in dB and `ssim` (higher is better) and `mae` in [0, 1] (lower is better), over all channels.

    SSIM: Wang et al., IEEE TIP 2004, with scikit-image's defaults: a uniform window of 7x7, the mean over channels.
    Raises ValueError if the sizes differ, ImportError without scikit-image.
    """
    from skimage.metrics import structural_similarity

    if image.shape != reference.shape:
        raise ValueError(f"the image has {_size(image)} pixels, but its reference has {_size(reference)}")
    large_enough = min(image.shape[:2]) >= SSIM_WINDOW_PX
    return {
        "psnr": psnr_db(image, reference),
        "ssim": float(structural_similarity(image, reference, channel_axis=2)) if large_enough else None,
        "mae": float(np.abs(image.astype(np.int16) - reference).mean()) / 255,
    }


def psnr_db(image: Pixels, reference: Pixels) -> float:
    """Compute the PSNR of two images of one size; HIGHEST_PSNR_DB if they are equal."""
    difference = image.astype(np.int16) - reference
    mean_square = float(np.square(difference, dtype=np.int32).mean()) / 255**2
    return min(HIGHEST_PSNR_DB, -10 * math.log10(max(mean_square, 1e-12)))


def without_reference(image: Pixels) -> Scores:
    """Compute `niqe` and `brisque`: how natural an image looks, lower is better."""
    pixels_HW3 = torch.from_numpy(np.require(image, requirements=["C", "W"]))
    return {"niqe": niqe(pixels_HW3), "brisque": brisque(pixels_HW3)}


def statistics(image: Pixels) -> Scores:
    """Compute plain statistics in [0, 1], neither good nor bad by themselves.

    `luma`: mean BT.601 luma. `dark`: share of pixels of luma below 0.1. `clipped_high`, `clipped_low`: share of channel
    values at 255 and at 0. `cast`: largest difference between the means of the channels.
    """
    luma_HW = luma(torch.from_numpy(np.require(image, requirements=["C", "W"])), LUMA) / 255
    means = image.mean(axis=(0, 1)) / 255
    return {
        "luma": float(luma_HW.mean()),
        "dark": float((luma_HW < DARK).double().mean()),
        "clipped_high": float((image == 255).mean()),
        "clipped_low": float((image == 0).mean()),
        "cast": float(means.max() - means.min()),
    }


def _size(image: Pixels) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
