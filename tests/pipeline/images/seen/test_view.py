"""What counts in a photo: neither what full transparency hides, nor plain borders, nor empty corners."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.images import Frame, Photo
from pipeline.images.seen.borders import Box, inside_borders, whole
from pipeline.images.seen.corners import empty_corners
from pipeline.images.seen.view import View, parts_of, views_of
from tests.support import media
from tests.support.photo_steps import enhanced

BARS = {"letterbox": (40, 0), "pillarbox": (0, 30), "frame": (25, 33)}


def _views(photo: Photo) -> list[View]:
    return views_of(photo, parts_of(photo))


def cut_out(seed: int, below: int | None) -> Photo:
    """A photo of which some is hidden in rectangles; below that is one level, or the photo itself."""
    rng = np.random.default_rng(seed)
    pixels, alpha = media.night(120, 90, seed=seed) + np.uint8(12), np.zeros((90, 120), np.uint8)
    for _ in range(3):
        top, left = rng.integers(0, 60), rng.integers(0, 80)
        alpha[top : top + rng.integers(20, 50), left : left + rng.integers(20, 60)] = rng.integers(1, 256)
    if below is not None:
        pixels[alpha == 0] = below
    return Photo(format="png", frames=[Frame(pixels=pixels, alpha=alpha)])


@pytest.mark.parametrize("seed", range(4))
def test_what_transparency_hides_decides_nothing(seed: int) -> None:
    work, *others = [enhanced(cut_out(seed, below)) for below in (None, 0, 255)]
    assert work.photo is not None
    expected = work.photo.frames[0]
    assert expected.alpha is not None
    visible = expected.alpha > 0
    assert (expected.pixels[visible] != cut_out(seed, None).frames[0].pixels[visible]).any()
    for other, below in zip(others, (0, 255), strict=True):
        assert other.photo is not None
        found = other.photo.frames[0].pixels
        assert (found[visible] == expected.pixels[visible]).all()
        assert (found[~visible] == below).all()
        assert other.outcome.luma_before == work.outcome.luma_before
        assert other.outcome.luma_after == work.outcome.luma_after


def test_luma_is_that_of_what_is_visible() -> None:
    pixels, alpha = np.zeros((40, 40, 1), np.uint16), np.zeros((40, 40), np.uint16)
    pixels[10:20, 10:20], alpha[10:20, 10:20] = 13107, 1
    photo = Photo(format="png", frames=[Frame(pixels=pixels, alpha=alpha)])
    assert _views(photo)[0].luma() == pytest.approx(0.2)
    nothing = replace(photo, frames=[Frame(pixels=pixels, alpha=np.zeros_like(alpha))])
    assert _views(nothing)[0].luma() == 0
    assert enhanced(nothing).photo is not None


def bordered(inside: np.ndarray, rows: int, columns: int, colour: tuple[int, int, int]) -> np.ndarray:
    height, width, _ = inside.shape
    pixels = np.full((height + 2 * rows, width + 2 * columns, 3), colour, np.uint8)
    pixels[rows : rows + height, columns : columns + width] = inside
    return pixels


@pytest.mark.parametrize("bars", BARS.values(), ids=BARS.keys())
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (90, 20, 60)])
def test_inside_a_border_all_is_as_without_it(bars: tuple[int, int], colour: tuple[int, int, int]) -> None:
    inside = media.night(160, 120) + np.uint8(20)
    pixels = bordered(inside, *bars, colour)
    plain, framed = (
        enhanced(Photo(format="png", frames=[Frame(pixels=each.copy())])) for each in (inside, pixels)
    )  # fmt: skip
    assert plain.photo is not None and framed.photo is not None
    assert plain.outcome.luma_after > plain.outcome.luma_before + 0.02
    assert (framed.photo.frames[0].pixels == bordered(plain.photo.frames[0].pixels, *bars, colour)).all()
    assert framed.outcome.luma_before == plain.outcome.luma_before


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_borders_are_found_under_the_noise_of_jpeg(quality: int) -> None:
    coded = media.jpeg(bordered(media.landscape(), 21, 35, (0, 0, 0)), quality=quality)
    with Image.open(BytesIO(coded)) as image:
        assert inside_borders(np.asarray(image)) == Box(21, 111, 35, 155)


def _without_border(kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    pixels = media.landscape(200, 150)
    if kind == "noisy sky":
        pixels[:60] = rng.integers(0, 6, (60, 200, 3))
    elif kind == "fading sky":
        pixels[:] = (np.linspace(-40, 120, 150).clip(0)[:, None, None]).astype(np.uint8)
    elif kind == "skyline":
        for column in range(200):
            pixels[: 60 + 12 * (column // 40 % 3), column] = 0
    elif kind == "black sky over a straight roof":
        pixels[:60] = 0
    elif kind == "black sky over a straight roof, and a dark street":
        pixels[:60], pixels[-6:] = 0, 0
    elif kind == "sky and ground of two colours":
        pixels[:40], pixels[-40:] = 0, 255
    elif kind == "lines of text":
        pixels[:] = 255
        pixels[50:60, 20:80:3] = 0
    elif kind == "strip with a camera's text":
        pixels[-20:] = 0
        pixels[-14:-6, 20:80:3] = 255
    else:
        pixels[:] = 7
    return pixels


@pytest.mark.parametrize(
    "kind",
    [
        *("noisy sky", "fading sky", "skyline", "black sky over a straight roof"),
        *("black sky over a straight roof, and a dark street", "sky and ground of two colours"),
        *("lines of text", "strip with a camera's text", "one colour"),
    ],
)
def test_what_only_looks_like_a_border_is_none(kind: str) -> None:
    pixels = _without_border(kind)
    assert inside_borders(pixels) == whole(pixels)
    assert empty_corners(pixels) is None


def test_a_strip_with_text_stays_as_it_is() -> None:
    pixels = np.vstack((media.night(160, 120) + np.uint8(20), np.zeros((10, 160, 3), np.uint8)))
    pixels[-7:-3, 20:80] = 255
    work = enhanced(Photo(format="png", frames=[Frame(pixels=pixels.copy())]))
    assert work.photo is not None
    strip = work.photo.frames[0].pixels[-10:]
    assert (strip[3:7, 20:80] == 255).all() and strip[7:].max() <= 8


def _turned(image: np.ndarray, degrees: float, colour: int) -> np.ndarray:
    fill = (colour, colour, colour)
    return np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=fill))


def _stitched(image: np.ndarray, degrees: float, colour: int) -> np.ndarray:
    """A panorama of columns of gently changing height, some of which were held higher."""
    height, width, _ = image.shape
    made = np.full((height + 15, width, 3), colour, np.uint8)
    for column in range(width):
        top = round(30 * (column / width - 0.5) ** 2) + 8 * (column > width // 2)
        made[top : top + height, column] = image[:, column]
    return made


@pytest.mark.parametrize("make", [_turned, _stitched])
@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("degrees", [4, -30])
def test_empty_corners_decide_nothing_and_stay(
    make: Callable[[np.ndarray, float, int], np.ndarray], degrees: float, colour: int
) -> None:
    image = media.night(240, 160) + np.uint8(20)
    pixels, covered = make(image, degrees, colour), make(np.full_like(image, 90), degrees, colour)[..., 0] != colour
    plain, work = (enhanced(Photo(format="png", frames=[Frame(pixels=each.copy())])) for each in (image, pixels))
    assert work.photo is not None
    assert (work.photo.frames[0].pixels[~covered] == colour).all()
    assert work.outcome.luma_before == pytest.approx(plain.outcome.luma_before, abs=0.01)
    assert work.outcome.luma_after == pytest.approx(plain.outcome.luma_after, abs=0.04)


def test_empty_corners_are_found_under_the_noise_of_jpeg_and_in_16_bits() -> None:
    pixels = _turned(media.landscape(240, 160), 10, 0)
    with Image.open(BytesIO(media.jpeg(pixels, quality=85))) as image:
        coded = empty_corners(np.asarray(image))
    exact, deep = empty_corners(pixels), empty_corners(pixels.astype(np.uint16) * 257)
    assert coded is not None and exact is not None and deep is not None
    assert (exact == deep).all() and 0.85 < coded.sum() / exact.sum() < 1.01


def test_what_stands_before_black_or_white_is_not_among_empty_corners() -> None:
    y, x = np.mgrid[:120, :160]
    for colour in (0, 255):
        pixels = np.where(((y - 60) ** 2 + (x - 80) ** 2 < 50**2)[..., None], media.landscape(160, 120), colour)
        assert empty_corners(pixels.astype(np.uint8)) is None


def test_frames_of_an_animation_share_one_part() -> None:
    """Otherwise it would flicker: here one frame has a wider border."""
    frames = [
        Frame(pixels=bordered(media.landscape(120, 90 - 2 * more), 20 + more, 0, (0, 0, 0)), duration_ms=40)
        for more in (0, 10)
    ]
    views = _views(Photo(format="gif", frames=frames))
    assert [view.box for view in views] == [Box(20, 110, 0, 120)] * 2
