"""The kernel of GPUs against the readable reference: on a GPU where there is one, else by Triton's interpreter."""

import os
from typing import Any

import numpy as np
import pytest
import torch

from model import Architecture, Checkpoint, Enhancer, Look, build
from model.curve.light import Space
from model.curve.light import lift as lift_by_reference
from model.curve.reference import upsample
from tests.support.counts import crossed

HERE = "cuda" if torch.cuda.is_available() else "cpu"
if HERE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernel is defined
pytest.importorskip("triton", reason="Triton has no build for this system")

from model.full_size.gpu_kernel import lift  # noqa: E402


@pytest.mark.parametrize(
    ("factor", "size", "kind"),
    crossed(
        [1, 2, 5, 16, 700],
        [(31, 47), (1, 1), (2, 600), (64, 20)],
        [(1, "srgb"), (3, "srgb"), (2, "light")],
    ),
)
def test_the_kernel_equals_the_reference(factor: int, size: tuple[int, int], kind: tuple[int, Space]) -> None:
    map_channels, space = kind
    _compare(size, 3, [(8, map_channels)], factor, 8, 255, space)


@pytest.mark.parametrize(
    ("iterations", "maps", "top"),
    crossed([0, 1, 8, 16], [[(1, 1)], [(8, 3)], [(8, 1), (3, 1)], [(8, 2), (3, 2)]], [255, 65535]),
)
def test_any_number_of_steps_maps_and_passes(iterations: int, maps: list[tuple[int, int]], top: int) -> None:
    _compare((33, 50), 3, maps, 4, iterations, top, "light" if maps[0][1] == 2 else "srgb")


@pytest.mark.parametrize(
    ("dtype", "channels", "space", "look"),
    crossed(
        [np.uint8, np.uint16],
        [1, 3],
        ["srgb", "light"],
        [Look(), Look(denoise=0, floor="off"), Look(denoise=2, floor="off"), Look(passes=2)],
    ),
)
def test_the_enhancer_applies_it_in_bands(
    monkeypatch: pytest.MonkeyPatch, dtype: type, channels: int, space: Space, look: Look
) -> None:
    monkeypatch.setattr("model.enhancer.GPU_BAND_PX", 2000)
    torch.manual_seed(3)
    checkpoint = Checkpoint(network=build(Architecture(map_channels=1, space=space)), estimate_size=32)
    enhancer = Enhancer(checkpoint, look, estimate_size=32, device=HERE, precision="fp32")
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max // 3, (67, 90, channels), dtype)
    image[:30] //= 16
    maps = enhancer.estimate([image])[0].scaled(4)
    cells = enhancer.cells(image, maps)
    assert (cells is None) == (look.floor == "off" and look.denoise == 0)
    applied, expected = enhancer._applied_by_gpu(image, maps, cells), enhancer._applied(image, maps, cells)
    assert (applied.dtype, applied.shape) == (image.dtype, image.shape)
    assert np.abs(applied.astype(int) - expected).max() <= (1 if dtype == np.uint8 else 4)
    assert (applied != image).any()


def test_bands_that_find_too_little_memory_are_halved_down_to_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(network=build(Architecture(map_channels=1)), estimate_size=32)
    enhancer = Enhancer(checkpoint, estimate_size=32, device=HERE, precision="fp32")
    image = np.random.default_rng(0).integers(0, 80, (500, 400, 3), np.uint8)
    maps = enhancer.estimate([image])[0]
    expected = (image + np.arange(500)[:, None, None]) % 256
    bands, halvings, most_px = list[int](), list[None](), 70_000

    def short_of_memory(band: torch.Tensor, passes, factor, iterations, space, white, top, *_: Any) -> torch.Tensor:
        """A quick stand-in for the kernel, whose result depends on where the band lies."""
        bands.append(len(band))
        if band[..., 0].numel() > most_px:
            raise torch.OutOfMemoryError
        rows = torch.arange(top, top + len(band), device=band.device)
        return (band.int() + rows[:, None, None]).remainder(256).to(band.dtype)

    monkeypatch.setattr("model.full_size.gpu_kernel.lift", short_of_memory)
    enhancer.on_out_of_memory = lambda: halvings.append(None)
    np.testing.assert_array_equal(enhancer._applied_by_gpu(image, maps), expected)
    assert len(halvings) == 2  # from the whole image to 2**16 pixels
    assert bands[-4:] == [163, 163, 163, 11]
    most_px = 60_000
    with pytest.raises(torch.OutOfMemoryError):
        enhancer._applied_by_gpu(image, maps)
    assert len(halvings) == 2


@pytest.mark.parametrize(("map_channels", "space"), [(1, "srgb"), (2, "light")])
def test_grey(map_channels: int, space: Space) -> None:
    _compare((33, 50), 1, [(8, map_channels)], 4, 8, 255, space)


def _compare(
    size: tuple[int, int],
    channels: int,
    maps: list[tuple[int, int]],
    factor: int,
    iterations: int,
    top: int,
    space: Space,
) -> None:
    generator = torch.Generator().manual_seed(0)
    dtype = torch.uint8 if top == 255 else torch.int32
    image = torch.randint(0, top + 1, (*size, channels), generator=generator, dtype=dtype)
    small = [-(-side // factor) for side in size]
    passes = [torch.rand((*each, *small), generator=generator) * 2 - 1 for each in maps]
    x = image.permute(2, 0, 1)[None].float() / top
    full = [upsample(each[None], factor, slice(0, size[0]), size[1]) for each in passes]
    x = lift_by_reference(x, full, iterations, space)
    on_gpu = [each.to(HERE) for each in passes]
    enhanced = lift(image.to(HERE), on_gpu, factor, iterations, space, float(top)).cpu()
    difference = (enhanced.int() - (x * top).round().clamp(0, top)[0].permute(1, 2, 0).int()).abs()
    assert enhanced.dtype == dtype
    assert difference.max() <= (1 if top == 255 else 4)  # of 65535: sixteen steps double what is rounded otherwise
    assert (difference > 0).float().mean() < (0.001 if top == 255 else 0.1)
