"""Made darkness is darkness, and colour temperature is no dimmer."""

import pytest
import torch

from model.darkening import darken, tint, to_linear, to_srgb, underexpose


def test_darkening_takes_light_and_stores_8_bits() -> None:
    generator = torch.Generator().manual_seed(5)
    photo = torch.rand(64, 3, 64, 64, generator=generator) * 0.5 + 0.4
    dark = darken(photo, generator)
    assert torch.equal((dark * 255).round() / 255, dark)
    assert (dark.mean((1, 2, 3)) <= photo.mean((1, 2, 3)) + 0.01).all()
    assert dark.mean() < 0.6 * photo.mean()
    untouched = (dark - photo).abs().mean((1, 2, 3)) < 0.02
    assert 0 < untouched.float().mean() < 0.4  # some stay as bright as they were


def test_the_lighter_exposure_is_lighter_than_the_darker_one() -> None:
    photo = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(7)) * 0.5 + 0.4
    lighter, darker = (make(photo, torch.Generator().manual_seed(8)) for make in (underexpose, darken))
    assert darker.mean() < lighter.mean() <= photo.mean() + 0.01
    assert torch.equal((lighter * 255).round() / 255, lighter)


def test_a_tint_keeps_the_strongest_channel_and_takes_from_the_others() -> None:
    photo = torch.full((16, 3, 4, 4), 0.5)
    tinted = tint(photo, torch.Generator().manual_seed(6))
    assert torch.allclose(tinted.amax(1), photo.amax(1), atol=1e-4)
    assert tinted.amin() > 0.25


def test_linear_light_and_back() -> None:
    levels = torch.linspace(0, 1, 256)
    assert torch.allclose(to_srgb(to_linear(levels)), levels, atol=1e-5)
    assert to_linear(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-4)
