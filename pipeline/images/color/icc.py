"""ICC profiles as curves and matrices (ICC.1:2022), as far as they can be inverted exactly.

That is so for profiles of primaries and tone curves (section F.3), for grey ones (F.2), and for those whose table of
colours is no more than a matrix (`mAB `, section 10.12), as in the XYB of jpegli.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.curve.srgb import Floats

Curve = Callable[[Floats], Floats]
Matrix = npt.NDArray[np.float64]  # 3x4: three rows of factors, and what is added

OF_ENCODED_XYZ = 1 + 32767 / 32768  # the XYZ that is encoded as 1 (section 6.3.4.2)
EXACT = 1e-3  # how far a table of colours may be from a matrix
AS_IT_IS = np.linspace(0, 1, 9)
UNCHANGED = np.eye(3, 4)
BROKEN = (struct.error, ValueError, IndexError, KeyError, np.linalg.LinAlgError)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)  # compared by identity, so that it can be a key
class Conversion:
    """The way from a photo's values, 0 to 1, to XYZ at D50: curves, `mixed` and `curves_between` if any, `matrix`."""

    curves: tuple[Curve, ...]
    """One for grey, which yields Y; otherwise three."""
    mixed: Matrix | None = None
    curves_between: tuple[Curve, ...] = ()
    matrix: Matrix


def light_of(lightness: Floats) -> Floats:
    """Return the light of L*, divided by 100 (CIE 15, section 8.2.1)."""
    root = (100 * lightness + 16) / 116
    return np.where(root > 6 / 29, root**3, (root - 4 / 29) * (108 / 841))


OF_GREY: dict[bytes, Curve] = {b"XYZ ": lambda light: light, b"Lab ": light_of}


def conversion_of(icc: bytes) -> Conversion | None:
    """Return the conversion of an RGB or grey profile; None if it is damaged, or none that can be inverted."""
    try:
        found = tags(icc)
        if b"kTRC" in found and icc[20:24] in OF_GREY:
            return Conversion(curves=(_grey(_curve(found[b"kTRC"])[0], OF_GREY[icc[20:24]]),), matrix=UNCHANGED)
        if icc[20:24] != b"XYZ ":
            return None
        if b"rTRC" in found:
            columns = [struct.unpack_from(">3i", found[kind + b"XYZ"], 8) for kind in (b"r", b"g", b"b")]
            matrix = np.column_stack((np.array(columns).T / 65536, np.zeros(3)))
            trc = tuple(_curve(found[kind + b"TRC"])[0] for kind in (b"r", b"g", b"b"))
            return Conversion(curves=trc, matrix=_regular(matrix))
        table = found.get(b"A2B1", found.get(b"A2B0"))
        return None if table is None or table[:4] != b"mAB " else _conversion_of_table(table)
    except BROKEN:
        return None


def tags(icc: bytes) -> dict[bytes, bytes]:
    """Return the data of each tag (section 7.3). Raises struct.error if the table of tags is cut short."""
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = [struct.unpack_from(">4sII", icc, 132 + 12 * index) for index in range(min(count, 100))]
    return {signature: icc[start : start + length] for signature, start, length in entries}


def _curve(data: bytes) -> tuple[Curve, int]:
    """Return the curve of a `curv` (section 10.6) or a `para` (10.18), and the bytes that it takes."""
    if data[:4] == b"para":
        return _parametric(data)
    (count,) = struct.unpack_from(">I", data, 8)
    if data[:4] != b"curv" or 12 + 2 * count > len(data):
        raise ValueError("no curve")
    if count == 0:
        return lambda x: x, 12
    levels = np.frombuffer(data, ">u2", count, 12).astype(np.float64)
    if count == 1:
        gamma = float(levels[0]) / 256
        return lambda x: x**gamma, 14
    places, levels = np.linspace(0, 1, count), np.maximum.accumulate(levels / 65535)
    return lambda x: np.interp(x, places, levels), 12 + 2 * count


def _grey(curve: Curve, light: Curve) -> Curve:
    return lambda x: light(curve(x))


def _parametric(data: bytes) -> tuple[Curve, int]:
    (kind,) = struct.unpack_from(">H", data, 8)
    count = (1, 3, 4, 5, 7)[kind]
    g, *rest = (value / 65536 for value in struct.unpack_from(f">{count}i", data, 12))
    a, b, *rest = rest if rest else (1.0, 0.0)
    if g <= 0 or (kind in (1, 2) and not a):
        raise ValueError("a curve without slope, or that ends nowhere")
    if kind == 1:
        c, d, e, f = 0.0, -b / a, 0.0, 0.0
    elif kind == 2:
        c, d, e, f = 0.0, -b / a, rest[0], rest[0]
    else:
        c, d, e, f = [*rest, *[0.0] * (4 - len(rest))] if rest else [0.0] * 4

    def parametric(x: Floats) -> Floats:
        found: Any = np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
        return np.asarray(found, np.float64).clip(0, 1)

    return parametric, 12 + 4 * count


def _conversion_of_table(table: bytes) -> Conversion:
    """Read a `mAB ` whose table of colours, if it has one, is a matrix, and whose last curves change nothing."""
    last, matrix_at, middle, colours, first = struct.unpack_from(">5I", table, 12)
    if table[8:10] != b"\3\3" or not change_nothing(curves(table, last)):
        raise ValueError("not three channels, or curves behind the matrix")
    to_xyz = _regular((matrix(table, matrix_at) if matrix_at else UNCHANGED) * OF_ENCODED_XYZ)
    if not colours:
        return Conversion(curves=curves(table, middle or last), matrix=to_xyz)
    mixed = _regular(_matrix_of_colours(table, colours))
    return Conversion(
        curves=curves(table, first), mixed=mixed, curves_between=curves(table, middle), matrix=to_xyz
    )  # fmt: skip


def curves(table: bytes, at: int, count: int = 3) -> tuple[Curve, ...]:
    """Read curves that follow each other, each at a multiple of four bytes. Raises an error of BROKEN."""
    found = []
    for _ in range(count):
        curve, length = _curve(table[at:])
        found.append(curve)
        at += -(-length // 4) * 4
    return tuple(found)


def matrix(table: bytes, at: int) -> Matrix:
    """Read three rows of factors, then what is added (section 10.12.5). Raises an error of BROKEN."""
    numbers = np.array(struct.unpack_from(">12i", table, at)) / 65536
    return np.column_stack((numbers[:9].reshape(3, 3), numbers[9:]))


def change_nothing(curves: tuple[Curve, ...]) -> bool:
    """Return whether values pass through curves as they are."""
    return all(bool(np.abs(curve(AS_IT_IS) - AS_IT_IS).max() < EXACT) for curve in curves)


def _matrix_of_colours(table: bytes, at: int) -> Matrix:
    """Return the matrix that a table of two by two by two colours is. Raises ValueError for any other table."""
    size, width = 2 if table[at + 16] == 2 else 1, table[at + 16]
    if table[at : at + 3] != b"\2\2\2" or width not in (1, 2):
        raise ValueError("more than corners")
    numbers = np.frombuffer(table, f">u{size}", 24, at + 20).reshape(2, 2, 2, 3) / (256**size - 1)
    zero = numbers[0, 0, 0]
    sides = np.column_stack((numbers[1, 0, 0], numbers[0, 1, 0], numbers[0, 0, 1])) - zero[:, None]
    corners = np.stack(np.meshgrid(*[(0, 1)] * 3, indexing="ij"), axis=-1)
    if np.abs(corners @ sides.T + zero - numbers).max() > EXACT:
        raise ValueError("not a matrix")
    return np.column_stack((sides, zero))


def _regular(matrix: Matrix) -> Matrix:
    """Return the matrix. Raises ValueError if it cannot be inverted."""
    if abs(np.linalg.det(matrix[:, :3])) < 1e-6:
        raise ValueError("no inverse")
    return matrix
