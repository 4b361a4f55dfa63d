from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from model.curve.reference import apply_curve, reduce, reduction_factor, upsample


def test_a_step_is_the_published_formula() -> None:
    x, r = torch.rand(1, 3, 4, 5), torch.rand(1, 1, 3, 4, 5) * 2 - 1
    assert torch.allclose(apply_curve(x, r, 1), x + r[:, 0] * (x * x - x))


def test_steps_beyond_the_last_map_repeat_it() -> None:
    x, r = torch.rand(1, 3, 4, 5), torch.rand(1, 2, 3, 4, 5) * 2 - 1
    by_hand = apply_curve(apply_curve(x, r, 2), r[:, 1:], 3)
    assert torch.allclose(apply_curve(x, r, 5), by_hand)


def test_black_and_white_stay_and_tone_is_monotone() -> None:
    x = torch.linspace(0, 1, 256).expand(1, 3, 1, 256)
    for r in (-1.0, -0.5, 0.5, 1.0):
        y = apply_curve(x, torch.full((1, 8, 1, 1, 256), r), 16)
        assert y[..., 0].max() == 0
        assert y[..., -1].min() == 1
        assert (y.diff() >= -1e-6).all()


@pytest.mark.parametrize("iterations", [-1, 17])
def test_iterations_out_of_range(iterations: int) -> None:
    with pytest.raises(ValueError, match=str(iterations)):
        apply_curve(torch.rand(1, 3, 2, 2), torch.rand(1, 1, 3, 2, 2), iterations)


def test_reduction_factor_is_whole_and_never_exceeds_the_size() -> None:
    assert reduction_factor(4000, 3000, 256) == 16
    assert reduction_factor(256, 100, 256) == 1
    assert reduction_factor(257, 100, 256) == 2
    assert reduction_factor(9000, 9000, None) == 1


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(70, 91, 7), (64, 64, 8), (1, 1, 5), (3, 200, 16), (130, 3, 2), (3, 5000, 16)]
)
def test_reduce_averages_boxes_with_the_border_repeated(height: int, width: int, factor: int) -> None:
    image = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
    padding = (0, -width % factor, 0, -height % factor)
    whole = F.pad(image.permute(2, 0, 1)[None].float(), padding, mode="replicate")
    assert torch.allclose(reduce(image, factor), F.avg_pool2d(whole, factor)[0].permute(1, 2, 0), atol=1e-3)


@pytest.mark.parametrize("band", [1, 5, 14])  # rows; not only whole boxes
@pytest.mark.parametrize(("height", "width", "factor"), [(68, 90, 7), (5, 300, 2), (1, 1, 3), (64, 64, 8), (30, 1, 5)])
def test_bands_of_upsampled_maps_equal_the_whole(height: int, width: int, factor: int, band: int) -> None:
    maps = torch.rand(1, 8, 3, -(-height // factor), -(-width // factor))
    whole = F.interpolate(maps.flatten(1, 2), scale_factor=factor, mode="bilinear", align_corners=False)
    bands = [upsample(maps, factor, slice(top, min(top + band, height)), width) for top in range(0, height, band)]
    assert torch.allclose(torch.cat(bands, dim=-2).flatten(1, 2), whole[..., :height, :width], atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(100_000, 1), (1, 100_000), (3, 50_000)])
def test_thin_images_take_memory_for_their_own_pixels_only(height: int, width: int) -> None:
    factor, image = 391, torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
    maps = torch.rand(1, 8, 3, -(-height // factor), -(-width // factor))
    with LargestTensor() as of_reduce:
        reduce(image, factor)
    with LargestTensor() as of_upsample:
        upsample(maps, factor, slice(0, height), width)
    assert of_reduce.numel <= image.numel()
    assert of_upsample.numel <= height * width * 24


class LargestTensor(TorchDispatchMode):
    """Watches the results of all operations for the one with the most elements."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numel = max(self.numel, result.numel())
        return result
