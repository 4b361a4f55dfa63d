"""Animations: every frame as it is shown, for as long as it is shown, however often."""

import struct
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import Damaged, TooLarge
from pipeline.images import Frame, Photo, decode, encode
from tests.support import media

MAX_PX = 10_000_000
SIZE = (48, 32)
DURATIONS = [40.0, 100.0, 250.0, 40.0]


def blinking(*, alpha: bool = False) -> Photo:
    """Four frames; the third is the second again, which other writers join into one."""
    scenes = [media.night(*SIZE, seed=seed) // 8 * 8 for seed in (1, 2, 2, 3)]
    masks = [np.roll(np.where(media.soft_alpha(*SIZE) > 90, 255, 0), 9 * index).astype(np.uint8) for index in range(4)]
    masks[2] = masks[1]
    frames = [
        Frame(pixels=scene, alpha=mask if alpha else None, duration_ms=duration)
        for scene, mask, duration in zip(scenes, masks, DURATIONS, strict=True)
    ]
    return Photo(format="png", frames=frames, loop=3)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("name", ["png", "gif", "webp", "avif"])
def test_every_frame_survives_with_its_duration(name: str, alpha: bool) -> None:
    photo = blinking(alpha=alpha)
    if name == "webp":
        photo = replace(photo, coding=replace(photo.coding, lossless=True))
    coded, notes = encode(photo, name, quality=None)
    again = decode(coded, max_pixels=MAX_PX)
    assert [frame.duration_ms for frame in again.frames] == DURATIONS
    with Image.open(BytesIO(coded)) as image:
        assert getattr(image, "n_frames", 1) == 4
        for index, (one, frame) in enumerate(zip(photo.frames, again.frames, strict=True)):
            image.seek(index)
            shown = np.asarray(image.convert("RGBA"))
            opaque = np.full(SIZE[::-1], 255) if one.alpha is None else one.alpha
            assert np.array_equal(shown[..., 3], opaque)
            for found in (shown[..., :3], frame.pixels):
                error = np.abs(found[opaque == 255].astype(int) - one.pixels[opaque == 255])
                assert error.mean() < {"png": 1e-9, "webp": 1e-9, "gif": 1, "avif": 6}[name]
            if alpha:
                assert frame.alpha is not None and np.array_equal(frame.alpha, one.alpha)
    if name == "avif":  # Pillow has no way to say it
        assert notes == ["loop count of 3 dropped: the animation plays for ever"]
    else:
        assert (again.loop, notes) == (3, [])


@pytest.mark.parametrize("name", ["gif", "webp", "png"])
def test_frames_that_hold_only_what_changed_are_seen_whole(name: str) -> None:
    """Pillow writes the changed part alone; what comes in must be what a viewer shows."""
    still = np.zeros((32, 48, 3), np.uint8) + np.array((40, 20, 10), np.uint8)
    frames = []
    for index in range(3):
        frame = still.copy()
        frame[10:14, 10 * index : 10 * index + 6] = (250, 200, 100)
        frames.append(Image.fromarray(frame))
    options = {"lossless": True} if name == "webp" else {}
    coded = media.saved(
        frames[0], name.upper(), save_all=True, append_images=frames[1:], duration=80, loop=0, **options
    )
    photo = decode(coded, max_pixels=MAX_PX)
    assert photo.loop == 0
    for one, frame in zip(frames, photo.frames, strict=True):
        assert np.array_equal(frame.pixels, np.asarray(one))
        assert frame.duration_ms == 80


def test_the_still_of_an_animated_png_stays_outside_its_animation() -> None:
    photo = blinking()
    default = Frame(pixels=media.night(*SIZE, seed=9))
    photo = replace(photo, frames=[default, *photo.frames])
    coded, _ = encode(photo, "png", quality=None)
    again = decode(coded, max_pixels=MAX_PX)
    assert [frame.duration_ms for frame in again.frames] == [None, *DURATIONS]
    with Image.open(BytesIO(coded)) as image:
        assert image.info["default_image"] is True
    for one, frame in zip(photo.frames, again.frames, strict=True):
        assert np.array_equal(frame.pixels, one.pixels)
    coded, notes = encode(photo, "gif", quality=None)
    assert "still image for viewers without animation dropped" in notes
    assert len(decode(coded, max_pixels=MAX_PX).frames) == 4


def test_a_still_format_gets_the_first_frame_and_says_so() -> None:
    coded, notes = encode(blinking(), "jpeg", quality=95)
    assert notes == ["only the first of 4 frames kept"]
    with Image.open(BytesIO(coded)) as image:
        assert np.abs(np.asarray(image).astype(int) - blinking().frames[0].pixels).mean() < 4


@pytest.mark.parametrize("name", ["png", "gif", "webp", "avif"])
def test_the_limit_counts_all_frames(name: str) -> None:
    coded, _ = encode(blinking(), name, quality=None)
    with pytest.raises(TooLarge, match="4 frames"):
        decode(coded, max_pixels=SIZE[0] * SIZE[1] * 4 - 1)


def test_gif_says_when_colours_are_lost() -> None:
    many = Photo(format="png", frames=[Frame(pixels=media.night(200, 150))])
    coded, notes = encode(many, "gif", quality=None)
    assert notes == ["colours reduced to 256 in each frame: GIF holds no more"]
    found = decode(coded, max_pixels=MAX_PX).frames[0].pixels
    assert np.abs(found.astype(int) - many.frames[0].pixels).mean() < 3


def test_colours_that_nothing_shows_take_no_place_in_a_gif() -> None:
    rng = np.random.default_rng(3)
    pixels, alpha = rng.integers(0, 256, (16, 255, 3), np.uint8), np.zeros((16, 255), np.uint8)
    pixels[:4], alpha[:4] = pixels[0], 255
    coded, notes = encode(Photo(format="png", frames=[Frame(pixels=pixels, alpha=alpha)]), "gif", quality=None)
    assert notes == []
    assert (decode(coded, max_pixels=MAX_PX).frames[0].pixels[:4] == pixels[:4]).all()


def test_gif_says_when_alpha_is_hardened() -> None:
    soft = Photo(format="png", frames=[Frame(pixels=media.night(48, 32) // 64 * 64, alpha=media.soft_alpha(48, 32))])
    coded, notes = encode(soft, "gif", quality=None)
    assert notes == ["alpha became fully on or off: GIF supports nothing between"]
    alpha = decode(coded, max_pixels=MAX_PX).frames[0].alpha
    assert alpha is not None and np.array_equal(alpha, np.where(media.soft_alpha(48, 32) < 128, 0, 255))


def test_an_animated_png_that_promises_more_frames_than_it_has_is_damaged() -> None:
    coded, _ = encode(blinking(), "png", quality=None)
    true = media.png_chunk(b"acTL", struct.pack(">II", 4, 3))
    assert true in coded
    with pytest.raises(Damaged):
        decode(coded.replace(true, media.png_chunk(b"acTL", struct.pack(">II", 9, 3))), max_pixels=MAX_PX)
    with pytest.raises(TooLarge):
        decode(coded.replace(true, media.png_chunk(b"acTL", struct.pack(">II", 2**31, 3))), max_pixels=MAX_PX)
