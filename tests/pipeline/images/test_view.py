"""What counts in a photo: neither what full transparency hides nor plain borders."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.images import Frame, Photo
from pipeline.images.borders import Box, inside_borders, whole
from pipeline.images.view import views_of
from tests.support import media
from tests.support.photo_steps import enhanced

BARS = {"letterbox": (40, 0), "pillarbox": (0, 30), "frame": (25, 33)}


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
    assert views_of(photo)[0].luma() == pytest.approx(0.2)
    nothing = replace(photo, frames=[Frame(pixels=pixels, alpha=np.zeros_like(alpha))])
    assert views_of(nothing)[0].luma() == 0
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
    elif kind == "lines of text":
        pixels[:] = 255
        pixels[50:60, 20:80:3] = 0
    else:
        pixels[:] = 7
    return pixels


@pytest.mark.parametrize("kind", ["noisy sky", "fading sky", "skyline", "lines of text", "one colour"])
def test_what_only_looks_like_a_border_is_none(kind: str) -> None:
    pixels = _without_border(kind)
    assert inside_borders(pixels) == whole(pixels)


def test_frames_of_an_animation_share_one_part() -> None:
    """Otherwise it would flicker: here one frame has a wider border."""
    frames = [
        Frame(pixels=bordered(media.landscape(120, 90 - 2 * more), 20 + more, 0, (0, 0, 0)), duration_ms=40)
        for more in (0, 10)
    ]
    views = views_of(Photo(format="gif", frames=frames))
    assert [view.box for view in views] == [Box(20, 110, 0, 120)] * 2
