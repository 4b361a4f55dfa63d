"""Made darkness is darkness, and colour temperature is no dimmer."""

import pytest
import torch

from model.training import augment
from model.training.augment import LEFT_LIGHT, SHADE_SHARE, darken, tint, to_linear, to_srgb, underexpose


def test_darkening_takes_light_and_stores_8_bits() -> None:
    generator = torch.Generator().manual_seed(5)
    photo = torch.rand(64, 3, 64, 64, generator=generator) * 0.5 + 0.4
    dark = darken(photo, generator)
    assert torch.equal((dark * 255).round() / 255, dark)
    assert (dark.mean((1, 2, 3)) <= photo.mean((1, 2, 3)) + 0.01).all()
    assert dark.mean() < 0.6 * photo.mean()
    untouched = (dark - photo).abs().mean((1, 2, 3)) < 0.02
    assert 0 < untouched.float().mean() < 0.4  # some stay as bright as they were


def test_as_many_photos_as_said_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_add_noise", lambda light, generator: light)
    photo = torch.full((2000, 3, 2, 2), 200 / 255)
    untouched = (darken(photo, torch.Generator().manual_seed(10)) == photo).all((1, 2, 3))
    assert untouched.float().mean().item() == pytest.approx(LEFT_LIGHT, abs=0.03)  # five deviations of such a count


@pytest.mark.parametrize("shape", ["_cloud", "_half_plane", "_ellipse"])
def test_a_part_of_the_photo_is_shaded(monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    for name in ("_cloud", "_half_plane", "_ellipse"):
        monkeypatch.setattr(augment, name, getattr(augment, shape))
    masks = augment._shade_mask(torch.full((100, 3, 48, 64), 0.5), torch.Generator().manual_seed(11))
    assert masks.shape == (100, 1, 48, 64)
    assert 0 <= masks.min() < 0.1 < 0.9 < masks.max() <= 1
    low, high = SHADE_SHARE
    shares = (masks > 0.5).float().mean((1, 2, 3))
    assert low - 0.01 <= shares.min() <= shares.max() <= high + 0.01
    assert shares.mean().item() == pytest.approx((low + high) / 2, abs=0.05)
    assert low < masks.mean().item() < high


def test_masks_that_follow_the_photo_lie_on_what_is_darker(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = torch.full((100, 3, 48, 64), 0.2)
    photo[..., 32:] = 0.8

    def dark_side_more(following: float) -> float:
        monkeypatch.setattr(augment, "FOLLOWING", following)
        masks = augment._shade_mask(photo, torch.Generator().manual_seed(12))
        return (masks[..., :32].mean() - masks[..., 32:].mean()).item()

    assert abs(dark_side_more(0.0)) < 0.1
    assert dark_side_more(1.0) > 0.3


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
