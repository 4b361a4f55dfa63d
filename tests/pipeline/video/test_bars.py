"""Letterboxed and pillarboxed films: what is inside their bars comes out as it would without them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from model import Look
from pipeline.records import Outcome
from pipeline.video.enhancing.enhance import Clock
from pipeline.video.enhancing.smoothing import Window
from pipeline.video.reading.probe import probe
from pipeline.video.reading.segments import cut
from pipeline.video.writing.encode import EncodeSettings, choose
from tests.pipeline.video.test_segments import enhancement
from tests.support.clips import Samples, clip, pictures, rgb, street, streets
from tests.support.enhanced import QUICK, SETTINGS, done

WIDTH, HEIGHT = 96, 64
Bars = tuple[int, int, int, int]  # at the top, the bottom, the left and the right
LETTERBOX, PILLARBOX, FRAMED = (20, 20, 0, 0), (0, 0, 30, 30), (12, 16, 24, 20)
NOISE = np.random.default_rng(0)


def arrays(frame: VideoFrame) -> list[Samples]:
    """The planes of a frame of an 8-bit or deeper planar format, without padding."""
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    found = []
    for plane in frame.planes:
        lines: Samples = np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)
        found.append(lines[:, : plane.width])
    return found


def within(plane: Samples, whole: VideoFrame, bars: Bars) -> Samples:
    """The part of a plane inside the bars."""
    across, down = -(-whole.width // plane.shape[1]), -(-whole.height // plane.shape[0])
    top, bottom, left, right = bars
    rows, columns = slice(top // down, (whole.height - bottom) // down), slice(left // across, None)
    return plane[rows, columns][:, : (whole.width - left - right) // across]


def film(
    frames: Iterable[Samples],
    bars: Bars = (0, 0, 0, 0),
    pixel_format: str = "yuv420p",
    black: int = 16,
    **properties: Any,
) -> bytes:
    """Frames without loss, with bars around them that are black by their codes."""
    top, bottom, left, right = bars
    file = BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream("ffv1", rate=25, time_base=Fraction(1, 25))
        stream.width, stream.height, stream.pix_fmt = WIDTH + left + right, HEIGHT + top + bottom, pixel_format
        stream.codec_context.gop_size = properties.pop("gop", 4)
        for name, value in properties.items():
            setattr(stream.codec_context, name, value)
        for number, pixels in enumerate(frames):
            picture = VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=pixel_format)
            frame = VideoFrame(stream.width, stream.height, pixel_format)
            depth = 1 << (picture.format.components[0].bits - 8)
            for at, (own, plane) in enumerate(zip(arrays(picture), arrays(frame), strict=True)):
                plane[:] = (black, 128, 128, 255)[at] * depth
                within(plane, frame, bars)[:] = own
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for name, value in properties.items():
                setattr(frame, name, value)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


@cache
def street_film(bars: Bars = (0, 0, 0, 0), pixel_format: str = "yuv420p", **properties: Any) -> bytes:
    return film(streets(6), bars, pixel_format, **properties)


def differences(plain: Path, barred: Path, bars: Bars) -> list[float]:
    """By how much each frame differs from that of the film without bars, most, in 8-bit levels of luma."""
    found = []
    for one, other in zip(pictures(plain), pictures(barred), strict=True):
        levels = 1 << (one.format.components[0].bits - 8)
        seen = within(arrays(other)[0], other, bars).astype(float)
        found.append(float(np.abs(arrays(one)[0] - seen).max()) / levels)
    return found


def lumas(outcome: Outcome) -> list[float]:
    assert outcome.luma_before is not None and outcome.luma_after is not None
    return [outcome.luma_before, outcome.luma_after]


@pytest.mark.parametrize(
    ("bars", "pixel_format", "properties"),
    [
        (LETTERBOX, "yuv420p", {}),
        (PILLARBOX, "yuv420p10le", {}),
        (FRAMED, "yuv422p", {}),
        ((0, 30, 0, 0), "yuv444p", {}),
        ((0, 0, 40, 0), "yuva420p", {}),
        ((9, 9, 0, 0), "yuv444p10le", {}),
        (LETTERBOX, "yuv420p", {"color_range": 2, "black": 0}),
        (LETTERBOX, "yuv420p", {"color_range": 1, "black": 0}),  # blacker than black, but no data of full range
        (LETTERBOX, "yuv420p10le", {"color_trc": 18, "color_primaries": 9, "colorspace": 9}),
    ],
)
def test_a_film_with_bars_comes_out_as_one_without(bars: Bars, pixel_format: str, properties: dict[str, Any]) -> None:
    content = street_film(bars, pixel_format, **properties)
    properties = {name: value for name, value in properties.items() if name != "black"}
    plain, seen = done("plain.mkv", street_film(pixel_format=pixel_format, **properties), settings=SETTINGS)
    outcome, written = done("bars.mkv", content, settings=SETTINGS)
    assert max(differences(seen, written, bars)) <= 1
    assert lumas(outcome) == pytest.approx(lumas(plain), abs=1e-4)
    assert outcome.notes == plain.notes
    for before, after in zip(pictures(content), pictures(written), strict=True):
        assert (before.width, before.height) == (after.width, after.height)
        for own, new in zip(arrays(before)[:3], arrays(after)[:3], strict=True):
            changed = own != new
            within(changed, before, bars)[:] = False
            assert not changed.any()


@pytest.mark.parametrize("hdr", ["keep", "sdr"])
def test_bars_stay_black_where_frames_are_converted(hdr: Any) -> None:
    hlg = {"color_trc": 18, "color_primaries": 9, "colorspace": 9}
    settings = replace(QUICK, hdr=hdr)
    _, plain = done("plain.mkv", street_film(pixel_format="yuv420p10le", **hlg), settings=settings)
    _, written = done("bars.mkv", street_film(FRAMED, "yuv420p10le", **hlg), settings=settings)
    assert max(differences(plain, written, FRAMED)) <= 1
    for frame in pictures(written):
        luma = arrays(frame)[0].astype(int) >> (frame.format.components[0].bits - 8)
        within(luma, frame, FRAMED)[:] = 16
        assert np.abs(luma - 16).max() <= 1


@pytest.mark.parametrize(
    ("codec", "container", "params"),
    [("libx264", "mp4", "crf=24"), ("mpeg4", "avi", ""), ("mpeg2video", "mpegts", ""), ("libx264", "mp4", "tff=1")],
)
def test_bars_may_be_coded_with_loss(codec: str, container: str, params: str) -> None:
    frames = [street(number, 160, 96) for number in range(8)]
    noisy = [
        np.pad(frame, ((30, 30), (0, 0), (0, 0))) + NOISE.integers(0, 3, (156, 160, 1), np.uint8) for frame in frames
    ]
    time_base = Fraction(1, 25 if codec == "mpeg2video" else 12800)
    plain, barred = (
        clip(each, container, codec, params=params, interlaced="tff" in params, bit_rate=1_500_000, time_base=time_base)
        for each in (frames, noisy)
    )
    picture = probe(BytesIO(barred)).picture
    assert picture is not None
    assert np.abs(np.array(picture) - (30, 126, 0, 160)).max() <= 4
    one, other = done("plain.mp4", plain, "plain.mkv"), done("bars.mp4", barred, "bars.mkv")
    assert lumas(one[0]) == pytest.approx(lumas(other[0]), abs=0.02)
    for bare, seen in zip(rgb(one[1]), rgb(other[1]), strict=True):
        assert abs(float(seen[36:120].mean()) - float(bare[6:90].mean())) < 3
        assert seen[:24].max() <= 12


def dark_to_light(count: int, black: int) -> list[Samples]:
    return [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * black + streets(count - black)


@pytest.mark.parametrize("gop", [3, 100])
def test_a_film_may_begin_black(gop: int) -> None:
    info = probe(BytesIO(film(dark_to_light(40, 34), FRAMED, gop=gop)))
    assert info.picture is not None
    assert tuple(info.picture) == (12, 76, 24, 120)


@pytest.mark.parametrize("gop", [3, 100])
def test_what_any_scene_shows_is_of_the_picture(gop: int) -> None:
    letterboxed = [np.pad(street(at, 96, 44), ((10, 10), (0, 0), (0, 0))) for at in range(30)]
    for scenes in (letterboxed + streets(8), streets(8) + letterboxed):
        assert probe(BytesIO(film(scenes, gop=gop))).picture is None
        framed = probe(BytesIO(film(scenes, PILLARBOX, gop=gop))).picture
        assert framed is not None and tuple(framed) == (0, HEIGHT, 30, 30 + WIDTH)


@pytest.mark.parametrize("gop", [12, 100, 1000])
@pytest.mark.parametrize(("count", "last"), [(75, 1), (75, 10), (330, 2), (330, 25)])
def test_bars_that_end_before_the_film_are_none(gop: int, count: int, last: int) -> None:
    """Also where only some frames are looked at, as in those after the first 300."""
    scene = street(0, 96, 44)
    letterboxed = [np.pad(scene, ((10, 10), (0, 0), (0, 0)))] * (count - last)
    content = film(letterboxed + streets(last), gop=gop)
    assert probe(BytesIO(content)).picture is None
    assert probe(BytesIO(film([*letterboxed, letterboxed[0]], gop=gop))).picture is not None


def skyline(number: int) -> Samples:
    """A black sky above roofs."""
    frame = street(number)
    for left, roof in zip(range(0, WIDTH, 12), (30, 18, 18, 34, 40, 26, 18, 36), strict=True):
        frame[:roof, left : left + 12] = 0
    return frame


def test_next_to_a_dark_part_of_the_picture_a_bar_is_as_wide_as_the_other() -> None:
    picture = probe(BytesIO(film(map(skyline, range(6)), LETTERBOX))).picture
    assert picture is not None and tuple(picture) == (20, 20 + HEIGHT, 0, WIDTH)


def glow(number: int) -> Samples:
    """A sky that becomes lighter towards the ground, from black."""
    shade = np.linspace(-0.6, 1.2, HEIGHT).clip(0, None)[:, None, None] * 30
    return np.broadcast_to(shade, (HEIGHT, WIDTH, 3)).astype(np.uint8).copy()


def lamps(number: int) -> Samples:
    """Two lamps, and nothing else."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[20:30, 20:24] = frame[40:44, 60:80] = 180
    return frame


def black(number: int) -> Samples:
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def horizon(number: int) -> Samples:
    """A sky that is nearly black above a straight edge."""
    frame = street(number)
    frame[:30] = NOISE.integers(0, 9, (30, WIDTH, 3), np.uint8)
    return frame


def noisy_black(number: int) -> Samples:
    return NOISE.integers(0, 9, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize(
    "scene", [street, skyline, glow, lamps, horizon, black, noisy_black], ids=lambda scene: scene.__name__
)
@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
def test_a_dark_scene_has_no_bars(scene: Callable[[int], Samples], codec: str) -> None:
    frames: Sequence[Samples] = [scene(number) for number in range(12)]
    content = film(frames) if codec == "ffv1" else clip(frames, codec=codec)
    assert probe(BytesIO(content)).picture is None


def test_night_films_have_no_bars(shared: Path) -> None:
    for path in (shared / "data/dev/video").glob("n*/*.mp4"):
        with path.open("rb") as file:
            assert probe(file).picture is None, path


@pytest.mark.parametrize("look", [Look(), Look(denoise=0)])
def test_segments_of_a_film_with_bars_equal_the_whole(look: Look) -> None:
    content = film(streets(17), FRAMED, gop=5)
    info = probe(BytesIO(content))
    assert info.picture is not None
    todo, encoding = (
        enhancement(Window(radius=2, light_radius=3), look),
        choose(info, EncodeSettings(), "matroska", "keep"),
    )
    one, parts = (
        [arrays(each.frame) for part in parts for each in todo.frames(BytesIO(content), info, part, encoding, Clock())]
        for parts in (cut(info, 1000), cut(info, 4))
    )
    assert len(one) == len(parts) == 17
    for pair in zip(one, parts, strict=True):
        assert all(np.array_equal(*planes) for planes in zip(*pair, strict=True))
