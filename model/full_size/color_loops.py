"""Loops between a photo's own colour space and sRGB, compiled by numba. The pipeline's `working_space.py` calls them.

A photo's own codes become linear light of sRGB's primaries: a table, or None for the curve of sRGB, gives the light of
each code, and a matrix mixes the channels. A few spaces mix twice, with further curves between; these are called
`middle`.

Tables other than those of codes hold a curve at the squares of 0 to 1 in equal steps, so that dark values are spread.

Suffixes: H height, V values of a row (3 for each pixel), T pixels of a tile, C channels, N entries of a table.
"""

import numpy as np

from model.compiled import compiled
from model.curve.light import BT709
from model.curve.srgb import CODED_FROM, LIGHT_FROM, SLOPE

TILE = 1024
# The sRGB curve above its linear part as a polynomial of the root of light, within 0.02 levels of 255, and its inverse
# as a polynomial of values, within 0.004
SRGB = tuple(map(np.float32, (-0.04378, 1.62391, -2.42563, 6.52762, -11.8111, 12.8417, -7.55627, 1.84362)))
TO_LIGHT = tuple(map(np.float32, (0.0008716, 0.0345014, 0.498123, 0.771901, -0.541194, 0.323451, -0.0876856)))
NEAR = 1e-4  # light by which a colour may lie outside of sRGB and still count as inside
DARK = 1e-3  # light that is added to both sides of the ratio of two lights, so that black's noise is not amplified


@compiled
def to_srgb(image_HV, srgb_HV, outside, table_CN, middle, matrix):  # type: ignore[no-untyped-def]
    """Write the sRGB of an image, clipped, and for each tile of each row whether any colour lies outside of sRGB."""
    light_CT = np.zeros((3, TILE), np.float32)
    for y in range(len(image_HV)):
        for tile in range(outside.shape[1]):
            values = slice(3 * TILE * tile, min(3 * TILE * (tile + 1), image_HV.shape[1]))
            _light_of(light_CT, image_HV[y, values], table_CN, middle, matrix)
            outside[y, tile] = _any_outside(light_CT)
            _encode(light_CT)
            _store(srgb_HV[y, values], light_CT)


@compiled
def from_srgb(  # type: ignore[no-untyped-def]
    srgb_HV, image_HV, outside, table_CN, middle, matrix, inverse, middle_inverse, curves_CN
):
    """Replace an image by an enhanced sRGB version of it. What lay outside of sRGB rises with the pixel's light.

    `inverse`: of the matrix. `middle_inverse`: curves from light to values, then
    a matrix. `curves_CN`: curves from light to values, or None for that of sRGB.
    """
    light_CT, own_CT = np.zeros((3, TILE), np.float32), np.zeros((3, TILE), np.float32)
    for y in range(len(image_HV)):
        for tile in range(outside.shape[1]):
            values = slice(3 * TILE * tile, min(3 * TILE * (tile + 1), image_HV.shape[1]))
            _load(light_CT, srgb_HV[y, values], None)
            if outside[y, tile]:
                _light_of(own_CT, image_HV[y, values], table_CN, middle, matrix)
                _add_outside(light_CT, own_CT)
            _mix(light_CT, inverse)
            if middle_inverse is not None:
                _look_up(light_CT, middle_inverse[0])
                _mix(light_CT, middle_inverse[1])
            if curves_CN is None:
                _encode(light_CT)
            else:
                _look_up(light_CT, curves_CN)
            _store(image_HV[y, values], light_CT)


@compiled
def _light_of(light_CT, values, table_CN, middle, matrix):  # type: ignore[no-untyped-def]
    _load(light_CT, values, table_CN)
    if middle is not None:
        _mix(light_CT, middle[0])
        _look_up(light_CT, middle[1])
    _mix(light_CT, matrix)


@compiled
def _any_outside(light_CT):  # type: ignore[no-untyped-def]
    half, most, found = np.float32(0.5), np.float32(0.5 + NEAR), np.int32(0)
    for c in range(3):
        light_T = light_CT[c]
        for i in range(TILE):
            found |= np.int32(abs(light_T[i] - half) > most)
    return found != 0


@compiled
def _load(light_CT, values, table_CN):  # type: ignore[no-untyped-def]
    """Write the light of each value, by a table or, if it is None, by the sRGB curve."""
    red_T, green_T, blue_T = light_CT[0], light_CT[1], light_CT[2]
    pixels = len(values) // 3
    if table_CN is None:
        scale = np.float32(1 / np.iinfo(values.dtype).max)
        for i in range(pixels):
            red_T[i], green_T[i], blue_T[i] = (
                values[3 * i] * scale,
                values[3 * i + 1] * scale,
                values[3 * i + 2] * scale,
            )
        _decode(light_CT)
    else:
        red_N, green_N, blue_N = table_CN[0], table_CN[1], table_CN[2]
        for i in range(pixels):
            red_T[i], green_T[i], blue_T[i] = (
                red_N[values[3 * i]],
                green_N[values[3 * i + 1]],
                blue_N[values[3 * i + 2]],
            )
    for i in range(pixels, TILE):  # the end of a row must not count as outside
        red_T[i], green_T[i], blue_T[i] = red_T[0], green_T[0], blue_T[0]


@compiled
def _store(values, coded_CT):  # type: ignore[no-untyped-def]
    white, half = np.float32(np.iinfo(values.dtype).max), np.float32(0.5)
    red_T, green_T, blue_T = coded_CT[0], coded_CT[1], coded_CT[2]
    for i in range(len(values) // 3):
        values[3 * i] = np.int32(red_T[i] * white + half)
        values[3 * i + 1] = np.int32(green_T[i] * white + half)
        values[3 * i + 2] = np.int32(blue_T[i] * white + half)


@compiled
def _mix(light_CT, matrix):  # type: ignore[no-untyped-def]
    """Take each pixel through a matrix of three rows and four columns, the last of which is added."""
    red_T, green_T, blue_T = light_CT[0], light_CT[1], light_CT[2]
    (a, b, c, d), (e, f, g, h), (j, k, m, n) = matrix
    for i in range(TILE):
        red, green, blue = red_T[i], green_T[i], blue_T[i]
        red_T[i] = a * red + b * green + c * blue + d
        green_T[i] = e * red + f * green + g * blue + h
        blue_T[i] = j * red + k * green + m * blue + n


@compiled
def _look_up(light_CT, curves_CN):  # type: ignore[no-untyped-def]
    zero, one, half = np.float32(0), np.float32(1), np.float32(0.5)
    last = np.float32(curves_CN.shape[1] - 1)
    for c in range(3):
        for i in range(TILE):
            light_CT[c, i] = curves_CN[c, np.int32(np.sqrt(min(max(light_CT[c, i], zero), one)) * last + half)]


@compiled
def _decode(light_CT):  # type: ignore[no-untyped-def]
    """Take sRGB values of [0, 1] to light."""
    start, slope = np.float32(CODED_FROM), np.float32(1 / SLOPE)
    a, b, c, d, e, f, g = TO_LIGHT
    for channel in range(3):
        light_T = light_CT[channel]
        for i in range(TILE):
            value = light_T[i]
            curved = a + value * (b + value * (c + value * (d + value * (e + value * (f + value * g)))))
            light_T[i] = value * slope if value <= start else curved


@compiled
def _encode(light_CT):  # type: ignore[no-untyped-def]
    """Take light through the sRGB curve, clipped to [0, 1]."""
    zero, one, start, slope = np.float32(0), np.float32(1), np.float32(LIGHT_FROM), np.float32(SLOPE)
    a, b, c, d, e, f, g, h = SRGB
    for channel in range(3):
        light_T = light_CT[channel]
        for i in range(TILE):
            light = min(max(light_T[i], zero), one)
            u = np.sqrt(light)
            curved = a + u * (b + u * (c + u * (d + u * (e + u * (f + u * (g + u * h))))))
            light_T[i] = min(light * slope if light <= start else curved, one)


@compiled
def _add_outside(light_CT, own_CT):  # type: ignore[no-untyped-def]
    """Add to enhanced light the part of a pixel's own light that sRGB cannot hold, as much brighter as the rest."""
    zero, one, dark = np.float32(0), np.float32(1), np.float32(DARK)
    of_red, of_green, of_blue = np.float32(BT709[0]), np.float32(BT709[1]), np.float32(BT709[2])
    for i in range(TILE):
        red, green, blue = own_CT[0, i], own_CT[1, i], own_CT[2, i]
        inside_red, inside_green = min(max(red, zero), one), min(max(green, zero), one)
        inside_blue = min(max(blue, zero), one)
        before = of_red * inside_red + of_green * inside_green + of_blue * inside_blue
        after = of_red * light_CT[0, i] + of_green * light_CT[1, i] + of_blue * light_CT[2, i]
        gain = (after + dark) / (before + dark)
        light_CT[0, i] += gain * (red - inside_red)
        light_CT[1, i] += gain * (green - inside_green)
        light_CT[2, i] += gain * (blue - inside_blue)
