"""Noise averaged over time: it goes where nothing moves, and what moves leaves no ghost."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from av.video.frame import VideoFrame

from model import Coding, Look
from model.full_size.over_time import RADIUS, Still, average, likeness
from model.noise.floor import floor_of_planes
from pipeline.video.enhancing.averaging import averaged
from pipeline.video.reading.decode import Shot, decoded
from pipeline.video.reading.probe import probe
from tests.model.test_enhancer import brightening
from tests.support.clips import Samples, clip, streets

SD = Coding(red=0.299, blue=0.114, depth=8, full=False, across=2, down=2)
Planes = tuple[Samples, ...]


def _still(luma: Samples, coding: Coding = SD, chroma: Sequence[Samples] | None = None) -> Still:
    dtype, scale = (np.uint8, 1) if coding.depth == 8 else (np.uint16, 1 << (coding.depth - 8))
    small = -(-luma.shape[0] // coding.down), -(-luma.shape[1] // coding.across)
    flat = [np.full(small, 128.0)] * 2 if chroma is None else chroma
    planes = tuple((plane * scale).round().clip(0, 255 * scale).astype(dtype) for plane in (luma, *flat))
    return Still(planes, coding, floor_of_planes(planes, luma.shape[1], coding.across, coding.numbers))


def _averaged(frames: Sequence[Still], at: int = RADIUS) -> Planes:
    near = [(each, likeness(frames[at], each)) for place, each in enumerate(frames) if place != at]
    written = tuple(np.zeros_like(plane) for plane in frames[at].planes)
    average(frames[at], near, written)
    return written


def _scene(height: int = 192, width: int = 320) -> Samples:
    """Dark ground with soft drawing."""
    y, x = np.mgrid[:height, :width]
    return np.asarray(40 + 12 * np.sin(x / 37) * np.cos(y / 23))


def _noise(number: int, deviation: float, scene: Samples) -> Samples:
    return deviation * np.random.default_rng(number).standard_normal(scene.shape)


@pytest.mark.parametrize("deviation", [1.0, 2.5])
@pytest.mark.parametrize(
    "coding", [SD, replace(SD, depth=10), replace(SD, across=1, down=1, full=True)], ids=["8", "10", "444"]
)
@pytest.mark.parametrize("size", [(192, 320), (67, 131)])
def test_noise_of_a_scene_that_is_still_goes(deviation: float, coding: Coding, size: tuple[int, int]) -> None:
    scene = _scene(*size)
    frames = [_still(scene + _noise(number, deviation, scene), coding) for number in range(2 * RADIUS + 1)]
    scale = 1 << (coding.depth - 8)
    before, after = (planes[0] / scale - scene for planes in (frames[RADIUS].planes, _averaged(frames)))
    assert after.std() < 0.62 * before.std()
    assert abs(after.mean()) < 0.1


@pytest.mark.parametrize("deviation", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("speed", [2, 7, 24])
@pytest.mark.parametrize("contrast", [-12.0, 8.0, 60.0])
def test_a_moving_bar_leaves_no_ghost(contrast: float, speed: int, deviation: float) -> None:
    scene, frames = _scene(), []
    for number in range(2 * RADIUS + 1):
        frame = scene + _noise(number, deviation, scene)
        frame[40:150, 60 + speed * number : 84 + speed * number] += contrast
        frames.append(_still(frame))
    after, here = _averaged(frames)[0] - scene, slice(60 + speed * RADIUS, 84 + speed * RADIUS)
    assert after[44:146, here].mean() == pytest.approx(contrast, abs=0.35)
    for side in (slice(60 - speed, here.start), slice(here.stop, 84 + speed * (2 * RADIUS + 1))):
        assert abs(after[44:146, side].mean()) < 0.35
    aside, noisy = (each[44:146, 240:].std() for each in (after, frames[RADIUS].planes[0] - scene))
    assert aside < (0.75 if deviation else 1.01) * noisy  # and the noise beside it goes


@pytest.mark.parametrize("contrast", [25.0, 120.0])
def test_a_small_light_that_moves_keeps_its_brightness(contrast: float) -> None:
    scene, frames = _scene(), []
    for number in range(2 * RADIUS + 1):
        frame = scene + _noise(number, 1.5, scene)
        frame[100:103, 100 + 5 * number : 103 + 5 * number] += contrast
        frames.append(_still(frame))
    after = _averaged(frames)[0] - scene
    assert after[100:103, 110:113].mean() > contrast - 2
    for number in (0, 1, 3, 4):
        assert abs(after[100:103, 100 + 5 * number : 103 + 5 * number].mean()) < 1.5


def test_colour_that_moves_leaves_no_ghost() -> None:
    scene, frames = _scene(), []
    for number in range(2 * RADIUS + 1):
        reddish = np.full((96, 160), 128.0)
        reddish[30:60, 40 + 8 * number : 56 + 8 * number] += 20
        frames.append(_still(scene + _noise(number, 1.0, scene), chroma=(np.full((96, 160), 128.0), reddish)))
    np.testing.assert_array_equal(_averaged(frames)[2], frames[RADIUS].planes[2])


def test_a_cut_stops_the_mean() -> None:
    one, other = _scene(), 30 + _scene()[::-1]
    frames = [_still(scene + _noise(number, 1.0, scene)) for number, scene in enumerate((other, other, one, other))]
    for before, after in zip(frames[2].planes, _averaged(frames, 2), strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_is_the_same_in_all_frames_keeps_every_code() -> None:
    luma = np.random.default_rng(0).integers(16, 236, (50, 70)).astype(float)
    frames = [_still(luma)] * (2 * RADIUS + 1)
    for before, after in zip(frames[0].planes, _averaged(frames), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_slow_ramp_does_not_become_bands() -> None:
    ramp = np.linspace(40, 43, 320)[None].repeat(192, 0)
    after = _averaged([_still(ramp + _noise(number, 0.8, ramp)) for number in range(2 * RADIUS + 1)])[0]
    boxes = (after - ramp).reshape(12, 16, 20, 16).mean(axis=(1, 3))
    assert np.abs(boxes).max() < 0.15  # of a code; rounding makes bands of half a code


def _shots(content: bytes, left_out: frozenset[int] = frozenset()) -> list[Shot]:
    info = probe(BytesIO(content))
    return [shot for shot in decoded(BytesIO(content), info, 0, info.frames) if shot.rank not in left_out]


def _luma(shot: Shot) -> Samples:
    return shot.frame.to_ndarray(format="gray").astype(int)


@pytest.mark.parametrize("left_out", [frozenset[int](), frozenset({3}), frozenset({4, 5, 6, 7, 8, 9})])
def test_every_frame_comes_out_once_whatever_is_missing(left_out: frozenset[int]) -> None:
    content = clip(streets(14))
    info = probe(BytesIO(content))
    shots = list(averaged(_shots(content, left_out), info, brightening()))
    assert [shot.rank for shot in shots] == [rank for rank in range(14) if rank not in left_out]
    assert [shot.pts for shot in shots] == [info.pts[shot.rank] for shot in shots]
    changed = [(_luma(one) != _luma(other)).any() for one, other in zip(shots, _shots(content, left_out), strict=True)]
    assert any(changed)


FORMATS = ["yuv420p", "yuv422p", "yuv444p10le", "yuv420p12le", "yuva420p"]


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("size", [(192, 320), (32, 3712)])
def test_noise_of_frames_of_any_format_and_size_goes(pixel_format: str, size: tuple[int, int]) -> None:
    scene, info, shots = _scene(*size), probe(BytesIO(clip(streets(1)))), []
    for number in range(2 * RADIUS + 1):
        grey = (scene + _noise(number, 3.0, scene)).round().clip(0, 255).astype(np.uint8)
        frame = VideoFrame.from_ndarray(grey[..., None].repeat(3, 2), format="rgb24").reformat(format=pixel_format)
        shots.append(Shot(number, number, frame))
    before = [_luma(shot) for shot in shots]
    others = [[bytes(plane) for plane in shot.frame.planes[3:]] for shot in shots]
    after = list(averaged(shots, info, brightening()))
    assert [shot.frame.format.name for shot in after] == [pixel_format] * len(shots)
    assert [[bytes(plane) for plane in shot.frame.planes[3:]] for shot in after] == others  # alpha
    assert (_luma(after[RADIUS]) - scene).std() < 0.62 * (before[RADIUS] - scene).std()


@pytest.mark.parametrize("look", [Look(denoise=0), Look(strength=0), Look(iterations=0)])
def test_nothing_is_averaged_where_nothing_is_to_be_smoothed(look: Look) -> None:
    content = clip(streets(6))
    shots = averaged(_shots(content), probe(BytesIO(content)), brightening(look))
    for one, other in zip(shots, _shots(content), strict=True):
        np.testing.assert_array_equal(_luma(one), _luma(other))


def test_frames_of_other_kinds_stay_as_they_are() -> None:
    content = clip(streets(6), "matroska", "libx264rgb", pixel_format="rgb24")
    shots = averaged(_shots(content), probe(BytesIO(content)), brightening())
    for one, other in zip(shots, _shots(content), strict=True):
        np.testing.assert_array_equal(one.frame.to_ndarray(format="rgb24"), other.frame.to_ndarray(format="rgb24"))
