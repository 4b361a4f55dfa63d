"""The coefficients of cells on a CPU: `cleaning.coefficients` by the loops of `cell_loops.py`.

Suffixes: P planes, h and w cells, u and v cells of twice the side, called coarse, K maps, M channels of a map, H rows
and L columns of maps.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.curve.light import Space
from model.full_size.cell_loops import (
    amplified,
    average,
    finish,
    guide_coarsely,
    guide_colours,
    guide_finely,
    join,
    pool,
    pool_smooth,
    rises,
)
from model.full_size.cpu import columns_of, in_light, rows_of
from model.noise.cleaning import Cell, half_seen
from model.noise.floor import Floor

Floats = npt.NDArray[np.float32]


def coefficients_of(
    moments_Phw: Floats,
    passes: Sequence[Floats],
    side: int,
    floor: Floor,
    factor: int,
    iterations: int,
    space: Space,
) -> Floats:
    """Compute `cells_hPw`. `passes`: for each pass `maps_KMHL`. The rest is as in `cleaning.coefficients`."""
    planes, height, width = moments_Phw.shape
    coarse = (planes, -(-height // 2), -(-width // 2))
    coarse_Puv = np.empty(coarse, np.float32)
    for plane_uv, plane_hw in zip(coarse_Puv, moments_Phw, strict=True):
        pool(plane_uv, plane_hw)
    columns = columns_of(coarse[2], factor, passes[0].shape[3], 2 * side)
    rises_uv, amplified_uv = np.empty((2, *coarse[1:]), np.float32)
    maps_HLSM, scale = rows_of(passes, iterations, space), (factor, 2 * side)
    rises(rises_uv, box_mean(coarse_Puv[0], 1), maps_HLSM, scale, columns, in_light(space))
    noise_uv = np.empty_like(rises_uv)
    amplified(amplified_uv, noise_uv, coarse_Puv[0], rises_uv, floor.noise)

    cells_hPw = np.empty((height, len(Cell), width), np.float32)
    luma_hw = _smooth_luma(cells_hPw, moments_Phw, noise_uv, rises_uv, floor)
    around_uv = np.empty_like(rises_uv)
    pool(around_uv, luma_hw)
    half = half_seen(floor) if floor.has_unseen else 0.0
    if planes > 2:
        colours_Puv = _smooth_colours(coarse_Puv, amplified_uv, floor.colour_noise)
    else:
        colours_Puv = np.zeros((5, *coarse[1:]), np.float32)
    finish(cells_hPw, luma_hw, box_mean(around_uv, 1), colours_Puv, np.float32(floor.black), np.float32(half))
    return cells_hPw


def _smooth_luma(cells_hPw: Floats, moments_Phw: Floats, noise_uv: Floats, rises_uv: Floats, floor: Floor) -> Floats:
    """Write gain and offset of luma. Returns the smooth luma."""
    mean_hw, square_hw = moments_Phw[:2]
    gain_hw, offset_hw = np.empty((2, *mean_hw.shape), np.float32)
    around_hw, squares_hw = box_mean(mean_hw, 1), box_mean(square_hw, 1)
    guide_finely(gain_hw, offset_hw, around_hw, squares_hw, noise_uv)
    gain_hw, offset_hw = box_mean(gain_hw, 1), box_mean(offset_hw, 1)
    mean_uv, square_uv, more_uv, other_uv = np.empty((4, *noise_uv.shape), np.float32)
    pool_smooth(mean_uv, square_uv, gain_hw, offset_hw, mean_hw, square_hw)
    guide_coarsely(
        more_uv,
        other_uv,
        (mean_uv, box_mean(mean_uv, 2), box_mean(square_uv, 2)),
        noise_uv,
        rises_uv,
        np.float32(floor.black),
        np.float32(floor.coded_away),
    )
    luma_hw: Floats = np.empty_like(mean_hw)
    join(cells_hPw, luma_hw, gain_hw, offset_hw, box_mean(more_uv, 2), box_mean(other_uv, 2), mean_hw)
    return luma_hw


def _smooth_colours(coarse_Puv: Floats, amplified_uv: Floats, colour_noise: float) -> Floats:
    """Compute the gain of chroma, the offsets of R - Y and B - Y, and both in the surroundings."""
    gain_uv, red_uv, blue_uv = np.empty((3, *amplified_uv.shape), np.float32)
    _, _, *colours = coarse_Puv
    around = tuple(box_mean(plane_uv, 2) for plane_uv in colours)
    guide_colours(gain_uv, red_uv, blue_uv, around, amplified_uv, np.float32(colour_noise))
    found_Puv = np.empty((5, *amplified_uv.shape), np.float32)
    for found_uv, plane_uv in zip(found_Puv[:3], (gain_uv, red_uv, blue_uv), strict=True):
        average(found_uv, plane_uv, 2)
    for around_uv, mean_uv, offset_uv in zip(found_Puv[3:], colours[::2], found_Puv[1:3], strict=True):
        average(around_uv, found_Puv[0] * mean_uv + offset_uv, 2)
    return found_Puv


def box_mean(plane_hw: Floats, radius: int) -> Floats:
    """Average (2 radius + 1) x (2 radius + 1) cells, the border repeated. `radius`: 1 or 2."""
    means_hw = np.empty_like(plane_hw)
    average(means_hw, plane_hw, radius)
    return means_hw
