"""Orientation, sizes and regions in XMP, for pixels that were turned upright.

Regions of faces are stated for the pixels as stored: by the Metadata Working Group (Guidelines 2.0 section 5.9), with
Apple's additions, and by Microsoft (People Tagging Schema).
"""

import re
from collections.abc import Callable

from pipeline.images.metadata.elements import Elements

ORIENTATION = re.compile(rb"""(\btiff:Orientation(?:\s*=\s*["']|>\s*))[1-8]""")
AREA = Elements(r"\w[\w-]*:Area")
APPLIED = Elements(r"\w[\w-]*:AppliedToDimensions")
PIXELS = re.compile(rb"""\bstArea:unit(?:\s*=\s*["']|>\s*)pixel""")
RECTANGLE = re.compile(rb"""(\bMPReg:Rectangle(?:\s*=\s*["']|>\s*))([\d.,\seE+-]+)""")
ROLL = re.compile(rb"""(\bapple-fi:AngleInfoRoll(?:\s*=\s*["']|>\s*))(\d{1,4})\b""")
TURNS = {3: 180, 6: 90, 8: 270}  # degrees clockwise from stored to shown, of the orientations that mirror nothing
WIDTHS, HEIGHTS = rb"tiff:ImageWidth|exif:PixelXDimension", rb"tiff:ImageLength|exif:PixelYDimension"


def upright(packet: bytes, orientation: int, size: tuple[int, int]) -> bytes:
    """Set the orientation to 1, correct the sizes, and turn the regions; `size` is the new width and height."""
    packet = ORIENTATION.sub(rb"\g<1>1", packet)
    for names, side in zip((WIDTHS, HEIGHTS), size, strict=True):
        packet = re.sub(rb"(\b(?:" + names + rb""")(?:\s*=\s*["']|>\s*))\d+""", rb"\g<1>%d" % side, packet)
    if orientation == 1 or _is_upright(packet, orientation, size):
        return packet
    if orientation >= 5:
        packet = APPLIED.changed(packet, lambda element: _changed(element, b"wh", lambda w, h: (h, w), "{:.0f}"))
    packet = AREA.changed(packet, lambda area: _turned_area(area, orientation, size))
    packet = RECTANGLE.sub(lambda found: found[1] + _turned_rectangle(found[2], orientation), packet)
    turn = TURNS.get(orientation, 0)
    return ROLL.sub(lambda found: found[1] + b"%d" % ((int(found[2]) + turn) % 360), packet)


def turned_point(x: float, y: float, orientation: int) -> tuple[float, float]:
    """Return where a point of the stored image, 0 to 1 in both directions, is shown."""
    if orientation >= 5:
        x, y = y, x
    return (1 - x if orientation in (2, 3, 6, 7) else x), (1 - y if orientation in (3, 4, 7, 8) else y)


def _is_upright(packet: bytes, orientation: int, size: tuple[int, int]) -> bool:
    """Return whether the regions were made for the image as shown: by its size, if a quarter turn changes that."""
    applied = next(APPLIED.found(packet), None)
    values = None if applied is None else _values(applied, b"wh")
    if values is None or orientation < 5 or size[0] == size[1]:
        return False
    return (values[0] > values[1]) == (size[0] > size[1]) and values[0] != values[1]


def _turned_area(area: bytes, orientation: int, size: tuple[int, int]) -> bytes:
    """Turn an area, whose x and y are its middle, as shares of the sides or, in a few files, in pixels."""
    after = size if PIXELS.search(area) else (1, 1)
    before = after if orientation < 5 else after[::-1]

    def turn(x: float, y: float) -> tuple[float, float]:
        x, y = turned_point(x / before[0], y / before[1], orientation)
        return x * after[0], y * after[1]

    area = _changed(area, b"xy", turn)
    return _changed(area, b"wh", lambda w, h: (h, w)) if orientation >= 5 else area


def _turned_rectangle(text: bytes, orientation: int) -> bytes:
    """Turn "x, y, width, height", whose x and y are its top left corner."""
    try:
        left, top, width, height = (float(part) for part in text.split(b","))
    except ValueError:
        return text
    corners = [turned_point(left, top, orientation), turned_point(left + width, top + height, orientation)]
    (x, y), (right, bottom) = map(min, *corners), map(max, *corners)
    return b", ".join(b"%.6f" % max(value, 0) for value in (x, y, right - x, bottom - y))


def _pattern(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(\b\w+:" + name + rb"""(?:\s*=\s*["']|>\s*))([\d.eE+-]+)""")


def _values(element: bytes, names: bytes) -> tuple[float, float] | None:
    found = [_pattern(bytes((name,))).search(element) for name in names]
    try:
        first, second = (float(each[2]) for each in found if each)
    except ValueError:
        return None
    return first, second


def _changed(
    element: bytes, names: bytes, change: Callable[[float, float], tuple[float, float]], form: str = "{:.6f}"
) -> bytes:
    """Change two numbers of an element, whose names are the letters of `names`, together."""
    values = _values(element, names)
    if values is None:
        return element
    for name, value in zip(names, change(*values), strict=True):
        element = _pattern(bytes((name,))).sub(rb"\g<1>" + form.format(value).encode(), element, count=1)
    return element
