"""Contact sheet: rows of images side by side, with a title over each column and a caption over each row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]  # HxWx3 RGB

PAPER, FRAME, INK, PALE_INK = (24, 24, 26), (58, 58, 62), (236, 236, 238), (160, 160, 166)
MARGIN_PX, GAP_PX = 24, 10
TITLE_PX, CAPTION_PX, NOTE_PX = 22, 17, 15
LINE = 1.5  # height of a line of text, in units of its size
JPEG_QUALITY = 92


@dataclass(frozen=True, kw_only=True, slots=True)
class SheetRow:
    """One row: the same scene in each column."""

    caption: str
    """Text above the first image, shortened in the middle if that is too narrow for it."""
    images: Sequence[Pixels | None] = field(repr=False)
    """For each column, HxWx3 uint8 RGB of any size, or None for an empty box."""
    notes: Sequence[str] = ()
    """A line under each image, such as its scores; none, or one for each column."""


def contact_sheet(titles: Sequence[str], rows: Sequence[SheetRow], *, cell_px: tuple[int, int]) -> Image.Image:
    """Draw the rows under the titles, every image scaled to fit into `cell_px` (width, height) with its aspect kept.

    A row is as high as its highest image. The sheet grows with the rows and is drawn in memory: pass a handful.
    Raises ValueError where a row does not have one image for each title, or has notes but not one for each title.
    """
    for row in rows:
        if len(row.images) != len(titles) or len(row.notes) not in (0, len(titles)):
            raise ValueError(
                f"{row.caption}: {len(row.images)} images and {len(row.notes)} notes for {len(titles)} titles"
            )
    strips = [_row(row, cell_px) for row in rows]
    width = _width(len(titles), cell_px[0])
    heading = _line(TITLE_PX) + GAP_PX
    height = 2 * MARGIN_PX + heading + sum(strip.height + 2 * GAP_PX for strip in strips)
    sheet = Image.new("RGB", (width + 2 * MARGIN_PX, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        left = MARGIN_PX + _left(column, cell_px[0])
        _write(draw, (left, MARGIN_PX), title, TITLE_PX, INK, cell_px[0])
    top = MARGIN_PX + heading
    for strip in strips:
        sheet.paste(strip, (MARGIN_PX, top))
        top += strip.height + 2 * GAP_PX
    return sheet


def coded(sheet: Image.Image, name: str) -> bytes:
    """Encode the sheet as JPEG if `name` ends in .jpg or .jpeg, else as PNG."""
    buffer = BytesIO()
    if name.lower().endswith((".jpg", ".jpeg")):
        sheet.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _row(row: SheetRow, cell_px: tuple[int, int]) -> Image.Image:
    """Draw one row: the caption, the images side by side on one base line, and the notes."""
    scaled = [None if image is None else _scaled(image, cell_px) for image in row.images]
    tallest = max((image.height for image in scaled if image), default=cell_px[1])
    caption, note = _line(CAPTION_PX), _line(NOTE_PX) if row.notes else 0
    width = _width(len(row.images), cell_px[0])
    strip = Image.new("RGB", (width, caption + tallest + note), PAPER)
    draw = ImageDraw.Draw(strip)
    _write(draw, (0, 0), row.caption, CAPTION_PX, PALE_INK, cell_px[0])
    for column, image in enumerate(scaled):
        left = _left(column, cell_px[0])
        if image is None:
            draw.rectangle((left, caption, left + cell_px[0] - 1, caption + tallest - 1), outline=FRAME)
        else:
            strip.paste(image, (left, caption + tallest - image.height))
        if row.notes:
            _write(draw, (left, caption + tallest), row.notes[column], NOTE_PX, PALE_INK, cell_px[0])
    return strip


def _scaled(image: Pixels, cell_px: tuple[int, int]) -> Image.Image:
    height, width = image.shape[:2]
    scale = min(cell_px[0] / width, cell_px[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, ink: tuple[int, int, int], room_px: int
) -> None:
    """Draw one line of text, vertically centred in its line, in at most `room_px`."""
    font = ImageFont.load_default(size)
    draw.text((at[0], at[1] + _line(size) // 2), _shortened(text, font, room_px), ink, font, anchor="lm")


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room_px: int) -> str:
    """Return the text on one line, cut in the middle if it is too long: names differ at their ends."""
    text = " ".join(text.split())
    shown, kept = text, len(text)
    while kept > 2 and font.getlength(shown) > room_px:
        kept = min(kept - 1, int(kept * room_px / font.getlength(shown)) + 1)
        shown = text[: (kept + 1) // 2].rstrip() + "…" + text[len(text) - kept // 2 :].lstrip()
    return shown


def _line(size: int) -> int:
    return round(size * LINE)


def _left(column: int, cell_width_px: int) -> int:
    return column * (cell_width_px + GAP_PX)


def _width(columns: int, cell_width_px: int) -> int:
    return _left(columns, cell_width_px) - GAP_PX
