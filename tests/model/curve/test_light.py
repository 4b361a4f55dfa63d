"""The curve in light, as the readable reference has it: what luma and colour become."""

import pytest
import torch
from torch import Tensor

from model.curve.light import FULL, from_light, lift, lift_luma, luma_of, to_light
from model.training.augment import to_linear


def _maps(strength: float) -> list[Tensor]:
    return [torch.full((1, 8, 2, 1, 1), strength)]


def test_light_and_back() -> None:
    coded = torch.linspace(0, 1, 1001)
    light = to_light(coded)
    assert (light[0], light[-1]) == (0, 1)
    assert (light - to_linear(coded)).abs().max() < 0.07  # nearly linear light
    torch.testing.assert_close(from_light(light), coded, atol=1e-6, rtol=0)


@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.4, 1.0])
def test_greys_stay_grey_in_order_and_in_range(strength: float) -> None:
    greys = torch.linspace(0, 1, 256).expand(1, 3, 1, 256)
    lifted = lift(greys, _maps(strength), 8, "light")
    torch.testing.assert_close(lifted, lifted[:, :1].expand(-1, 3, -1, -1), atol=1e-6, rtol=0)
    assert (lifted[0, 0, 0].diff() > -1e-6).all()
    assert lifted[..., 0].abs().max() < 1e-6
    assert lifted[..., -1].min() > 1 - 1e-6
    torch.testing.assert_close(lift(greys[:, :1], _maps(strength), 8, "light"), lifted[:, :1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.4, 1.0])
def test_every_colour_keeps_its_hue_and_stays_in_range(strength: float) -> None:
    colours = torch.rand(1, 3, 100, 100, generator=torch.Generator().manual_seed(0)).square()
    lifted = lift(colours, _maps(strength), 8, "light")
    assert lifted.min() > -1e-6
    assert lifted.max() < 1 + 1e-6
    before, after = (x - luma_of(x) for x in (colours, lifted))
    aligned = torch.nn.functional.cosine_similarity(before, after, dim=1)
    assert aligned[after.norm(dim=1) > 1e-3].min() > 0.999
    torch.testing.assert_close(luma_of(lifted), lift_luma(luma_of(colours), _maps(strength), 8)[0])


def test_no_channel_is_brought_to_full_by_its_colour() -> None:
    lamp = torch.tensor([0.6, 0.4, 0.05]).view(1, 3, 1, 1)
    assert lift(lamp, _maps(-0.2), 8, "light").max() <= FULL


def test_colour_is_lifted_less_than_luma_in_shadows() -> None:
    noise = torch.tensor([0.02, 0.01, 0.01]).view(1, 3, 1, 1)
    lifted = lift(noise, _maps(-0.9), 8, "light")
    of_luma, of_colour = luma_of(lifted) / luma_of(noise), _spread(lifted) / _spread(noise)
    assert 1 < of_colour.item() < 0.8 * of_luma.item()


def _spread(image: Tensor) -> Tensor:
    return image.amax(1) - image.amin(1)


def test_passes_are_one_tone_curve() -> None:
    image = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    two, sixteen = lift(image, _maps(-0.2) * 2, 8, "light"), lift(image, _maps(-0.2), 16, "light")
    torch.testing.assert_close(two, sixteen)
    torch.testing.assert_close(lift(image, _maps(0.0), 8, "light"), image, atol=1e-5, rtol=0)
