"""Curve maps fitted to a bilateral grid: what is smooth over an edge follows it, what is not stays as it was."""

import torch
from torch import Tensor

from model.curve.bilateral_grid import fitted_to_grid, sliced
from model.curve.reference import upsample
from model.dce_net import Architecture

GRID_PX = Architecture().grid_px


def _silhouette(shade: float = 0.02, light: float = 0.7) -> Tensor:
    """Luma of a dark half before a light one, `luma_11HW`."""
    luma = torch.full((1, 1, 96, 128), light)
    luma[..., :64] = shade
    return luma


def _through_the_grid(maps_BK1HW: Tensor, luma_B1HW: Tensor) -> Tensor:
    height, width = luma_B1HW.shape[2:]
    grid_BK2hw = fitted_to_grid(maps_BK1HW, luma_B1HW, GRID_PX)
    assert grid_BK2hw.shape[3:] == (-(-height // GRID_PX), -(-width // GRID_PX))
    return sliced(upsample(grid_BK2hw, GRID_PX, slice(0, height), width), luma_B1HW)


def test_maps_that_are_smooth_over_an_edge_come_out_sharp() -> None:
    luma = _silhouette()
    maps = (-0.5 + 0.4 * torch.tanh((torch.arange(128) - 63.5) / 8)).expand(1, 8, 1, 96, 128)
    sharp = _through_the_grid(maps, luma)[0, 0, 0, 48]
    before, after = (float(each[63] - each[64]) for each in (maps[0, 0, 0, 48], sharp))
    assert abs(before) < 0.06 < 0.3 < abs(after)
    assert sharp.min() > -0.95
    assert sharp.max() < -0.05
    assert (sharp[:40] - maps[0, 0, 0, 48, :40]).abs().max() < 0.1  # far from the edge hardly anything changes


def test_one_map_for_all_stays_one() -> None:
    maps = torch.full((2, 3, 1, 50, 70), -0.4)
    luma = torch.rand(2, 1, 50, 70, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_through_the_grid(maps, luma), maps, atol=1e-3, rtol=0)


def test_on_plain_ground_maps_are_only_smoothed() -> None:
    maps = torch.linspace(-0.9, 0.1, 80).expand(1, 2, 1, 60, 80)
    difference = _through_the_grid(maps, torch.full((1, 1, 60, 80), 0.1)) - maps
    assert difference[..., 16:-16].abs().max() < 0.01


def test_maps_stay_in_range_and_finite() -> None:
    generator = torch.Generator().manual_seed(1)
    for luma in (torch.zeros(1, 1, 9, 5), torch.ones(1, 1, 9, 5), torch.rand(1, 1, 9, 5, generator=generator)):
        maps = _through_the_grid(torch.rand(1, 8, 1, 9, 5, generator=generator) * 2 - 1, luma)
        assert maps.abs().max() <= 1
