"""Curve maps that follow edges: a bilateral grid of two bins of luma (Chen, Paris and Durand, SIGGRAPH 2007).

What a network estimates for pixels is smooth over edges: a dark thing before a bright sky would get, along its rim,
something of what the sky gets. So in windows of many pixels a line is fitted to each map over the luma of the copy that
it was estimated on (He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, equations 5, 6 and 8). What is kept is the
two ends of the line: a map of shade, for luma 0, and one of light, for luma 1. Between them lies the map of a pixel,
by the luma of the pixel itself, so edges are as sharp as the image.

Tensor suffixes: B batch, K maps, H height and W width in pixels, h and w those of the grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 2  # of a window, in cells
LEAST_VARIANCE = 1e-3  # of the guide in a window: where it varies less, a line would be one through noise


def guide(luma: Tensor) -> Tensor:
    """Return the place of a luma in [0, 1] between shade and light: dark values lie further apart than bright ones."""
    return luma.sqrt()


def fitted_to_grid(maps_BK1HW: Tensor, luma_B1HW: Tensor, side: int) -> Tensor:
    """Return `grid_BK2hw`, of cells of `side` x `side` pixels: maps of shade and of light, in [-1, 1]."""
    maps_BKHW, place_B1HW = maps_BK1HW[:, :, 0], guide(luma_B1HW)
    # from their means on: the smaller the squares, the less rounding is left in their differences
    of_maps, of_place = (each.mean(dim=(2, 3), keepdim=True) for each in (maps_BKHW, place_B1HW))
    maps_BKHW, place_B1HW = maps_BKHW - of_maps, place_B1HW - of_place
    count = maps_BKHW.shape[1]
    planes = torch.cat([maps_BKHW, maps_BKHW * place_B1HW, place_B1HW, place_B1HW.square()], 1)
    means = _window_mean(F.avg_pool2d(planes, side, ceil_mode=True))
    map_mean, product, place, square = means.split([count, count, 1, 1], 1)
    slope = (product - map_mean * place) / (square - place.square() + LEAST_VARIANCE)
    shade, slope = _window_mean(torch.cat([of_maps + map_mean - slope * (of_place + place), slope], 1)).split(count, 1)
    return torch.stack([shade, shade + slope], 2).clamp(-1, 1)


def sliced(maps_BK2HW: Tensor, luma_B1HW: Tensor) -> Tensor:
    """Return `maps_BK1HW` for an image of this luma, between those of shade and of light."""
    shade, light = maps_BK2HW.split(1, 2)
    return torch.lerp(shade, light, guide(luma_B1HW)[:, None])


def _window_mean(cells_BPhw: Tensor) -> Tensor:
    """The mean of those cells of a window that are inside."""
    return F.avg_pool2d(cells_BPhw, 2 * RADIUS + 1, 1, RADIUS, count_include_pad=False)
