"""Full-size enhancement on a CPU: curve maps applied to RGB or grey images, or to the planes of a video frame.

Tensor suffixes: K maps, M channels of a map (3 or 1, or 2: of shade and of light), H height, W width, C channels of the
image, V values of a row of the image (W * C), L columns of maps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from model.curve.light import BT709, Shares, Space
from model.curve.reference import steps_of
from model.full_size.cpu_kernels import lift
from model.full_size.plane_kernels import lift_planes
from model.full_size.tiles import ROOM

Pixels = npt.NDArray[Any]  # uint8 or uint16, HxWxC
Floats = npt.NDArray[np.float32]
Plane = npt.NDArray[Any]  # uint8 or uint16


@dataclass(frozen=True, slots=True)
class Cells:
    """Coefficients that clean an image before its curve, and hold the curve back; see `noise/cleaning.py`."""

    planes: Tensor
    """Coefficients, 1xPxhxw; see `cleaning.Cell`."""
    side: int
    """Pixels along each side of a cell."""
    black: float
    """Luma of black; see `cleaning.hold_back`."""


def apply_curves(
    image_HWC: Pixels,
    passes: Sequence[Floats],
    factor: int,
    iterations: int,
    space: Space = "srgb",
    cells: Cells | None = None,
    shares: Shares = BT709,
    *,
    in_place: bool = False,
) -> Pixels:
    """Apply curve maps to an image.

    `image_HWC`: uint8 or uint16. `passes`: for each pass of the enhancement `maps_KMHW`, float32 in [-1, 1], of
    ceil(H / factor) x ceil(W / factor) pixels; for `light`, of two channels. `iterations`: steps of each pass; those
    beyond its maps repeat the last one. `space`: what the curve acts on, see `curve/light.py`. `cells`: None to clean
    nothing. `shares`: of red, green and blue in luma. `in_place`: overwrite the image if it is contiguous and writable,
    which is a third faster. Returns an image of the same shape and dtype.
    """
    height, width, channels = image_HWC.shape
    image_HV = np.ascontiguousarray(image_HWC).reshape(height, width * channels)
    enhanced_HV = image_HV if in_place and image_HV.flags.writeable else np.empty_like(image_HV)
    maps_HLSM, columns = rows_of(passes, iterations, space), columns_of(width, factor, passes[0].shape[3])
    lift(image_HV, enhanced_HV, maps_HLSM, factor, columns, in_light(space), *_cells(cells), _floats(shares))
    return enhanced_HV.reshape(image_HWC.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """Coding of colour in YUV planes: parameters of ITU-T H.273, sections 8.2 and 8.3."""

    red: float
    """Share of red in luma: K_R."""
    blue: float
    """Share of blue in luma: K_B."""
    depth: int
    """Bits of a sample."""
    full: bool
    """Whether samples use all codes; otherwise, in 8 bits, luma uses 16 to 235 and chroma 16 to 240."""
    across: int
    """Pixels that a chroma sample covers: 1 or 2."""
    down: int

    @property
    def shares(self) -> Shares:
        """Return the shares of red, green and blue in luma."""
        return self.red, 1 - self.red - self.blue, self.blue

    @property
    def numbers(self) -> tuple[np.float32, ...]:
        """Return red, green, blue, black's code, codes from black to white, code of no chroma, codes of chroma, top."""
        scale, top = 1 << (self.depth - 8), (1 << self.depth) - 1
        luma, chroma = ((0, top), (1 << (self.depth - 1), top)) if self.full else ((16, 219), (128, 224))
        codes = (*luma, *chroma) if self.full else (code * scale for code in (*luma, *chroma))
        return _floats((*self.shares, *codes, top))


def apply_curves_to_planes(
    planes: Sequence[Plane],
    enhanced: Sequence[Plane],
    width: int,
    coding: Coding,
    passes: Sequence[Floats],
    factor: int,
    iterations: int,
    space: Space = "srgb",
    cells: Cells | None = None,
) -> None:
    """Apply curve maps to a YUV frame without making an RGB one.

    `planes`: Y, Cb and Cr, uint8 or uint16, including the padding of their lines. `enhanced`: planes of the same
    shapes, written to. `width`: of the frame. The rest is as in `apply_curves`.

    Chroma samples are cleaned as they are. In `srgb`, a pixel's RGB is computed from its luma and its chroma sample,
    clipped to [0, 1], taken through the curve and converted back. In `light`, luma goes through the curve, and chroma
    follows. A chroma sample becomes the mean of what its pixels need. Where the curve changes nothing, samples stay,
    except those that lie outside of RGB.
    """
    maps_HLSM, columns = rows_of(passes, iterations, space), columns_of(width, factor, passes[0].shape[3])
    subsampling = coding.across, coding.down
    lift_planes(
        tuple(planes),
        tuple(enhanced),
        subsampling,
        coding.numbers,
        maps_HLSM,
        factor,
        columns,
        in_light(space),
        *_cells(cells),
    )


def rows_of(passes: Sequence[Floats], iterations: int, space: Space) -> Floats:
    """Return the map of each step as `maps_HLSM`, with the first and the last column repeated.

    Steps are filled up to a multiple of four by those of a map of zeros, which change nothing. For `light`, the second
    channel becomes the difference of light from shade, so that kernels have less to do.
    """
    steps = steps_of([len(maps_KMHW) for maps_KMHW in passes], iterations)
    maps_HLSM = np.concatenate(passes)[steps].transpose(2, 3, 0, 1)
    missing = 4 * max(1, -(-len(steps) // 4)) - len(steps)
    maps_HLSM = np.pad(maps_HLSM, ((0, 0), (1, 1), (0, 0), (0, 0)), "edge")
    maps_HLSM = np.pad(maps_HLSM, ((0, 0), (0, 0), (0, missing), (0, 0)))
    if space == "light":
        maps_HLSM[..., 1] -= maps_HLSM[..., 0]
    return np.ascontiguousarray(maps_HLSM)


def _floats(numbers: Iterable[float]) -> tuple[np.float32, ...]:
    return tuple(map(np.float32, numbers))


def in_light(space: Space) -> bool | None:
    """Return True for `light`, else None: with None, numba leaves the code for `light` out of a kernel."""
    return True if space == "light" else None


def _cells(cells: Cells | None) -> tuple[Floats | None, int, np.float32]:
    """Return `cells_HPL`, their side, and black."""
    if cells is None:
        return None, 0, np.float32(0)
    return np.ascontiguousarray(cells.planes[0].numpy().transpose(1, 0, 2)), cells.side, np.float32(cells.black)


def columns_of(width: int, factor: int, columns: int, side: int = 1) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return where in a row the pixels between each two map pixels begin, and each pixel's place between them, 0 to 1.

    `columns`: of the maps. `side`: pixels of the image that a pixel of the row covers. Pixel p lies at
    (p + 1/2) side / factor - 1/2 of a map; beyond the border, map pixels are repeated.
    """
    at = (2 * np.arange(width + ROOM) + 1) * side - factor  # beyond the row, for tiles and blocks that stick out
    place_W = (at % (2 * factor)).astype(np.float32) / np.float32(2 * factor)
    starts = np.searchsorted(at[:width], 2 * factor * np.arange(-1, columns + 1))
    starts[0], starts[-1] = 0, width
    return starts, place_W
