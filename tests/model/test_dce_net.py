import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model import Architecture, CurveNetwork, DCENet, DCENetPlus, apply_curve, build, load
from model.dce_net import PUBLISHED_DCE, PUBLISHED_PLUS, GlobalContext
from model.training.recipes import NIGHT

PHOTOS = ("dicm", "lime", "grey", "noise")


def _weights(network: CurveNetwork) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_published_networks_have_the_published_number_of_weights() -> None:
    assert _weights(DCENet(PUBLISHED_DCE)) == 79_416
    assert _weights(DCENetPlus(PUBLISHED_PLUS)) == 10_561


@pytest.mark.parametrize("variant", ["dce", "plus"])
@pytest.mark.parametrize("map_channels", [1, 3])
def test_maps_have_the_size_of_the_image(variant: str, map_channels: int) -> None:
    architecture = Architecture(variant=variant, maps=5, map_channels=map_channels, context=True, encoded=True)
    maps = build(architecture)(torch.rand(2, 3, 7, 9))
    assert maps.shape == (2, 5, map_channels, 7, 9)
    assert maps.abs().max() < 1


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (32, 48)])
@pytest.mark.parametrize("grid_px", [1, 3, 4])
def test_in_light_maps_have_the_size_of_the_grid(grid_px: int, size: tuple[int, int]) -> None:
    network = build(Architecture(maps=5, map_channels=1, space="light", grid_px=grid_px))
    maps = network(torch.rand(2, 3, *size).bfloat16().float())
    assert maps.shape == (2, 5, 2, *(-(-side // grid_px) for side in size))
    assert maps.abs().max() <= 1
    assert network.architecture.map_px == grid_px


@pytest.mark.parametrize(("dilations", "reach_px"), [((1,) * 7, 7), ((1, 2, 4, 8, 1, 1, 1), 18)])
def test_dilated_convolutions_see_further_and_keep_the_size(dilations: tuple[int, ...], reach_px: int) -> None:
    network = build(Architecture(dilations=dilations, padding="replicate"))
    for weights in network.parameters():
        torch.nn.init.constant_(weights, 0.001 if weights.dim() == 4 else 0.1)
    image = torch.rand(1, 3, 41, 41, requires_grad=True)
    maps = network(image)
    assert maps.shape[-2:] == image.shape[-2:]
    maps[..., 20, 20].sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1, 2)).nonzero()
    assert (seen.min(), seen.max()) == (20 - reach_px, 20 + reach_px)


@pytest.mark.parametrize("variant", ["dce", "plus"])
@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("size", [(16, 16), (7, 13), (1, 1)])
def test_training_computes_the_same_maps_and_gradients_as_the_plain_convolutions(variant: str, padding, size) -> None:
    network = build(replace(NIGHT.architectures[variant], space="srgb", padding=padding))
    image = torch.rand(2, 3, *size)
    found = []
    for layout, training in ((torch.contiguous_format, False), (torch.channels_last, True)):
        network.train(training).zero_grad()
        maps = network(image.contiguous(memory_format=layout))
        (maps - 0.3).square().sum().backward()
        found.append([maps, *(parameter.grad for parameter in network.parameters())])
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-5 * float(plain.detach().abs().max()))


def test_the_gradient_of_the_context_is_that_of_the_formula() -> None:
    features, context = torch.rand(2, 32, 5, 6, dtype=torch.float64, requires_grad=True), GlobalContext()
    bias = context(features)
    flat = features.float().flatten(2)
    spread = (flat.var(dim=2, correction=0) + 1e-6).sqrt()
    expected = context.expand(torch.relu(context.squeeze(torch.cat([flat.mean(2), spread], dim=1))))
    torch.testing.assert_close(bias[:, :, 0, 0], expected)
    weights = torch.rand_like(expected)
    gradients = [torch.autograd.grad((x * weights).sum(), features)[0] for x in (bias[:, :, 0, 0], expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_gradient_of_a_flat_image_is_finite() -> None:
    network = build(Architecture(context=True, encoded=True, padding="replicate"))
    network(torch.zeros(1, 3, 16, 16)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    "wrong",
    [{"variant": "x"}, {"padding": "reflect"}, {"maps": 0}, {"map_channels": 2}, {"dilations": (1, 2)}, {"grid_px": 0}],
)
def test_an_architecture_that_does_not_exist_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(next(iter(wrong.values()))))):
        Architecture(**wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "reference" / "golden.npz") as arrays:
        return dict(arrays)


def _image(golden: dict[str, np.ndarray], photo: str) -> torch.Tensor:
    return torch.from_numpy(golden[f"{photo}.input"]).permute(2, 0, 1)[None] / 255


def _gap(found: torch.Tensor, expected: np.ndarray) -> float:
    return float((found - torch.from_numpy(expected).float()).abs().max())


@pytest.mark.parametrize("photo", PHOTOS)
@torch.inference_mode()
def test_published_dce_weights_give_the_published_pictures(shared: Path, golden, photo: str) -> None:
    network = load(shared / "reference" / "zero_dce_epoch99.pth").network
    image = _image(golden, photo)
    maps = network(image)
    assert _gap(maps.flatten(1, 2)[0], golden[f"{photo}.dce.maps"]) < 1e-3
    for iterations in (4, 8):
        assert _gap(apply_curve(image, maps, iterations)[0], golden[f"{photo}.dce.after_{iterations}"]) < 1e-3


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("scale", [1, 12])
@torch.inference_mode()
def test_published_plus_weights_give_the_published_pictures(shared: Path, golden, photo: str, scale: int) -> None:
    """At scale 12 with the authors' own way down (sampled, not averaged) and up (corners aligned)."""
    network = load(shared / "reference" / "zero_dce_pp_epoch99.pth").network
    image = _image(golden, photo)
    small = F.interpolate(image, scale_factor=1 / scale, mode="bilinear")
    maps = F.interpolate(network(small)[:, 0], size=image.shape[-2:], mode="bilinear", align_corners=True)[:, None]
    assert _gap(maps[0, 0], golden[f"{photo}.pp{scale}.map"]) < 1e-3
    assert _gap(apply_curve(image, maps, 8)[0], golden[f"{photo}.pp{scale}.after_8"]) < 1e-3
