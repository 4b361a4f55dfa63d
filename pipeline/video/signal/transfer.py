"""Tables over 16-bit codes that convert HLG and PQ to the signal that curves act on, back, and down to SDR.

Formulas: ITU-R BT.2100-2 (HLG and PQ), BT.2408-7 (diffuse white at 75 % HLG, 203 cd/m2), BT.2390-11 section 5.4
(roll-off of highlights), BT.2087 and BT.1886 (to BT.709). Light is relative to diffuse white unless it is in cd/m2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorTrc

Codes = npt.NDArray[np.uint16]
Light = npt.NDArray[np.float64]
Signal = npt.NDArray[np.float32]

HDR = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
WHITE_CD = 203.0  # diffuse white
PEAK_CD = 1000.0  # of the display that HLG is shown on and that PQ is assumed to be graded for
SDR_GAMMA = 2.2
TOP = 65535
HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073
PQ_M1, PQ_M2, PQ_C1, PQ_C2, PQ_C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
BT709, BT2020, DISPLAY_P3 = 1, 9, 12  # primaries: ITU-T H.273, table 2
TO_BT709 = {  # applied to linear light: BT.2087, and the like for the others
    BT709: np.eye(3),
    BT2020: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
    DISPLAY_P3: np.array([[1.2249, -0.2249, 0.0], [-0.0421, 1.0421, 0.0], [-0.0196, -0.0786, 1.0982]]),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """Lookup tables of one transfer function, each indexed by a 16-bit code."""

    to_curves: Codes
    """Coded signal -> signal that curves act on; 65535 at diffuse white and above."""
    from_curves: Codes
    """Inverse of `to_curves`, below diffuse white."""
    white: int
    """Lowest code at or above diffuse white."""
    to_sdr: npt.NDArray[np.float32]
    """Coded signal -> display light, 0 to 1, highlights rolled off, still with the primaries of the source."""


@cache
def tables(transfer: int) -> Tables:
    """Compute the tables of one transfer function. `transfer`: a key of HDR."""
    codes = np.arange(TOP + 1) / TOP
    scene = _hlg_light(codes) / _hlg_light(np.array(0.75)) if HDR[transfer] == "HLG" else _pq_cd(codes) / WHITE_CD
    white = int(np.searchsorted(scene, 1))
    signal = np.minimum(scene, 1) ** (1 / SDR_GAMMA)
    below = slice(0, white + 1)
    return Tables(
        to_curves=np.round(signal * TOP).astype(np.uint16),
        from_curves=np.round(np.interp(codes, signal[below], codes[below]) * TOP).astype(np.uint16),
        white=white,
        to_sdr=_rolled_off(_display_cd(transfer, codes)).astype(np.float32),
    )


def for_curves(coded: Codes, transfer: int) -> Codes:
    """Convert an HDR signal to the signal that curves act on."""
    return tables(transfer).to_curves[coded]


def from_curves(enhanced: Codes, coded: Codes, transfer: int) -> Codes:
    """Convert the output of the curves back to HDR. What was brighter than diffuse white in `coded` is kept."""
    found = tables(transfer)
    return np.where(coded >= found.white, coded, found.from_curves[enhanced])


def to_sdr(
    coded: Codes,
    transfer: int,
    primaries: int = BT2020,
    encoded: Callable[[Signal], Signal] = lambda light: light ** (1 / 2.4),
) -> npt.NDArray[np.uint8]:
    """Convert HxWx3 HDR to 8-bit SDR with the primaries of BT.709.

    `primaries`: the source's, taken for those of BT.2020 unless they are a key of TO_BT709. `encoded`: from display
    light to signal, by default as BT.1886 shows videos.
    """
    matrix = TO_BT709.get(primaries, TO_BT709[BT2020]).T.astype(np.float32)
    light = np.clip(tables(transfer).to_sdr[coded] @ matrix, 0, 1)
    return np.round(encoded(light) * 255).astype(np.uint8)


def to_hdr(signal: Signal, transfer: int) -> Codes:
    """Convert HxWx3 SDR, 0 to 1, with the primaries of BT.709, to HDR with those of BT.2020: white to diffuse white."""
    matrix = np.linalg.inv(TO_BT709[BT2020]).T.astype(np.float32)
    light = np.clip(signal**SDR_GAMMA @ matrix, 0, 1) ** (1 / SDR_GAMMA)
    return tables(transfer).from_curves[np.round(light * TOP).astype(np.uint16)]


def _hlg_light(signal: Light) -> Light:
    """Return scene light, 1 at the top, by the inverse OETF of HLG."""
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - HLG_C) / HLG_A) + HLG_B) / 12)


def _pq_cd(signal: Light) -> Light:
    power = signal ** (1 / PQ_M2)
    return 10_000 * (np.maximum(power - PQ_C1, 0) / (PQ_C2 - PQ_C3 * power)) ** (1 / PQ_M1)


def pq_signal(light_cd: Light) -> Light:
    """Return PQ values, 0 to 1, of light in cd/m2."""
    power = (np.maximum(light_cd, 0) / 10_000) ** PQ_M1
    return ((PQ_C1 + PQ_C2 * power) / (1 + PQ_C3 * power)) ** PQ_M2


def _display_cd(transfer: int, signal: Light) -> Light:
    """Return display light in cd/m2. HLG's system gamma, 1.2 at 1000 cd/m2, is applied to each channel separately."""
    return PEAK_CD * _hlg_light(signal) ** 1.2 if HDR[transfer] == "HLG" else _pq_cd(signal)


def _rolled_off(light_cd: Light) -> Light:
    """Apply BT.2390's EETF from PEAK_CD down to diffuse white, which becomes 1."""
    peak = pq_signal(np.array(PEAK_CD))
    signal = np.minimum(pq_signal(light_cd) / peak, 1)
    top = float(pq_signal(np.array(WHITE_CD)) / peak)
    knee = 1.5 * top - 0.5
    t = np.maximum((signal - knee) / (1 - knee), 0)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    return _pq_cd(np.where(signal < knee, signal, spline) * peak) / WHITE_CD
