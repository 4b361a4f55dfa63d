"""The coefficients of cells on a CPU: `cleaning.coefficients` by the loops of `cell_loops.py`.

Also the luma of a small copy after its curves, of which each pixel is a cell.

Suffixes: P planes, h and w cells, u and v cells of twice the side, called coarse, K maps, M channels of a map, H rows
and L columns of maps, N pixels of a copy, V its values.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.curve.light import BT601, BT709, Space
from model.curve.reference import steps_of
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
    see,
)
from model.full_size.cpu import Pixels, columns_of, in_light, rows_of
from model.full_size.cpu_kernels import lifted_luma
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
    if planes > 2:
        colours_Puv = _smooth_colours(coarse_Puv, amplified_uv, floor.colour_noise)
    else:
        colours_Puv = np.zeros((5, *coarse[1:]), np.float32)
    finish(cells_hPw, luma_hw, _around(luma_hw), colours_Puv, *_limits(floor))
    return cells_hPw


def luma_of_copy(
    image_HWC: Pixels, passes: Sequence[Floats], iterations: int, space: Space, floor: Floor | None
) -> float:
    """Return the mean BT.601 luma in [0, 1] that a small RGB image would have after its curves.

    `passes`: maps of the image's own size. `floor`: None if nothing is held back. See `cleaning.hold_back`.
    """
    height, width, _ = image_HWC.shape
    luma_hw = image_HWC.astype(np.float32) @ (np.array(BT709, np.float32) / np.float32(np.iinfo(image_HWC.dtype).max))
    seen_hw = np.ones_like(luma_hw)
    if floor is not None:
        see(seen_hw, luma_hw, _around(luma_hw), *_limits(floor))
    maps_KMHW = np.ascontiguousarray(passes[0] if len(passes) == 1 else np.concatenate(passes))
    maps_KMN = maps_KMHW.reshape(*maps_KMHW.shape[:2], height * width)
    steps = np.array(steps_of([len(maps_KMHW) for maps_KMHW in passes], iterations), np.int64)
    numbers = np.float32(floor.black if floor else 0), *(tuple(map(np.float32, shares)) for shares in (BT601, BT709))
    values_V = np.ascontiguousarray(image_HWC).reshape(-1)
    return float(lifted_luma(values_V, maps_KMN, steps, in_light(space), seen_hw.reshape(-1), *numbers))


def _around(luma_hw: Floats) -> Floats:
    """Return luma around each coarse cell."""
    height, width = luma_hw.shape
    coarse_uv = np.empty((-(-height // 2), -(-width // 2)), np.float32)
    pool(coarse_uv, luma_hw)
    return box_mean(coarse_uv, 1)


def _limits(floor: Floor) -> tuple[np.float32, np.float32]:
    """Return black and the square of the luma above it that counts as half seen, 0 if all is seen."""
    return np.float32(floor.black), np.float32(half_seen(floor) if floor.has_unseen else 0.0)


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
