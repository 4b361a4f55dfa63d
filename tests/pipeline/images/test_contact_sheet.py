"""Contact sheet: every image in its place, scaled with its aspect, whatever its size and however long its name."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.images.contact_sheet import GAP_PX, MARGIN_PX, PAPER, SheetRow, coded, contact_sheet

RED, GREEN = (220, 10, 10), (10, 200, 10)
CELL = (120, 90)


def flat(colour: tuple[int, int, int], width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def box(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of all that has this colour."""
    same = (np.asarray(sheet).astype(int) - colour).__abs__().max(axis=2) <= 3
    rows, columns = np.flatnonzero(same.any(axis=1)), np.flatnonzero(same.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize(
    ("size", "scaled"),
    [((60, 45), (120, 90)), ((1200, 300), (120, 30)), ((30, 900), (3, 90)), ((1, 1), (90, 90)), ((2000, 1), (120, 1))],
)
def test_an_image_fills_its_cell_and_keeps_its_aspect(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    row = SheetRow(caption="street.jpg", images=[flat(RED, *size), flat(GREEN, 40, 30)])
    sheet = contact_sheet(["before", "after"], [row], cell_px=CELL)
    left, top, right, bottom = box(sheet, RED)
    assert (right - left, bottom - top) == scaled
    assert left == MARGIN_PX
    assert box(sheet, GREEN)[0] == MARGIN_PX + CELL[0] + GAP_PX
    assert box(sheet, GREEN)[3] == bottom  # on one base line


def test_rows_stand_below_each_other_and_are_as_high_as_their_images() -> None:
    wide = SheetRow(caption="wide", images=[flat(RED, 400, 100)])
    high = SheetRow(caption="high", images=[flat(GREEN, 100, 400)], notes=["18.2 dB"])
    alone = contact_sheet(["before"], [wide], cell_px=CELL)
    both = contact_sheet(["before"], [wide, high], cell_px=CELL)
    assert box(both, RED)[3] < box(both, GREEN)[1]
    assert alone.height < both.height
    assert alone.width == both.width == CELL[0] + 2 * MARGIN_PX


def test_text_stays_on_the_sheet_however_long_it_is() -> None:
    row = SheetRow(caption="a very long folder/" * 40, images=[flat(RED, 4, 3)] * 2, notes=["scores " * 30] * 2)
    sheet = contact_sheet(["title " * 30, "after"], [row], cell_px=CELL)
    pixels = np.asarray(sheet)
    assert (pixels[:, -MARGIN_PX:] == PAPER).all()
    assert (pixels[:, MARGIN_PX + CELL[0] : MARGIN_PX + CELL[0] + GAP_PX] == PAPER).all()  # nor across columns


def test_a_missing_image_is_an_empty_frame() -> None:
    sheet = contact_sheet(["photo", "reference"], [SheetRow(caption="", images=[flat(RED, 4, 3), None])], cell_px=CELL)
    middle = sheet.getpixel(
        (MARGIN_PX + CELL[0] + GAP_PX + CELL[0] // 2, (box(sheet, RED)[1] + box(sheet, RED)[3]) // 2)
    )
    assert middle == PAPER


def test_a_row_that_does_not_fit_the_titles_is_refused() -> None:
    with pytest.raises(ValueError, match=r"street\.jpg: 1 images"):
        contact_sheet(["before", "after"], [SheetRow(caption="street.jpg", images=[None])], cell_px=CELL)


@pytest.mark.parametrize(("name", "format_name"), [("sheet.png", "PNG"), ("sheet.JPG", "JPEG"), ("sheet", "PNG")])
def test_coded_by_the_name(name: str, format_name: str) -> None:
    sheet = contact_sheet(["before"], [SheetRow(caption="x", images=[flat(RED, 4, 3)])], cell_px=CELL)
    read = Image.open(BytesIO(coded(sheet, name)))
    assert read.format == format_name
    assert read.size == sheet.size
