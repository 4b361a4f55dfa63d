"""The mathematics of gain maps (ISO 21496-1; Ultra HDR image format 1.1, "Decode").

With B the light of the image for ordinary screens, its base, an HDR screen shows

    H = (B + offset_sdr) * 2 ** gain - offset_hdr,    gain = least + (most - least) * (value / 255) ** (1 / gamma)

Enhancement makes a base B' of B. The HDR rendition gets the same light added, so that shadows are lifted as on other
screens, and what the map adds stays: H' = H + (B' - B). Lamps are as bright as before, and without enhancement H' is H.
All are taken in the primaries of the photo, also for the few maps that mean others: their grey is the same.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.curve.srgb import decoded
from pipeline.images.photo import Coding, Frame, GainMap, Gains, Samples, to_8_bits
from pipeline.images.pixels import image_of, turned

Floats = npt.NDArray[np.float32]

BAND_ROWS = 256  # computed at once, to save memory
LUMINANCE = np.array((0.2126, 0.7152, 0.0722), np.float32)  # ITU-R BT.709; gains hardly differ by those of Display P3
DARKEST = 1e-6  # light, instead of none
LIGHT = decoded(np.arange(256) / 255).astype(np.float32)  # by level of sRGB, whose curve Display P3 shares


class StoredMap(NamedTuple):
    """A map as it is in a file: not turned upright yet."""

    pixels: Samples
    gains: Gains
    icc: bytes | None = None
    coding: Coding = Coding()
    coded: bytes | None = None
    note: str = ""


def fitted(stored: StoredMap, frame: Frame, orientation: int) -> GainMap:
    """Turn a map as its photo was turned, by the EXIF orientation. `frame`: the photo's pixels, upright."""
    gains = stored.gains
    pixels = turned(Frame(pixels=stored.pixels), orientation).pixels
    if any(len(set(each)) > 1 for each in (gains.least, gains.most, gains.gamma, gains.offset_sdr, gains.offset_hdr)):
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))  # a grey map that means another gain for each channel
    return GainMap(
        pixels=pixels,
        gains=gains,
        base=reduced(frame, (pixels.shape[1], pixels.shape[0])),
        icc=stored.icc,
        coding=stored.coding,
        coded=stored.coded if orientation == 1 else None,
        note=stored.note,
    )


def reduced(frame: Frame, size: tuple[int, int]) -> Samples:
    """Return an image reduced to the size of a map: HxWx3 or HxWx1 uint8.

    Levels are averaged, not light: a mean of light would let a lamp speak for the dark around it.
    """
    image = image_of(Frame(pixels=to_8_bits(frame.pixels)))
    if image.width % size[0] or image.height % size[1]:
        small = image.resize(size, Image.Resampling.BOX)
    else:  # most maps: three times as fast
        small = image.reduce((image.width // size[0], image.height // size[1]))
    return np.asarray(small).reshape(size[1], size[0], -1)


def enhanced(gain_map: GainMap, frame: Frame) -> GainMap:
    """Compute a map anew for the enhanced image. The same map is returned if nothing was enhanced."""
    base = reduced(frame, gain_map.size)
    if np.array_equal(base, gain_map.base):
        return gain_map
    gains = gain_map.gains  # with room for no gain at all, which may be what an enhanced part needs
    gains = replace(gains, least=tuple(min(x, 0) for x in gains.least), most=tuple(max(x, 0) for x in gains.most))
    least, most, gamma = (_numbers(each) for each in (gains.least, gains.most, gains.gamma))
    span = np.where(most > least, most - least, 1)
    pixels = np.empty_like(gain_map.pixels)
    for top in range(0, len(pixels), BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        share = ((_wanted(gain_map, base[rows], rows) - least) / span).clip(0, 1)
        pixels[rows] = np.rint(share**gamma * 255)
    return replace(gain_map, gains=gains, pixels=pixels, base=base, coded=None)


def _wanted(gain_map: GainMap, base: Samples, rows: slice) -> Floats:
    """Return the gains of some rows for the enhanced base, as base-2 logarithms."""
    channels = gain_map.pixels.shape[2]
    old, new = _light(gain_map.base[rows], channels), _light(base, channels)
    offset_sdr, offset_hdr = _numbers(gain_map.gains.offset_sdr), _numbers(gain_map.gains.offset_hdr)
    hdr = (old + offset_sdr) * _factors(gain_map, rows) - offset_hdr
    wanted: Floats = np.log2(np.maximum(hdr + new - old + offset_hdr, DARKEST) / np.maximum(new + offset_sdr, DARKEST))
    return wanted


def _factors(gain_map: GainMap, rows: slice) -> Floats:
    """Return the gains of some rows: HxWx1 or HxWx3."""
    least, most, gamma = (_numbers(each) for each in (gain_map.gains.least, gain_map.gains.most, gain_map.gains.gamma))
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    factors: Floats = np.exp2(least + (most - least) * levels ** (1 / gamma))
    pixels = gain_map.pixels[rows]
    found: Floats = factors[pixels, np.arange(pixels.shape[2])] if factors.shape[1] > 1 else factors.take(pixels)
    return found


def _numbers(values: tuple[float, ...]) -> Floats:
    return np.array(values, np.float32)


def _light(samples: Samples, channels: int) -> Floats:
    """Return the light of each channel, or the luminance for maps of one channel."""
    if channels > 1 or samples.shape[2] == 1:
        light: Floats = LIGHT.take(samples)
    else:
        red, green, blue = ((share * LIGHT).take(samples[..., c]) for c, share in enumerate(LUMINANCE))
        light = (red + green + blue)[..., None]
    return light
