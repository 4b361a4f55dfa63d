"""ICC profiles for colour given by numbers: those of ITU-T H.273, and primaries and gamma as PNG has them.

Without a profile, a Display P3 image from HEIF or AVIF would be taken for sRGB and look washed out.
"""

import struct

import numpy as np
import numpy.typing as npt

from model.curve import srgb
from pipeline.images.photo import Metadata
from pipeline.video.signal.transfer import HDR

Chromaticities = tuple[tuple[float, float], ...]  # x, y of red, green and blue
Curve = tuple[float, ...]  # parameters of ICC.1:2022 section 10.18: g alone, or g, a, b, c, d

UNSPECIFIED = 2
SRGB: Chromaticities = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
SRGB_NUMBERS = (1, 13)  # primaries and transfer
# H.273 table 2; all have a D65 white
WIDE: dict[int, tuple[str, Chromaticities]] = {
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))),
    12: ("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
}
D65 = (0.3127, 0.3290)
D50_XYZ = (0.9642, 1.0, 0.8249)  # ICC.1:2022 section 7.2.16
BRADFORD = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))

# H.273 table 3
SRGB_CURVE: Curve = (
    srgb.POWER,
    1 / (1 + srgb.OFFSET),
    srgb.OFFSET / (1 + srgb.OFFSET),
    1 / srgb.SLOPE,
    srgb.CODED_FROM,
)
BT709_CURVE: Curve = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
BT709_TRANSFERS = frozenset((1, 6, 14, 15))
POWERS = {4: 2.2, 5: 2.8, 8: 1.0}
# What counts as sRGB: distances of x, y, and exponents of samples, which programs round
SAME_XY, SRGB_POWERS = 0.002, (0.43, 0.48)
LIGHT_DROPPED = "content light level dropped: it was measured before enhancement"


def numbers_of(metadata: Metadata) -> tuple[int, int] | None:
    """Return primaries and transfer as the container states them, or else the `cicp` tag of the ICC profile."""
    if metadata.cicp is not None or metadata.icc is None or len(metadata.icc) < 132:
        return metadata.cicp
    icc = metadata.icc
    (count,) = struct.unpack_from(">I", icc, 128)
    for at in range(132, min(132 + 12 * count, len(icc) - 11), 12):
        tag, start = struct.unpack_from(">4sI", icc, at)
        if tag == b"cicp" and start + 10 <= len(icc):  # ICC.1:2022 section 10.3: type, reserved, the numbers
            return icc[start + 8], icc[start + 9]
    return None


def profile(primaries: int, transfer: int) -> bytes | None:
    """Return an ICC profile for the numbers of H.273; None for those that are taken as sRGB.

    Primaries other than BT.2020 and Display P3 are taken for those of sRGB. Also None for high dynamic range, which no
    profile of this kind describes.
    """
    if transfer in HDR or (primaries not in WIDE and transfer not in POWERS):
        return None
    name, chromaticities = WIDE.get(primaries, ("sRGB", SRGB))
    if transfer in POWERS:
        return _rgb_profile(f"{name}, gamma {POWERS[transfer]:g}", chromaticities, D65, (POWERS[transfer],))
    return _rgb_profile(name, chromaticities, D65, BT709_CURVE if transfer in BT709_TRANSFERS else SRGB_CURVE)


def profile_by_gamma(
    exponent: float | None, points: tuple[tuple[float, float], ...] | None, *, grey: bool
) -> bytes | None:
    """Return an ICC profile for samples that are light to the power of `exponent`; None if that is about sRGB.

    `points`: x, y of white, red, green and blue; None: those of sRGB. Numbers that cannot be are ignored.
    """
    if exponent is not None and not 0.1 <= exponent <= 10:
        exponent = None
    if points is not None and (_area(points[1:]) < 0.01 or min(y for _, y in points) <= 0):
        points = None
    wide = points is not None and not np.allclose(points, (D65, *SRGB), rtol=0, atol=SAME_XY)
    if exponent is None or (not (wide and not grey) and SRGB_POWERS[0] <= exponent <= SRGB_POWERS[1]):
        curve = SRGB_CURVE
    else:
        curve = (1 / exponent,)
    if grey:
        return None if curve is SRGB_CURVE else _profile(b"GRAY", "Grey by numbers", {b"kTRC": _parametric(curve)})
    if curve is SRGB_CURVE and not wide:
        return None
    white, *primaries = points if points is not None else (D65, *SRGB)
    return _rgb_profile("RGB by numbers", tuple(primaries), white, curve)


def _area(triangle: Chromaticities) -> float:
    (a, b), (c, d), (e, f) = triangle
    return abs((c - a) * (f - b) - (e - a) * (d - b)) / 2


def _rgb_profile(name: str, chromaticities: Chromaticities, white: tuple[float, float], curve: Curve) -> bytes:
    columns, adaptation = _colorants(chromaticities, white)
    parametric = _parametric(curve)
    tags = {
        b"chad": b"sf32" + bytes(4) + _fixed(*adaptation.flatten().tolist()),
        **{
            kind + b"XYZ": b"XYZ " + bytes(4) + _fixed(*columns[:, at].tolist())
            for at, kind in enumerate((b"r", b"g", b"b"))
        },
        **{kind + b"TRC": parametric for kind in (b"r", b"g", b"b")},
    }
    return _profile(b"RGB ", name, tags)


def _profile(space: bytes, name: str, tags: dict[bytes, bytes]) -> bytes:
    common = {
        b"desc": _text(name),
        b"cprt": _text("No copyright"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(*D50_XYZ),
    }
    return _assembled(space, {**common, **tags})


def _parametric(curve: Curve) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", 3 if len(curve) > 1 else 0, 0) + _fixed(*curve)


def colorants(chromaticities: Chromaticities, white: tuple[float, float] = D65) -> npt.NDArray[np.float64]:
    """Return the XYZ at D50 of primaries, as columns. Raises LinAlgError if they lie on a line."""
    return _colorants(chromaticities, white)[0]


def _colorants(
    chromaticities: Chromaticities, white_xy: tuple[float, float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the primaries' XYZ at D50, as columns, and the white-to-D50 matrix used (ICC.1:2022 annex E)."""
    xyz = np.array([_xyz(*point) for point in chromaticities]).T
    white = np.array(_xyz(*white_xy))
    xyz = xyz * np.linalg.solve(xyz, white)
    gains = (BRADFORD @ np.array(D50_XYZ)) / (BRADFORD @ white)
    adaptation = np.linalg.inv(BRADFORD) @ np.diag(gains) @ BRADFORD
    return adaptation @ xyz, adaptation


def _xyz(x: float, y: float) -> tuple[float, float, float]:
    return x / y, 1.0, (1 - x - y) / y


def _fixed(*values: float) -> bytes:
    """Encode numbers as s15Fixed16Number (ICC.1:2022 section 4.6)."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _text(content: str) -> bytes:
    """Encode a text as multiLocalizedUnicodeType with one record (ICC.1:2022 section 10.15)."""
    packed = content.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(packed), 28) + packed


def _assembled(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Join header (section 7.2), tag table (7.3) and tag data, each at a multiple of four bytes."""
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for signature, content in tags.items():
        table += struct.pack(">4sII", signature, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sIIIQI12s4s44x", start + len(body), b"", 0x04300000, b"mntr", space, b"XYZ ",
        struct.pack(">6H", 2024, 1, 1, 0, 0, 0), b"acsp", b"", 0, 0, 0, 0, 0, _fixed(*D50_XYZ), b"",
    )  # fmt: skip
    return header + struct.pack(">I", len(tags)) + table + body
