"""Regions of faces and sizes in metadata are turned with the pixels."""

import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.images import decode, encode
from tests.support import media

MAX_PX = 10_000_000
LAMP = (0.85, 0.2)  # where the red lamp of the scene is shown


def as_stored(x: float, y: float, orientation: int) -> tuple[float, float]:
    """Where a camera stores what is shown at this point, found in the pixels."""
    shown = np.zeros((64, 96, 3), np.uint8)
    shown[int(y * 64), int(x * 96)] = 255
    stored = media.stored(shown, orientation)
    row, column = np.argwhere(stored[..., 0])[0]
    return (column + 0.5) / stored.shape[1], (row + 0.5) / stored.shape[0]


def face(orientation: int, *, elements: bool = False) -> bytes:
    x, y = as_stored(*LAMP, orientation)
    w, h = (0.1, 0.2) if orientation < 5 else (0.2, 0.1)
    width, height = (96, 64) if orientation < 5 else (64, 96)
    values = {"x": x, "y": y, "w": w, "h": h}
    attributes = " ".join(f'stArea:{name}="{value:.6f}"' for name, value in values.items())
    inside = "".join(f"<stArea:{name}>{value:.6f}</stArea:{name}>" for name, value in values.items())
    area = (
        f"<mwg-rs:Area>{inside}</mwg-rs:Area>" if elements else f'<mwg-rs:Area {attributes} stArea:unit="normalized"/>'
    )
    roll = {3: 180, 6: 270, 8: 90}.get(orientation, 0)
    return (
        f'<rdf:Description tiff:Orientation="{orientation}" exif:PixelXDimension="{width}" tiff:ImageLength="{height}">'
        f'<mwg-rs:AppliedToDimensions stDim:w="{width}" stDim:h="{height}" stDim:unit="pixel"/>{area}'
        f'<mwg-rs:Extensions apple-fi:AngleInfoRoll="{roll}"/>'
        f'<MPReg:li MPReg:Rectangle="{x - w / 2:.6f}, {y - h / 2:.6f}, {w}, {h}"/></rdf:Description>'
    ).encode()


def turned(packet: bytes, orientation: int) -> bytes:
    coded = media.saved(
        media.stored(media.night(), orientation), "WEBP", exif=media.exif_block(orientation), xmp=packet
    )
    photo = decode(coded, max_pixels=MAX_PX)
    assert photo.frames[0].size == (96, 64)
    assert photo.metadata.xmp is not None
    return photo.metadata.xmp


def numbers(packet: bytes, *names: str) -> list[float]:
    found = [re.search(rf"""\b{name}(?:="|>)([\d., ]+)""".encode(), packet) for name in names]
    return [float(part) for each in found if each for part in each[1].split(b",")]


@pytest.mark.parametrize("elements", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_faces_stay_on_faces(orientation: int, elements: bool) -> None:
    packet = turned(face(orientation, elements=elements), orientation)
    pixel = pytest.approx(0, abs=0.012)
    area = numbers(packet, "stArea:x", "stArea:y", "stArea:w", "stArea:h")
    assert [value - wanted for value, wanted in zip(area, (*LAMP, 0.1, 0.2), strict=True)] == [pixel] * 4
    rectangle = numbers(packet, "MPReg:Rectangle")
    assert [v - wanted for v, wanted in zip(rectangle, (0.8, 0.1, 0.1, 0.2), strict=True)] == [pixel] * 4
    sizes = numbers(packet, "stDim:w", "stDim:h", "exif:PixelXDimension", "tiff:ImageLength")
    assert sizes == [96, 64, 96, 64]
    assert numbers(packet, "apple-fi:AngleInfoRoll", "tiff:Orientation") == [0, 1]


def test_areas_in_pixels_turn_too() -> None:
    packet = b'<mwg-rs:Area stArea:x="20" stArea:y="30" stArea:w="8" stArea:h="6" stArea:unit="pixel"/>'
    area = numbers(turned(packet, 6), "stArea:x", "stArea:y", "stArea:w", "stArea:h")
    assert area == [96 - 30, 20, 6, 8]


def test_regions_that_were_made_for_the_image_as_shown_stay() -> None:
    shown = face(1)
    assert turned(shown, 6) == shown


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("count", [2, 3, 4])
def test_subject_area_turns(orientation: int, count: int) -> None:
    x, y = as_stored(*LAMP, orientation)
    width, height = (96, 64) if orientation < 5 else (64, 96)
    extent = ((), (5,), (20, 10) if orientation < 5 else (10, 20))[count - 2]
    values = [int(x * width), int(y * height), *extent]
    image = Image.fromarray(media.stored(media.night(), orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9214] = tuple(values)
    coded = BytesIO()
    image.save(coded, "JPEG", exif=exif)
    written, _ = encode(decode(coded.getvalue(), max_pixels=MAX_PX), "jpeg", quality=None)
    with Image.open(BytesIO(written)) as opened:
        found = opened.getexif().get_ifd(0x8769)[0x9214]
    assert found[:2] == (pytest.approx(LAMP[0] * 96, abs=2), pytest.approx(LAMP[1] * 64, abs=2))
    assert found[2:] == ((), (5,), (20, 10))[count - 2]


def test_the_test_stores_its_lamp_where_the_pixels_are() -> None:
    assert as_stored(*LAMP, 1) == (pytest.approx(LAMP[0], abs=0.01), pytest.approx(LAMP[1], abs=0.01))
