"""Curve maps that follow edges: a bilateral grid of two bins of luma (Chen, Paris and Durand, SIGGRAPH 2007).

A network's estimates are smooth across edges: the rim of a dark thing before a bright sky would be treated partly as
sky. So in windows of many pixels a line is fitted to each map as a function of the luma of the copy that it was
estimated on (He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, equations 5, 6 and 8). The two ends of the line
are kept: a map of shade, for luma 0, and one of light, for luma 1. A pixel's map is interpolated between them by the
luma of the pixel itself, so edges are as sharp as the image.

Tensor suffixes: B batch, K maps, H height and W width in pixels, h and w those of the grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 2  # of a window, in cells
LEAST_VARIANCE = 1e-3  # of the guide in a window: where it varies less, a line would be fitted to noise


def guide(luma: Tensor) -> Tensor:
    """Return the place of a luma in [0, 1] between shade and light, 0 to 1; dark values are spread apart."""
    return luma.sqrt()


def fitted_to_grid(maps_BK1HW: Tensor, luma_B1HW: Tensor, side: int) -> Tensor:
    """Return `grid_BK2hw`, maps of shade and of light in [-1, 1], for cells of `side` x `side` pixels."""
    maps_BKHW, place_B1HW = maps_BK1HW[:, :, 0], guide(luma_B1HW)
    # subtract the means: the smaller the squares, the smaller the rounding errors in their differences
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
    """Return `maps_BK1HW` for an image of this luma, interpolated between those of shade and of light."""
    shade, light = maps_BK2HW.split(1, 2)
    return torch.lerp(shade, light, guide(luma_B1HW)[:, None])


def _window_mean(cells_BPhw: Tensor) -> Tensor:
    """Average the cells of each window; cells beyond the border are left out."""
    return F.avg_pool2d(cells_BPhw, 2 * RADIUS + 1, 1, RADIUS, count_include_pad=False)
