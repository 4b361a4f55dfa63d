import pytest
import torch
import torch.nn.functional as F

from model.curves import apply_curve, reduce, reduction_factor, upsample


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
    ("height", "width", "factor"), [(70, 91, 7), (64, 64, 8), (1, 1, 5), (3, 200, 16), (130, 3, 2)]
)
def test_reduce_averages_boxes_with_the_border_repeated(height: int, width: int, factor: int) -> None:
    image = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
    padding = (0, -width % factor, 0, -height % factor)
    whole = F.pad(image.permute(2, 0, 1)[None].float(), padding, mode="replicate")
    assert torch.allclose(reduce(image, factor), F.avg_pool2d(whole, factor)[0].permute(1, 2, 0), atol=1e-3)


@pytest.mark.parametrize(("height", "width", "factor"), [(68, 90, 7), (5, 300, 2), (1, 1, 3), (64, 64, 8)])
def test_bands_of_upsampled_maps_equal_the_whole(height: int, width: int, factor: int) -> None:
    maps = torch.rand(1, 8, 3, -(-height // factor), -(-width // factor))
    whole = F.interpolate(maps.flatten(1, 2), scale_factor=factor, mode="bilinear", align_corners=False)
    tops = range(0, height, 2 * factor)
    bands = [upsample(maps, factor, slice(top, min(top + 2 * factor, height)), width) for top in tops]
    assert torch.allclose(torch.cat(bands, dim=-2).flatten(1, 2), whole[..., :height, :width], atol=1e-5)
