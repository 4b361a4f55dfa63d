"""The policy of colour: a photo is judged and enhanced as sRGB, whatever its own colour space, and written in its own.

A photo's ICC profile says what its numbers mean; readers make one for colour that is given by numbers. What matters is
what the profile does, not its name:

- It does what sRGB does, is missing or is damaged: the photo's numbers are taken as sRGB.
- It can be inverted exactly, see `icc.py`: the photo is converted to sRGB, enhanced and converted back. Colours that
  sRGB cannot hold are clipped for this; their rest rises with the light of the pixel. This sRGB has 16 bits, but 8 for
  a photo of 8 bits that has the curve of sRGB, such as Display P3 of a phone.
- Otherwise the photo becomes sRGB for good, and a note says so.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.curve.srgb import Floats, decoded, encoded
from model.full_size.color_loops import TILE, from_srgb, to_srgb
from pipeline.images.color import cicp, conversion
from pipeline.images.color.high_dynamic_range import transfer_of
from pipeline.images.color.icc import Conversion, Curve, Matrix, conversion_of
from pipeline.images.color.tables import Table, table_of
from pipeline.images.photo import Frame, Photo, Samples, full_range, to_8_bits
from pipeline.video.signal.transfer import BT2020

FROM_XYZ = np.linalg.inv(cicp.colorants(cicp.SRGB))  # XYZ at D50 to light of sRGB's primaries
BT2020_FROM_XYZ = np.linalg.inv(cicp.colorants(cicp.WIDE[BT2020][1]))
CLOSE = 2.5  # levels of 255 by which a profile may differ from sRGB, or from what colour management makes of it
SAME_CURVE = 5e-4  # the same for one curve, of 1
LEVELS = np.array([0, 2, 5, 10, 20, 40, 80, 128, 192, 255], np.uint8)  # that spaces are compared at
STEPS = {np.dtype(np.uint8): 1 << 12, np.dtype(np.uint16): 1 << 16}  # of curves from light to values
WHITE = 65535


@dataclass(frozen=True, slots=True)
class WorkingSpace:
    """A colour space other than sRGB, and the way to sRGB and back."""

    icc: bytes
    conversion: Conversion | None
    """None if there is no way back."""
    table: Table | None = None
    """The way there for 16 bits, if there is none back."""

    def srgb(self, pixels: Samples) -> Samples:
        """Convert pixels to sRGB, clipped: see `working`, or to RGB if there is no way back."""
        if self.conversion is None:
            if self.table is not None and pixels.dtype == np.uint16:
                return self.table.converted(pixels, FROM_XYZ)
            grey = pixels.shape[2] == 1
            image = Image.fromarray(to_8_bits(pixels[..., 0] if grey else pixels))
            return np.asarray(conversion.tagged_to_srgb(image, self.icc))
        return self.working(pixels)[0]

    def working(self, pixels: Samples) -> tuple[Samples, npt.NDArray[np.bool_]]:
        """Return pixels as sRGB, and for each tile of each row whether sRGB cannot hold all its colours."""
        height, width, channels = pixels.shape
        outside = np.zeros((height, -(-width // TILE)), np.bool_)
        if channels == 1:
            return _grey_tables(self.conversion, pixels.dtype)[0][pixels], outside
        tables = _tables(self.conversion, pixels.dtype)
        srgb = np.empty(pixels.shape, np.uint8 if tables.has_srgb_curves and pixels.dtype == np.uint8 else np.uint16)
        rows = np.ascontiguousarray(pixels).reshape(height, -1)
        to_srgb(rows, srgb.reshape(height, -1), outside, *tables.there)
        return srgb, outside

    def write_back(self, srgb: Samples, outside: npt.NDArray[np.bool_], pixels: Samples) -> None:
        """Replace pixels by their enhanced version. `srgb`, `outside`: see `working`. `pixels`: contiguous."""
        height, _, channels = pixels.shape
        if channels == 1:
            _grey_tables(self.conversion, pixels.dtype)[1].take(srgb, out=pixels)
            return
        tables = _tables(self.conversion, pixels.dtype)
        rows = pixels.reshape(height, -1)
        from_srgb(srgb.reshape(height, -1), rows, outside, *tables.there, *tables.back)


@lru_cache(maxsize=8)
def working_space(icc: bytes | None, channels: int) -> WorkingSpace | None:
    """Return the space of pixels with `channels` channels and this profile; None if it is sRGB or unknown."""
    if icc is None:
        return None
    codes = _codes(channels)
    managed = _managed(codes, icc)
    if managed is None:
        return None
    if np.abs(managed - codes).max() <= CLOSE:
        return None
    table = table_of(icc)
    invertible = WorkingSpace(icc, conversion_of(icc) or (table.grey() if table is not None else None))
    if invertible.conversion is not None and _are_close(invertible.srgb(codes), managed):
        return invertible
    deep = WorkingSpace(icc, None, table)
    compensated = _managed(codes, icc, black_point=True)
    if table is not None and compensated is not None and _are_close(deep.srgb(full_range(codes, 255)), compensated):
        return deep
    return WorkingSpace(icc, None)


def _are_close(own: Samples, managed: Floats) -> bool:
    """Return whether a conversion is what colour management makes of the same, which may clip other colours sooner."""
    levels = own[..., : managed.shape[2]] / (np.iinfo(own.dtype).max / 255)
    inside = ((levels > 0) & (levels < 255)).all(axis=2)
    return bool(np.abs(levels - managed)[inside].max(initial=0) <= CLOSE)


def space_of(photo: Photo) -> WorkingSpace | None:
    """Return the space of a photo; None if it is sRGB or unknown, or HDR: see `high_dynamic_range.py`."""
    if transfer_of(photo) is not None:
        return None
    return working_space(photo.metadata.icc, photo.frames[0].pixels.shape[2])


def with_way_back(photo: Photo) -> tuple[Photo, list[str]]:
    """Return the photo, converted if there is no way back from sRGB to its own space, and notes on that.

    8 bits become sRGB, and 16 bits BT.2020, which holds all colours.
    """
    icc = photo.metadata.icc if transfer_of(photo) is None else None
    spaces = [working_space(icc, frame.pixels.shape[2]) for frame in photo.frames]  # pages may be grey or colour
    if all(space is None or space.conversion is not None for space in spaces):
        return photo, []
    metadata = replace(photo.metadata, icc=None, cicp=None, png_chunks=_without_colour(photo.metadata.png_chunks))
    deep = next((space.table for space in spaces if space is not None and space.table is not None), None)
    fits = deep is not None and all(frame.pixels.shape[2] <= deep.channels for frame in photo.frames)
    if deep is not None and fits and any(frame.pixels.dtype == np.uint16 for frame in photo.frames):
        frames = [_in_bt2020(frame, deep) for frame in photo.frames]
        notes = ["converted to BT.2020: its ICC profile cannot be inverted exactly"]
        return replace(
            photo, frames=frames, metadata=replace(metadata, icc=cicp.profile(BT2020, cicp.SRGB_NUMBERS[1]))
        ), notes
    frames = []
    for frame, space in zip(photo.frames, spaces, strict=True):
        alpha = None if frame.alpha is None else to_8_bits(frame.alpha)
        pixels = to_8_bits(frame.pixels) if space is None else to_8_bits(space.srgb(frame.pixels))
        frames.append(replace(frame, pixels=pixels, alpha=alpha))
    notes = ["converted to sRGB with 8 bits: its ICC profile cannot be inverted exactly"]
    return replace(photo, frames=frames, metadata=metadata), notes


def in_srgb(photo: Photo) -> Photo:
    """Return the photo in sRGB, with as many bits, for formats that hold no profile; the same photo if it is that."""
    spaces = [working_space(photo.metadata.icc, frame.pixels.shape[2]) for frame in photo.frames]
    if transfer_of(photo) is not None or not any(spaces):
        return photo
    frames = []
    for frame, space in zip(photo.frames, spaces, strict=True):
        pixels = frame.pixels if space is None else space.srgb(frame.pixels)
        if frame.pixels.dtype == np.uint8:
            pixels = to_8_bits(pixels)
        frames.append(replace(frame, pixels=full_range(pixels, 255) if pixels.dtype != frame.pixels.dtype else pixels))
    metadata = replace(photo.metadata, icc=None, cicp=None, png_chunks=_without_colour(photo.metadata.png_chunks))
    return replace(photo, frames=frames, metadata=metadata)


def _in_bt2020(frame: Frame, table: Table) -> Frame:
    whites = int(np.iinfo(frame.pixels.dtype).max)
    alpha = None if frame.alpha is None else full_range(frame.alpha, whites)
    return replace(frame, pixels=table.converted(full_range(frame.pixels, whites), BT2020_FROM_XYZ), alpha=alpha)


def _without_colour(chunks: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(chunk for chunk in chunks if chunk[0] not in (b"gAMA", b"cHRM"))


def _codes(channels: int) -> Samples:
    """Return an image of colours at which spaces are compared."""
    if channels == 1:
        return np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
    return np.stack(np.meshgrid(*[LEVELS] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3)


def _managed(codes: Samples, icc: bytes, *, black_point: bool = False) -> Floats | None:
    """Convert codes to sRGB as colour management does; None if it cannot use the profile."""
    image = Image.fromarray(codes[..., 0] if codes.shape[2] == 1 else codes)
    converted = conversion.exactly_to_srgb(image, icc, black_point=black_point)
    return None if converted is None else np.asarray(converted)[..., : codes.shape[2]].astype(float)


@dataclass(frozen=True, slots=True)
class _Tables:
    """What the loops take, see `color_loops.py`."""

    there: tuple[Any, ...]
    back: tuple[Any, ...]

    @property
    def has_srgb_curves(self) -> bool:
        return self.back[-1] is None


@lru_cache(maxsize=8)
def _tables(found: Conversion, depth: np.dtype[Any]) -> _Tables:
    codes = np.linspace(0, 1, int(np.iinfo(depth).max) + 1)
    is_srgb = all(_is_srgb(curve) for curve in found.curves)
    table = None if is_srgb else _stacked(found.curves, codes)
    middle = middle_back = None
    matrix = _chained(np.column_stack((FROM_XYZ, np.zeros(3))), found.matrix)
    if found.mixed is not None:
        light = np.linspace(0, 1, STEPS[np.dtype(np.uint16)] + 1) ** 2
        middle = _rows(found.mixed), _stacked(found.curves_between, light)
        middle_back = _inverse_curves(found.curves_between, light), _rows(_inverse(found.mixed))
    light = np.linspace(0, 1, STEPS[depth] + 1) ** 2
    curves = None if is_srgb else _inverse_curves(found.curves, light)
    back = _rows(_inverse(matrix)), middle_back, curves
    return _Tables((table, middle, _rows(matrix)), back)


@lru_cache(maxsize=8)
def _grey_tables(found: Conversion, depth: np.dtype[Any]) -> tuple[Samples, Samples]:
    """Return the sRGB code of each grey code, and the grey code of each sRGB code of 16 bits."""
    white = int(np.iinfo(depth).max)
    values = np.linspace(0, 1, WHITE + 1)
    light = _grey_light(found, values)
    there = encoded(np.interp(np.linspace(0, 1, white + 1), values, light)) * WHITE
    back = np.interp(decoded(values), light, values) * white
    return there.round().astype(np.uint16), back.round().astype(depth)


def _grey_light(found: Conversion, values: Floats) -> Floats:
    """Return the light of equal channels, rising."""
    if len(found.curves) == 1:
        light = found.curves[0](values)
    else:
        channels = np.stack([curve(values) for curve in found.curves])
        if found.mixed is not None:
            channels = found.mixed[:, :3] @ channels + found.mixed[:, 3:]
            channels = np.stack(
                [curve(each.clip(0, 1)) for curve, each in zip(found.curves_between, channels, strict=True)]
            )
        light = found.matrix[1, :3] @ channels + found.matrix[1, 3]
    rising: Floats = np.maximum.accumulate(light.clip(0, 1))
    return rising


def _is_srgb(curve: Curve) -> bool:
    values = np.linspace(0, 1, 1025)
    return bool(np.abs(encoded(curve(values).clip(0, 1)) - values).max() < SAME_CURVE)


def _stacked(curves: tuple[Curve, ...], places: Floats) -> npt.NDArray[np.float32]:
    return np.stack([curve(places) for curve in curves]).astype(np.float32)


def _inverse_curves(curves: tuple[Curve, ...], light: Floats) -> npt.NDArray[np.float32]:
    values = np.linspace(0, 1, WHITE + 1)
    inverse = [np.interp(light, np.maximum.accumulate(curve(values)), values) for curve in curves]
    return np.stack(inverse).astype(np.float32)


def _chained(second: Matrix, first: Matrix) -> Matrix:
    return np.column_stack((second[:, :3] @ first[:, :3], second[:, :3] @ first[:, 3] + second[:, 3]))


def _inverse(matrix: Matrix) -> Matrix:
    inverse = np.linalg.inv(matrix[:, :3])
    return np.column_stack((inverse, -inverse @ matrix[:, 3]))


def _rows(matrix: Matrix) -> tuple[tuple[np.float32, ...], ...]:
    return tuple(tuple(row) for row in matrix.astype(np.float32))
