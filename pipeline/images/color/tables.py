"""ICC profiles as tables of colours, in full precision: `mft1`, `mft2` and `mAB ` (ICC.1:2022 sections 10.10 to 10.12).

Scanners, cameras and printers have such profiles, and some programs write them for ordinary colour spaces. LittleCMS
does the same with photos of 8 bits, but through Pillow it takes no more.
"""

import struct
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.curve.srgb import Floats, encoded
from pipeline.images.color import icc
from pipeline.images.color.cicp import D50_XYZ
from pipeline.images.color.icc import BROKEN, OF_ENCODED_XYZ, Conversion, Curve, Matrix
from pipeline.images.photo import Samples

Decoder = tuple[float, float, float]  # what a value of 1 stands for in L*, and in a* and b*, which begin at the last

LAB_8_BITS: Decoder = (100, 255, -128)  # `mft1` and `mAB ` (section 6.3.4.2)
LAB_OF_MFT2: Decoder = (100 * 65535 / 65280, 65535 / 256, -128)
LIGHTEST_BLACK = 0.5  # L* divided by 100; a profile whose black is lighter has none
MOST_NODES = 1 << 22
BAND_ROWS = 64  # converted at once, to save memory
WHITE = np.array(D50_XYZ, np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """A grid of colours over all combinations of values, and what stands at its nodes."""

    sizes: tuple[int, ...]
    colours: Floats
    """Nx3; the last value changes fastest."""

    def at(self, values: Floats) -> Floats:
        """Interpolate in the simplex around each place: between four nodes of a cube. `values`: NxC of 0 to 1."""
        sizes = np.array(self.sizes)
        strides = np.append(np.cumprod(sizes[:0:-1])[::-1], 1)
        places = values * (sizes - 1).astype(np.float32)
        low = np.minimum(places.astype(np.int64), np.maximum(sizes - 2, 0))
        shares = places - low.astype(np.float32)
        order = np.argsort(-shares, axis=1)
        falling = np.take_along_axis(shares, order, axis=1)
        steps = np.where(sizes > 1, strides, 0)[order]
        node = low @ strides
        found: Floats = self.colours[node] * (1 - falling[:, :1])
        for step in range(len(sizes)):
            node += steps[:, step]
            behind = falling[:, step + 1] if step + 1 < len(sizes) else 0
            found += self.colours[node] * (falling[:, step] - behind)[:, None]
        return found


@dataclass(frozen=True, kw_only=True)
class Table:
    """The way from a photo's values to XYZ at D50: curves, nodes, curves, a matrix, and curves."""

    channels: int
    curves: tuple[Curve, ...]
    nodes: Nodes | None
    curves_between: tuple[Curve, ...] = ()
    matrix: Matrix | None = None
    last_curves: tuple[Curve, ...]
    lab: Decoder | None
    """None: the result is XYZ."""
    colorimetric: bool
    """Whether it is made for this use. LittleCMS looks for black only then."""

    @cached_property
    def _of_codes(self) -> list[Floats]:
        """Return for each channel what the first curves make of each code."""
        codes = np.linspace(0, 1, 65536)
        curves = self.curves or (lambda x: x,) * self.channels
        return [curve(codes).clip(0, 1).astype(np.float32) for curve in curves]

    def xyz(self, codes: Samples) -> Floats:
        """Convert NxC uint16 to Nx3."""
        found: Floats = np.stack([table[codes[:, at]] for at, table in enumerate(self._of_codes)], axis=1)
        if self.nodes is not None:
            found = self.nodes.at(found)
        found = _through(self.curves_between, found)
        if self.matrix is not None:
            found = _mixed(found, self.matrix[:, :3]) + self.matrix[:, 3].astype(np.float32)
        found = _through(self.last_curves, found)
        return found * np.float32(OF_ENCODED_XYZ) if self.lab is None else _xyz(found, self.lab)

    @cached_property
    def black(self) -> float:
        """Return the light that becomes black, that of the darkest colour, as LittleCMS finds it."""
        if not self.colorimetric:
            return 0.0
        light = float(self.xyz(np.zeros((1, self.channels), np.uint16))[0, 1])
        return min(max(light, 0), float(icc.light_of(np.array(LIGHTEST_BLACK))))

    def converted(self, pixels: Samples, from_xyz: Floats) -> Samples:
        """Convert HxWxC uint16 to HxWx3, clipped, with the curve of sRGB and the primaries of the 3x3 `from_xyz`.

        The darkest colour becomes black (black point compensation, ISO 18619).
        """
        height, width, _ = pixels.shape
        found = np.empty((height, width, 3), np.uint16)
        black = np.float32(self.black)
        for top in range(0, height, BAND_ROWS):
            rows = pixels[top : top + BAND_ROWS]
            codes = np.broadcast_to(rows, (*rows.shape[:2], self.channels)).reshape(-1, self.channels)
            xyz = self.xyz(codes)
            light = _mixed((xyz - black * WHITE) / (1 - black), from_xyz)
            found[top : top + BAND_ROWS] = np.rint(encoded(light.clip(0, 1)) * 65535).reshape(*rows.shape[:2], 3)
        return found

    def grey(self) -> Conversion | None:
        """Return the conversion of a grey profile, whose tint does not count; None for other profiles."""
        if self.channels != 1:
            return None
        places = np.linspace(0, 1, 65536)
        light = self.xyz(np.arange(65536, dtype=np.uint16)[:, None])[:, 1].astype(np.float64)
        return Conversion(curves=(lambda x: np.interp(x, places, light),), matrix=icc.UNCHANGED)


def table_of(profile: bytes) -> Table | None:
    """Return the table of a grey or RGB profile; None if it has none, or one that is damaged or of another kind."""
    channels = {b"GRAY": 1, b"RGB ": 3}.get(profile[16:20])
    connection = profile[20:24]
    try:
        tags = icc.tags(profile)
        data = tags.get(b"A2B1", tags.get(b"A2B0"))
        if channels is None or data is None or connection not in (b"XYZ ", b"Lab ") or data[8] != channels:
            return None
        if data[9] != 3:
            return None
        lab = {b"mft1": LAB_8_BITS, b"mft2": LAB_OF_MFT2, b"mAB ": LAB_8_BITS}[data[:4]]
        read = _of_parts if data[:4] == b"mAB " else _of_mft
        return read(data, channels, lab if connection == b"Lab " else None, bool({b"A2B1", b"rTRC"} & tags.keys()))
    except BROKEN:
        return None


def _of_mft(data: bytes, channels: int, lab: Decoder | None, colorimetric: bool) -> Table:
    """Read a `mft1` or `mft2`. Its matrix is for XYZ only."""
    kind, at, counts = (
        (">u1", 48, (256, 256)) if data[:4] == b"mft1" else (">u2", 52, struct.unpack_from(">2H", data, 48))
    )
    top = 255 if kind == ">u1" else 65535

    def levels(count: int) -> Floats:
        nonlocal at
        found = np.frombuffer(data, kind, count, at)
        at += found.nbytes
        return found.astype(np.float32) / np.float32(top)

    before = levels(channels * counts[0]).reshape(channels, -1)
    sizes = (data[10],) * channels
    colours = levels(3 * _count(sizes)).reshape(-1, 3)
    after = levels(3 * counts[1]).reshape(3, -1)
    return Table(
        channels=channels,
        curves=tuple(map(_sampled, before)),
        nodes=Nodes(sizes=sizes, colours=colours),
        last_curves=tuple(map(_sampled, after)),
        lab=lab,
        colorimetric=colorimetric,
    )


def _of_parts(data: bytes, channels: int, lab: Decoder | None, colorimetric: bool) -> Table:
    """Read a `mAB `, of which only the last curves are always there."""
    last, matrix_at, middle, nodes_at, first = struct.unpack_from(">5I", data, 12)
    if (not nodes_at and channels != 3) or (nodes_at and not first):
        raise ValueError("parts are missing")
    return Table(
        channels=channels,
        curves=icc.curves(data, first, channels) if first else (),
        nodes=_nodes(data, nodes_at, channels) if nodes_at else None,
        curves_between=icc.curves(data, middle) if middle else (),
        matrix=icc.matrix(data, matrix_at) if matrix_at else None,
        last_curves=icc.curves(data, last),
        lab=lab,
        colorimetric=colorimetric,
    )


def _nodes(data: bytes, at: int, channels: int) -> Nodes:
    sizes, width = tuple(data[at : at + channels]), data[at + 16]
    if width not in (1, 2):
        raise ValueError("numbers of another size")
    colours = np.frombuffer(data, f">u{width}", 3 * _count(sizes), at + 20).reshape(-1, 3)
    return Nodes(sizes=sizes, colours=colours.astype(np.float32) / np.float32(256**width - 1))


def _count(sizes: tuple[int, ...]) -> int:
    count = int(np.prod(sizes, dtype=np.int64))
    if not 0 < count <= MOST_NODES:
        raise ValueError("no nodes, or too many")
    return count


def _sampled(levels: Floats) -> Curve:
    if not len(levels):  # LittleCMS takes such a curve for one that changes nothing
        return lambda x: x
    places = np.linspace(0, 1, len(levels))
    return lambda x: np.interp(x, places, levels)


def _through(curves: tuple[Curve, ...], values: Floats) -> Floats:
    """Take each channel through its curve, clipped to 0 to 1."""
    values = values.clip(0, 1)
    if not curves or icc.change_nothing(curves):
        return values
    found: Floats = np.stack([curve(values[:, at]) for at, curve in enumerate(curves)], axis=1).astype(np.float32)
    return found


def _mixed(values: Floats, matrix: Floats) -> Floats:
    """Take Nx3 values through a 3x3 matrix, on one core: BLAS would share such small products among all of them."""
    found: Floats = np.einsum("nc,dc->nd", values, matrix.astype(np.float32))
    return found


def _xyz(values: Floats, lab: Decoder) -> Floats:
    """Return the XYZ at D50 of encoded L*, a* and b*: a* and b* add to L* (CIE 15, section 8.2.1)."""
    white, span, least = (np.float32(number) for number in lab)
    lightness, (a, b) = values[:, 0] * white, (values[:, 1:] * span + least).T
    lights = np.stack((lightness + 0.232 * a, lightness, lightness - 0.58 * b), axis=1)
    return icc.light_of(lights / 100).astype(np.float32) * WHITE
