"""Curve maps applied to an image at full size, as it lies in memory: RGB, grey, or the planes of a video frame.

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
from model.full_size.cpu_kernels import lift, lift_planes

Pixels = npt.NDArray[Any]  # uint8 or uint16, HxWxC
Floats = npt.NDArray[np.float32]
Plane = npt.NDArray[Any]  # uint8 or uint16


@dataclass(frozen=True, slots=True)
class Cells:
    """What cleans an image before its curve, and holds the curve back; see `noise/cleaning.py`."""

    planes: Tensor
    """1xPxhxw: see `cleaning.Cell`."""
    side: int
    """Pixels along each side of a cell."""
    black: float
    """Luma that nothing is lifted below."""


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
    ceil(H / factor) x ceil(W / factor) pixels; in light of two channels. `iterations`: steps of each pass; those beyond
    its maps repeat the last one. `space`: what the curve acts on, see `curve/light.py`. `cells`: None where nothing is
    cleaned. `shares`: of red, green and blue in luma. `in_place`: the image may be overwritten, which is a third
    faster; it is where it lies in one piece and may be written to. Returns an image of the same shape and dtype.
    """
    height, width, channels = image_HWC.shape
    image_HV = np.ascontiguousarray(image_HWC).reshape(height, width * channels)
    enhanced_HV = image_HV if in_place and image_HV.flags.writeable else np.empty_like(image_HV)
    curves, columns = curves_of(passes, iterations, space), _columns(width, factor, passes)
    lift(image_HV, enhanced_HV, *curves, factor, columns, in_light(space), *_cells(cells), _floats(shares))
    return enhanced_HV.reshape(image_HWC.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """How YUV planes code colour: formulas of ITU-T H.273, sections 8.2 and 8.3."""

    red: float
    """Share of red in luma: K_R."""
    blue: float
    """Likewise: K_B."""
    depth: int
    """Bits of a sample."""
    full: bool
    """Whether samples use all codes, or, of 8 bits, 16 to 235 and 16 to 240."""
    across: int
    """Pixels that a chroma sample covers: 1 or 2."""
    down: int

    @property
    def shares(self) -> Shares:
        """Of red, green and blue in luma."""
        return self.red, 1 - self.red - self.blue, self.blue

    @property
    def numbers(self) -> tuple[np.float32, ...]:
        """Red, green, blue, code of black, codes from black to white, code of no chroma, codes of all chroma, top."""
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

    `planes`: Y, Cb and Cr, uint8 or uint16, their lines as long as they lie in memory. `enhanced`: planes of the same
    shapes, written to. `width`: of the frame. The rest as in `apply_curves`.

    In `srgb`, a pixel's RGB is had from its luma and the chroma sample over it, clipped to [0, 1], taken through the
    curve and brought back. In `light`, luma goes through the curve, and chroma follows. A chroma sample becomes the
    mean of what the pixels under it ask for. Where the curve changes nothing, the same samples come out, but for what
    lies outside of RGB.
    """
    curves, columns = curves_of(passes, iterations, space), _columns(width, factor, passes)
    subsampling = coding.across, coding.down
    lift_planes(
        tuple(planes),
        tuple(enhanced),
        subsampling,
        coding.numbers,
        *curves,
        factor,
        columns,
        in_light(space),
        *_cells(cells),
    )


def curves_of(passes: Sequence[Floats], iterations: int, space: Space) -> tuple[Floats, npt.NDArray[np.int64]]:
    """All maps as `maps_HMKL`, and which of them each step takes.

    In light, the second channel becomes the difference of light from shade, so that kernels have less to do.
    """
    maps_HMKL = np.array(np.concatenate(passes).transpose(2, 1, 0, 3), order="C")
    if space == "light":
        maps_HMKL[:, 1] -= maps_HMKL[:, 0]
    return maps_HMKL, np.array(steps_of([len(maps_KMHW) for maps_KMHW in passes], iterations), np.int64)


def _floats(numbers: Iterable[float]) -> tuple[np.float32, ...]:
    return tuple(map(np.float32, numbers))


def in_light(space: Space) -> bool | None:
    """Return what kernels are told: where it is None, numba compiles nothing of what light takes."""
    return True if space == "light" else None


def _cells(cells: Cells | None) -> tuple[Floats | None, int, np.float32]:
    """`cells_HPL`, their side, and black."""
    if cells is None:
        return None, 0, np.float32(0)
    return np.ascontiguousarray(cells.planes[0].numpy().transpose(1, 0, 2)), cells.side, np.float32(cells.black)


def _columns(width: int, factor: int, passes: Sequence[Floats]) -> tuple[Any, Any]:
    """Where in a row the pixels begin that lie between two map pixels, and each pixel's place between them, 0 to 1.

    Pixel p of the image lies at (p + 1/2) / factor - 1/2; beyond the first and the last map pixel it is that one's.
    """
    at = 2 * np.arange(width) + 1 - factor
    place = (at % (2 * factor)).astype(np.float32) / np.float32(2 * factor)
    starts = (factor // 2 + np.arange(-1, passes[0].shape[3] + 1) * factor).clip(0, width)
    starts[-1] = width
    return starts.astype(np.uint64), place
