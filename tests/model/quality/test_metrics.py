"""Scores: known pictures have known ones, worse pictures have worse ones, and small or flat ones break nothing."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from model.quality.metrics import Pixels, against_reference, statistics, without_reference
from model.quality.niqe_brisque import fit_aggd, half_size, mscn
from tests.support.killed import ROOT
from tests.support.media import night

PHOTO = ROOT / "infra" / "samples" / "photos" / "otters.jpg"


def scene() -> Pixels:
    """A part of a real photo: no code draws the statistics of nature."""
    with Image.open(PHOTO) as photo:
        left, top = (photo.width - 300) // 2, (photo.height - 200) // 2
        return np.array(photo.convert("RGB").crop((left, top, left + 300, top + 200)))


def blurred(picture: Pixels) -> Pixels:
    return np.array(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(3)))


def noisy(picture: Pixels) -> Pixels:
    return (picture + np.random.default_rng(1).normal(0, 25, picture.shape)).clip(0, 255).astype(np.uint8)


def test_scores_against_a_reference_are_scikit_images() -> None:
    picture, reference = night(90, 70, seed=1), scene()[:70, :90]
    scores = against_reference(picture, reference)
    assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(reference, picture), abs=1e-9)
    assert scores["psnr"] == pytest.approx(-10 * math.log10(mean_squared_error(picture / 255, reference / 255)))
    expected = structural_similarity(picture / 255, reference / 255, channel_axis=2, data_range=1.0)
    assert scores["ssim"] == pytest.approx(expected, abs=1e-9)
    assert scores["mae"] == pytest.approx(np.abs(picture / 255 - reference / 255).mean(), abs=1e-12)


def test_equal_pictures_score_best() -> None:
    assert against_reference(night(), night()) == {"psnr": 120.0, "ssim": pytest.approx(1.0), "mae": 0.0}


def test_other_sizes_are_refused_and_small_ones_have_no_ssim() -> None:
    with pytest.raises(ValueError, match="96x64 pixels, but its reference has 40x30"):
        against_reference(night(96, 64), night(40, 30))
    assert against_reference(night(6, 50), night(6, 50))["ssim"] is None


def test_statistics_of_a_known_picture() -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:5] = (255, 102, 51)
    scores = statistics(picture)
    assert scores["luma"] == pytest.approx((0.299 + 0.587 * 0.4 + 0.114 * 0.2) / 2)
    assert scores["dark"] == 0.5
    assert scores["clipped_high"] == pytest.approx(1 / 6)
    assert scores["clipped_low"] == 0.5
    assert scores["cast"] == pytest.approx(0.5 - 0.1)


@pytest.mark.parametrize("worsened", [blurred, noisy])
def test_worse_pictures_have_higher_no_reference_scores(worsened: Callable[[Pixels], Pixels]) -> None:
    good, bad = without_reference(scene()), without_reference(worsened(scene()))
    assert good["niqe"] < bad["niqe"]
    assert good["brisque"] < bad["brisque"]


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (95, 96), (7, 3)])
def test_small_pictures_have_no_niqe_and_break_nothing(size: tuple[int, int]) -> None:
    scores = without_reference(night(*size))
    assert scores["niqe"] is None
    assert math.isfinite(scores["brisque"])


def test_flat_pictures_score_badly_and_alike_whatever_their_level() -> None:
    flat = [without_reference(np.full((100, 100, 3), level, np.uint8)) for level in (0, 90, 255)]
    assert flat[0] == pytest.approx(flat[1])
    assert flat[0] == pytest.approx(flat[2])
    assert flat[0]["niqe"] > 20


def test_mscn_ignores_brightness_and_half_size_halves() -> None:
    luma_HW = torch.from_numpy(scene()[..., 1]).double()
    assert torch.allclose(mscn(luma_HW), mscn(luma_HW + 20), atol=1e-9)
    assert half_size(luma_HW).shape == (100, 150)
    assert half_size(luma_HW[:199, :1]).shape == (100, 1)
    assert torch.allclose(half_size(torch.full((9, 8), 70.0).double()), torch.tensor(70.0).double())
    ramp_HW = torch.arange(64.0).double().repeat(64, 1)
    assert torch.allclose(half_size(ramp_HW)[8, 8:24], 2 * torch.arange(8.0, 24).double() + 0.5)  # between two pixels


def test_a_known_distribution_is_fitted() -> None:
    generator = torch.Generator().manual_seed(3)
    normal_BHW = torch.randn(1, 300, 300, generator=generator).double()
    fit = fit_aggd(3 * normal_BHW)
    assert fit.shape.item() == pytest.approx(2, abs=0.1)
    assert fit.left.item() == pytest.approx(3, abs=0.06)
    assert fit.right.item() == pytest.approx(3, abs=0.06)
    assert fit.mean.item() == pytest.approx(0, abs=0.05)
