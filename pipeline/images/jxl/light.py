"""Samples of JPEG XL that may be brighter than SDR although they are neither PQ nor HLG: linear light, and floats."""

from dataclasses import replace
from typing import Any

import numpy as np

from model.curve.srgb import Floats, decoded
from pipeline.images.color import cicp
from pipeline.images.jxl.libjxl import SDR_PEAK_CD, SRGB_TRANSFER, Image
from pipeline.images.photo import Samples
from pipeline.video.signal.transfer import BT2020, HDR, pq_signal

BAND_ROWS = 64  # converted at once, to save memory
BRIGHTEST_CD = 10_000  # light that PQ ends at
PQ = next(number for number, name in HDR.items() if name == "PQ")
FROM_XYZ = np.linalg.inv(cicp.colorants(cicp.WIDE[BT2020][1]))


def coded(image: Image, notes: list[str]) -> Image:
    """Return float32 samples as uint16: as PQ with the primaries of BT.2020 if any is brighter than SDR, else as is."""
    colors, peak_cd = image.info.color_channels, image.info.intensity_target
    for samples, _ in image.frames:
        np.nan_to_num(samples, copy=False)  # what is no number is black
    brightest = max(float(samples[..., :colors].max()) for samples, _ in image.frames)
    if not _light(np.array(brightest), image.encoding.transfer) * peak_cd > SDR_PEAK_CD:
        return replace(image, frames=[(_sixteen_bits(samples), ticks) for samples, ticks in image.frames])
    notes.append("light beyond that of SDR became PQ")
    to_cd = peak_cd * (np.eye(1) if colors == 1 else FROM_XYZ @ _to_xyz(image.encoding)).astype(np.float32)
    frames = [(_pq(samples, to_cd, image.encoding.transfer), ticks) for samples, ticks in image.frames]
    return replace(image, icc=None, hdr=(BT2020, PQ), frames=frames)


def _to_xyz(encoding: Any) -> Floats:
    """Return the XYZ at D50 of the primaries, as columns."""
    points = tuple(zip(encoding.primaries_xy[::2], encoding.primaries_xy[1::2], strict=True))
    return cicp.colorants(points, tuple(encoding.white_point_xy))


def _light(samples: Floats, transfer: int) -> Floats:
    """Return light, 1 for white; below 0 are colours outside of the primaries."""
    return np.sign(samples) * decoded(np.abs(samples)) if transfer == SRGB_TRANSFER else samples


def _pq(samples: Samples, to_cd: Floats, transfer: int) -> Samples:
    found, colors = _sixteen_bits(samples), len(to_cd)
    for top in range(0, len(samples), BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        light = _light(samples[rows, :, :colors], transfer)
        light_cd = np.einsum("hwc,dc->hwd", light, to_cd).clip(0, BRIGHTEST_CD)
        found[rows, :, :colors] = np.rint(pq_signal(light_cd) * 65535)
    return found


def _sixteen_bits(samples: Samples) -> Samples:
    return np.rint(samples.clip(0, 1) * np.float32(65535)).astype(np.uint16)
