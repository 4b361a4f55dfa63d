"""Two images in one: side by side, split in the middle, or in turns."""

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]  # HxWx3 RGB
Layout = Literal["side", "split", "flip"]

BEFORE, AFTER = "before", "after"
GAP_PX, LINE_PX = 4, 2  # between two images; of the line that splits one
PAPER, WHITE = (0, 0, 0), (255, 255, 255)
LABEL_SHARE, LEAST_LABEL_PX, MOST_LABEL_PX = 0.035, 12, 40  # height of letters: of the image's height, and its limits


def scaled(pixels: Pixels, long_side_px: int) -> Image.Image:
    """Return an image that is no larger than `long_side_px`, with even sides, as most video encoders want them."""
    height, width = pixels.shape[:2]
    scale = min(1.0, long_side_px / max(height, width))
    size = max(2, 2 * int(width * scale / 2)), max(2, 2 * int(height * scale / 2))
    image = Image.fromarray(pixels)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def drawn(before: Image.Image, after: Image.Image, layout: Layout, *, turn: int = 0) -> Image.Image:
    """Draw both images into one, with labels. Both have one size.

    `turn`: of the layout `flip`, which shows the image before in even turns, and the one after in odd turns.
    """
    width, height = before.size
    if layout == "flip":
        sheet = (after if turn % 2 else before).copy()
        _label(sheet, AFTER if turn % 2 else BEFORE, 0)
        return sheet
    if layout == "side":
        sheet = Image.new("RGB", (2 * width + GAP_PX, height), PAPER)
        sheet.paste(before, (0, 0))
        sheet.paste(after, (width + GAP_PX, 0))
        places = 0, width + GAP_PX
    else:
        middle = width // 2
        sheet = before.copy()
        sheet.paste(after.crop((middle, 0, width, height)), (middle, 0))
        ImageDraw.Draw(sheet).rectangle((middle - LINE_PX // 2, 0, middle + LINE_PX // 2 - 1, height - 1), fill=WHITE)
        places = 0, middle
    for text, left in zip((BEFORE, AFTER), places, strict=True):
        _label(sheet, text, left)
    return sheet


def _label(sheet: Image.Image, text: str, left: int) -> None:
    """Write a word into the upper left corner of an image that begins at `left`."""
    label = _label_of(text, int(min(max(sheet.height * LABEL_SHARE, LEAST_LABEL_PX), MOST_LABEL_PX)))
    sheet.paste(label, (left, 0), label.getchannel("A"))


@cache
def _label_of(text: str, size_px: int) -> Image.Image:
    font = ImageFont.load_default(size_px)
    width, height = round(font.getlength(text)) + size_px, round(1.8 * size_px)
    label = Image.new("RGBA", (width, height), (0, 0, 0, 140))
    ImageDraw.Draw(label).text((width // 2, height // 2), text, WHITE, font, anchor="mm")
    return label
