"""A video in segments is the video in one piece: the same frames, to the last bit, before they are encoded."""

import math
from functools import cache
from io import BytesIO
from itertools import product

import numpy as np
import pytest
import torch

from model import Architecture, Checkpoint, Enhancer, Look, build
from pipeline.video.enhancing.enhance import Clock, Enhanced, Enhancement
from pipeline.video.enhancing.smoothing import Window
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.segments import Segment, cut
from pipeline.video.writing.encode import EncodeSettings, choose
from tests.support.clips import Samples, clip, street, streets
from tests.support.counts import count, crossed


def enhancement(window: Window, look: Look = Look()) -> Enhancement:
    torch.manual_seed(0)
    network = build(Architecture(map_channels=1))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, -0.02, 0.08)
    enhancer = Enhancer(Checkpoint(network=network, estimate_size=32), look, estimate_size=32)
    return Enhancement(enhancer=enhancer, window=window, hdr="keep", threads=1)


def planes(content: bytes, info: VideoInfo, segments: list[Segment], todo: Enhancement) -> list[tuple[int, bytes]]:
    """The pts and the samples of every frame to encode."""
    encoding = choose(info, EncodeSettings(), "matroska", "keep")
    return [
        (each.shot.pts, samples(each))
        for segment in segments
        for each in todo.frames(BytesIO(content), info, segment, encoding, Clock())
    ]


def samples(each: Enhanced) -> bytes:
    return b"".join(bytes(plane) for plane in each.frame.planes)


FILMS = [
    ("mp4", "libx264", "open-gop=1:bframes=3"),
    ("mp4", "libx265", "open-gop=1:bframes=3"),
    ("mpegts", "libx264", "bframes=3"),
    ("mp4", "libx264", "tff=1:bframes=2"),
]
WIDEST = Window(radius=8, light_radius=16), Look(passes=2)
WINDOWS = [
    (Window(radius=2, light_radius=3), Look()),
    (Window(radius=2, every=5, light_radius=2), Look(denoise=0)),
    (Window(radius=3, steadiness=0), Look(denoise=0.5)),
    (Window(radius=0, steadiness=0), Look()),
]


@cache
def _two_scenes(container: str, codec: str, params: str) -> bytes:
    return clip(
        [*streets(17), *(street(number, seed=5) for number in range(19))], container, codec, params=params, gop=7
    )


@pytest.mark.parametrize(
    ("film", "enhanced", "frames"),  # of a segment; 3: between keyframes, too
    [*crossed(FILMS, WINDOWS, [3, 12]), *product(count(FILMS[::3], FILMS), [WIDEST], count([3], [3, 12]))],
)
def test_segments_equal_the_whole(film: tuple[str, str, str], enhanced: tuple[Window, Look], frames: int) -> None:
    content = _two_scenes(*film)
    info = probe(BytesIO(content))
    todo, segments = enhancement(*enhanced), cut(info, frames)
    whole = planes(content, info, cut(info, 1000), todo)
    assert [pts for pts, _ in whole] == list(info.pts)
    assert len(segments) > 36 / frames - 3
    assert planes(content, info, segments, todo) == whole


@pytest.mark.parametrize("frames", [1, 3, 5, 10, 11, 100])
def test_each_frame_is_in_one_segment(frames: int) -> None:
    info = probe(BytesIO(clip(streets(36), params="open-gop=1:bframes=3", gop=10)))
    segments = cut(info, frames)
    assert [rank for segment in segments for rank in range(segment.first, segment.end)] == list(range(36))
    assert all(segment.frames >= frames for segment in segments[:-1])
    if frames >= 5:
        assert all(info.pts[segment.first] in info.keyframes for segment in segments)


def test_one_keyframe_is_cut_into_segments_of_which_there_are_not_too_many() -> None:
    content = clip(streets(80), params="bframes=3:scenecut=0", gop=1000)
    info = probe(BytesIO(content))
    assert len(info.keyframes) == 1
    for frames, expected in ((2, [10] * 8), (9, [10] * 8), (20, [20] * 4), (39, [40, 40]), (40, [80])):
        assert [segment.frames for segment in cut(info, frames)] == expected
    todo = enhancement(Window(radius=2, light_radius=3))
    assert planes(content, info, cut(info, 20), todo) == planes(content, info, cut(info, 100), todo)


def test_a_scene_does_not_shine_into_the_next() -> None:
    """The first frame after a cut is what it is without the scene before it."""
    bright = [street(number, seed=5, level=4.0) for number in range(12)]
    window = Window(radius=4, light_radius=6)
    both = clip([*streets(12), *bright], "matroska", "ffv1", pixel_format="yuv444p")
    alone = clip(bright, "matroska", "ffv1", pixel_format="yuv444p")
    results = []
    for content in (both, alone):
        info = probe(BytesIO(content))
        results.append([frame for _, frame in planes(content, info, cut(info, 1000), enhancement(window))])
    assert results[0][12:] == results[1]


def _means(frames: list[Samples], window: Window) -> list[float]:
    content = clip(frames, "matroska", "ffv1", pixel_format="yuv444p")
    info = probe(BytesIO(content))
    encoding = choose(info, EncodeSettings(), "matroska", "keep")
    shots = enhancement(window).frames(BytesIO(content), info, cut(info, 1000)[0], encoding, Clock())
    return [each.luma_after for each in shots]


def test_flicker_of_the_source_is_damped() -> None:
    frames = [street(number, level=1 + 0.04 * math.cos(2.5 * number)) for number in range(30)]

    def flicker(means: list[float]) -> float:
        return float(np.abs(np.diff(means)).mean() / np.mean(means))

    before = flicker([float(frame.mean()) for frame in frames])
    plain = flicker(_means(frames, Window(radius=0, steadiness=0)))
    steady = flicker(_means(frames, Window()))
    assert steady < 0.5 * before
    assert steady < plain


def test_a_light_that_is_switched_on_stays_on() -> None:
    frames = [street(number, level=1.0 if number < 15 else 2.5) for number in range(30)]
    means = _means(frames, Window())
    plain = _means(frames, Window(radius=0, steadiness=0))
    assert means[15] / means[14] > 0.7 * plain[15] / plain[14]


def test_windows_out_of_range_are_refused() -> None:
    for wrong in ({"radius": -1}, {"every": 0}, {"steadiness": 1.5}):
        with pytest.raises(ValueError):
            Window(**wrong)
