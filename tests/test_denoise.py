import numpy as np
import pytest
import torch
from torch import Tensor

from model import apply_curve
from model.denoise import HALO_PX, denoise, local_gain


def _noisy(level: float = 0.4, deviation: float = 0.04, channels: int = 3) -> Tensor:
    """A flat field with the noise that is left of one level of 8 bits after a gain of 10."""
    random = np.random.default_rng(8)
    return torch.from_numpy(level + random.normal(0, deviation, (1, channels, 64, 96))).float()


def _gain(value: float) -> Tensor:
    return torch.full((1, 1, 64, 96), value)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_nothing_changes_where_nothing_was_amplified(channels: int, gain: float) -> None:
    image = _noisy(channels=channels)
    assert torch.equal(denoise(image, _gain(gain), 1.0), image)
    assert torch.equal(denoise(image, _gain(10.0), 0.0), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_falls_and_brightness_stays(channels: int) -> None:
    image = _noisy(channels=channels)
    smooth = denoise(image, _gain(10.0), 1.0)
    assert (smooth.std(dim=(2, 3)) < 0.35 * image.std(dim=(2, 3))).all()
    assert torch.allclose(smooth.mean(dim=(2, 3)), image.mean(dim=(2, 3)), atol=1e-3)


def test_more_strength_and_more_gain_smooth_more() -> None:
    image = _noisy()
    for settings in ([(3.0, 1.0), (10.0, 1.0), (30.0, 1.0)], [(10.0, 0.3), (10.0, 1.0), (10.0, 2.0)]):
        left = [float(denoise(image, _gain(gain), strength).std()) for gain, strength in settings]
        assert left == sorted(left, reverse=True)
        assert left[0] < float(image.std())


def test_an_edge_survives() -> None:
    image = _noisy(level=0.1)
    image[..., 48:] += 0.7
    smooth = denoise(image, _gain(10.0), 1.0)
    step = smooth[..., 48].mean() - smooth[..., 47].mean()
    assert step > 0.85 * 0.7


def test_a_coloured_edge_survives_without_an_edge_in_luma() -> None:
    image = torch.full((1, 3, 64, 96), 0.4)
    image[:, 0, :, 48:] += 0.3
    image[:, 1, :, 48:] -= 0.3 * 0.299 / 0.587
    smooth = denoise(image, _gain(3.0), 1.0)
    assert smooth[0, 0, :, 48].mean() - smooth[0, 0, :, 47].mean() > 0.75 * 0.3


def test_smoothing_colour_leaves_luma_alone_where_it_is_flat() -> None:
    luma = torch.tensor([0.299, 0.587, 0.114])
    image = _noisy()
    image += (0.4 - torch.einsum("bchw,c->bhw", image, luma))[:, None]
    smooth = denoise(image, _gain(10.0), 1.0)
    assert smooth.std() < 0.35 * image.std()
    assert (torch.einsum("bchw,c->bhw", smooth, luma) - 0.4).abs().max() < 1e-5


def test_grey_in_colour_stays_grey() -> None:
    grey = _noisy(channels=1)
    colour = denoise(grey.expand(-1, 3, -1, -1), _gain(10.0), 1.0)
    assert (colour - denoise(grey, _gain(10.0), 1.0)).abs().max() < 1e-5


def test_a_band_with_its_halo_equals_those_rows_of_the_whole() -> None:
    image, gain = _noisy(), _gain(10.0) * torch.linspace(0.1, 2, 64)[:, None]
    whole = denoise(image, gain, 1.0)
    seen = slice(20 - HALO_PX, 30 + HALO_PX)
    band = denoise(image[..., seen, :], gain[..., seen, :], 1.0)
    assert torch.equal(band[..., HALO_PX:-HALO_PX, :], whole[..., 20:30, :])


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 4)])
def test_images_smaller_than_a_window(size: tuple[int, int]) -> None:
    smooth = denoise(torch.full((1, 3, *size), 0.4), torch.full((1, 1, *size), 10.0), 1.0)
    assert torch.allclose(smooth, torch.full((1, 3, *size), 0.4), atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.02, 0.5, 1.0])
def test_the_gain_is_the_slope_of_the_curve(level: float) -> None:
    torch.manual_seed(0)
    passes = [-0.6 * torch.rand(1, 8, 1, 64, 96), 0.2 * torch.rand(1, 8, 1, 64, 96)]
    x = torch.full((1, 1, 64, 96), level, dtype=torch.float64, requires_grad=True)
    enhanced = x
    for maps in passes:
        enhanced = apply_curve(enhanced, maps.double(), 10)
    (slope,) = torch.autograd.grad(enhanced.sum(), x)
    gain = local_gain(torch.full((1, 3, 64, 96), level), passes, 10, "srgb")
    assert torch.allclose(gain.double(), slope, rtol=1e-3)


def test_a_curve_that_does_nothing_has_a_gain_of_exactly_one() -> None:
    assert torch.equal(local_gain(_noisy(), [torch.zeros(1, 8, 3, 64, 96)], 8, "srgb"), _gain(1.0))
    assert torch.equal(local_gain(_noisy(), [torch.rand(1, 8, 3, 64, 96)], 0, "srgb"), _gain(1.0))
