"""Daylight in videos: what a glance sees of it, and how enhancement fades out before it. Judged by decoded frames."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
import pytest

from model import Look
from pipeline.errors import MediaError
from pipeline.video.enhancing.daylight import night_share
from pipeline.video.enhancing.enhance import Clock, Enhanced, Enhancement
from pipeline.video.enhancing.smoothing import Window
from pipeline.video.reading.glance import glance
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.segments import Segment, cut
from pipeline.video.writing.encode import EncodeSettings, choose
from tests.pipeline.video.test_segments import enhancement, samples
from tests.support.clips import Samples, Sound, clip

LIMIT = 0.45
BASES = {"mp4": 12800, "matroska": 1000, "webm": 1000}


def lit(luma: float, number: int = 0) -> Samples:
    """A scene of this mean luma, 96x64, with noise."""
    y, x = np.mgrid[:64, :96]
    scene = 0.75 + 0.25 * np.sin(x / 9) * np.cos(y / 7)
    noise = np.random.default_rng(number).normal(0, 1.5, (64, 96, 3))
    return np.asarray((255 * luma * scene[..., None] / scene.mean() + noise).clip(0, 255).round(), np.uint8)


def lit_clip(lumas: Sequence[float], container: str = "mp4", codec: str = "libx264", **more: object) -> bytes:
    base = Fraction(1, BASES.get(container, 25))
    frames = [lit(luma, number) for number, luma in enumerate(lumas)]
    return clip(frames, container, codec, time_base=base, **more)  # type: ignore[arg-type]


class Counted(BytesIO):
    """A file that counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


RAMP = np.linspace(0.1, 0.7, 80)


@pytest.mark.parametrize(
    ("container", "codec", "more"),
    [
        ("mp4", "libx264", {"params": "bframes=3:open-gop=1"}),
        ("mp4", "libx264", {"params": "tff=1:bframes=2"}),
        ("mp4", "libx264", {"gop": 1000}),  # a single keyframe
        ("mp4", "libx265", {"params": "bframes=2"}),
        ("mp4", "libx264", {"extras": Sound(seconds=3.2)}),
        ("matroska", "libx264", {"params": "bframes=3"}),
        ("webm", "libvpx-vp9", {}),
        ("mpegts", "libx264", {"params": "bframes=2"}),
        ("mpegts", "mpeg2video", {}),
        ("avi", "mpeg4", {}),
    ],
)
def test_a_glance_sees_when_it_gets_bright(container: str, codec: str, more: dict[str, object]) -> None:
    content = lit_clip(RAMP, container, codec, **more)
    seen = glance(BytesIO(content))
    lumas = np.array(seen.lumas)
    assert (np.diff(lumas) >= -0.01).all()
    assert lumas[0] == pytest.approx(0.1, abs=0.08)  # in MPEG-TS, of the keyframe after the wanted time
    assert lumas[-1] > 0.6
    assert (seen.width_px, seen.height_px) == (96, 64)
    assert abs(seen.frames - 80) <= 2
    assert seen.length_s == pytest.approx(3.2, abs=0.1)
    assert not seen.is_bright(LIMIT)
    assert seen.night(LIMIT) == pytest.approx(0.58, abs=0.2)
    assert glance(BytesIO(lit_clip([0.6] * 24, container, codec, **more))).is_bright(LIMIT)


@pytest.mark.parametrize("gop", [5, 1000])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_night_behind_a_day_is_seen_even_if_times_restart(codec: str, gop: int) -> None:
    day, night = (lit_clip([luma] * 60, "mpegts", codec, gop=gop) for luma in (0.6, 0.1))
    assert glance(BytesIO(day + day)).is_bright(LIMIT)
    assert not glance(BytesIO(day + night)).is_bright(LIMIT)
    assert not glance(BytesIO(night + day)).is_bright(LIMIT)
    assert not glance(BytesIO(day + night + day)).is_bright(LIMIT)


@pytest.mark.parametrize("gop", [4, 1000])
@pytest.mark.parametrize(
    ("container", "codec", "params"),
    [
        ("h264", "libx264", "bframes=2:open-gop=1"),
        ("hevc", "libx265", "bframes=2"),
        ("m4v", "mpeg4", ""),
        ("mpeg2video", "mpeg2video", ""),
        ("mjpeg", "mjpeg", ""),
    ],
)
def test_a_stream_without_a_container_is_looked_at_on_the_way(
    container: str, codec: str, params: str, gop: int
) -> None:
    shape = {"params": params, "gop": gop, "pixel_format": "yuvj420p" if codec == "mjpeg" else "yuv420p"}
    day, ramp, night = (lit_clip(lumas, container, codec, **shape) for lumas in ([0.6] * 30, RAMP, [0.1] * 10))
    seen = glance(BytesIO(ramp))
    assert (np.diff(seen.lumas) >= -0.01).all()
    assert 5 <= len(seen.lumas) <= 12
    assert seen.lumas[0] == pytest.approx(0.1, abs=0.02)
    assert seen.lumas[-1] > 0.6
    assert (seen.frames, seen.length_s) == (80, pytest.approx(3.2))
    assert not seen.is_bright(LIMIT)
    assert glance(BytesIO(day)).is_bright(LIMIT)
    assert not glance(BytesIO(day + night)).is_bright(LIMIT)
    assert not glance(BytesIO(day + night + day)).is_bright(LIMIT)


@pytest.mark.parametrize(("container", "codec"), [("h264", "hevc"), ("hevc", "h264"), ("mpegts", "mpegts")])
def test_a_night_in_another_coding_is_not_passed_on(container: str, codec: str) -> None:
    day = lit_clip([0.6] * 30, container, "libx265" if container == "hevc" else "libx264", gop=4)
    night = lit_clip([0.1] * 30, codec, "libx264" if codec == "h264" else "libx265", gop=4)
    with pytest.raises(MediaError, match="its coding changes"):
        glance(BytesIO(day + night))


def test_a_clip_that_is_dark_at_its_very_end_is_not_bright() -> None:
    assert not glance(BytesIO(lit_clip([0.6] * 50 + [0.1] * 10))).is_bright(LIMIT)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_glance_reads_little_of_a_long_video(container: str) -> None:
    """Frames of noise, two seconds apart, so that few fill minutes."""
    noise = [np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8) for number in range(150)]
    content = clip(noise, container, gop=3, pts=[2000 * n for n in range(150)], time_base=Fraction(1, 1000))
    file = Counted(content)
    seen = glance(file)
    assert len(seen.lumas) == 6
    assert file.count < 0.3 * len(content)


def test_bars_of_a_film_count_for_nothing() -> None:
    """With the bars, a third of the frame, it would be dark."""
    frames = [np.pad(lit(0.55, number), ((16, 16), (0, 0), (0, 0))) for number in range(40)]
    plain = [lit(0.55, number) for number in range(40)]
    barred, seen = (glance(BytesIO(clip(each, "matroska", gop=8))) for each in (frames, plain))
    assert barred.is_bright(LIMIT)
    assert barred.luma == pytest.approx(seen.luma, abs=0.02)


def test_what_cannot_be_seen_whole_is_left_to_the_other_steps() -> None:
    content = bytearray(lit_clip([0.6] * 60))
    with av.open(BytesIO(bytes(content))) as container:
        keyframe = [packet for packet in container.demux(video=0) if packet.is_keyframe and packet.size][3]
        assert keyframe.pos is not None
        content[keyframe.pos + 40 : keyframe.pos + keyframe.size] = bytes(keyframe.size - 40)
    with pytest.raises(MediaError):
        glance(BytesIO(bytes(content)))
    only_sound = BytesIO()
    with av.open(only_sound, "w", format="mp4") as output:
        sound = Sound()
        sound.fill(output, sound.streams(output))
    with pytest.raises(MediaError):
        glance(BytesIO(only_sound.getvalue()))


def test_hdr_is_bright_where_its_scene_is() -> None:
    """In PQ, code 0.58 is diffuse white of 203 nits, and a dark room has codes around 0.2."""
    pq = {"color_trc": 16, "color_primaries": 9, "colorspace": 9, "pixel_format": "yuv420p10le"}
    dark, light = (
        clip([np.full((64, 96, 3), int(65535 * code), np.uint16)] * 6, "mp4", "libx265", **pq)  # type: ignore[arg-type]
        for code in (0.2, 0.55)
    )
    assert glance(BytesIO(light)).is_bright(LIMIT)
    assert glance(BytesIO(dark)).luma < 0.3


def test_the_share_of_enhancement_never_jumps() -> None:
    shares = [night_share(luma, LIMIT) for luma in np.linspace(0, 1, 1001)]
    assert (shares[300], shares[450], shares[1000]) == (1, 0, 0)
    assert max(np.abs(np.diff(shares))) < 0.01
    assert night_share(0.0, 0.0) == 0


WINDOW = Window(radius=3, every=2, light_radius=4)
DUSK = [*[0.6] * 24, *np.linspace(0.6, 0.1, 24), *[0.1] * 20]


def _frames(content: bytes, info: VideoInfo, segments: Sequence[Segment], todo: Enhancement) -> list[Enhanced]:
    encoding = choose(info, EncodeSettings(), "matroska", "keep")
    return [each for segment in segments for each in todo.frames(BytesIO(content), info, segment, encoding, Clock())]


@pytest.mark.parametrize(
    ("window", "look", "params"),
    [
        (WINDOW, Look(), "open-gop=1:bframes=3"),
        (WINDOW, Look(denoise=0), "bframes=0"),
        (Window(radius=0, steadiness=0), Look(), "bframes=2"),
        (WINDOW, Look(), "tff=1:bframes=2"),
    ],
)
def test_segments_equal_the_whole_at_dusk(window: Window, look: Look, params: str) -> None:
    content = lit_clip(DUSK, params=params)
    info = probe(BytesIO(content))
    todo = replace(enhancement(window, look), bright_luma=LIMIT)
    whole, parts = (_frames(content, info, cut(info, frames), todo) for frames in (1000, 12))
    assert [samples(each) for each in parts] == [samples(each) for each in whole]
    assert [each.shot.night for each in parts] == [each.shot.night for each in whole]


@pytest.mark.parametrize("denoise", ["auto", 0])
def test_daylight_stays_as_it_is_and_the_night_as_without_the_flag(denoise: float) -> None:
    content = lit_clip(DUSK)
    info = probe(BytesIO(content))
    always = enhancement(WINDOW, Look(denoise=denoise))
    whole = cut(info, 1000)
    mixed = _frames(content, info, whole, replace(always, bright_luma=LIMIT))
    full = _frames(content, info, whole, always)
    with av.open(BytesIO(content)) as container:
        decoded = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert np.array_equal([each.frame.to_ndarray() for each in mixed[:28]], decoded[:28])
    assert all(each.luma_before == each.luma_after and not each.shot.night for each in mixed[:28])
    assert [samples(each) for each in mixed[-12:]] == [samples(each) for each in full[-12:]]
    before, after = (np.array([getattr(each, name) for each in mixed]) for name in ("luma_before", "luma_after"))
    assert after[-1] > before[-1] + 0.05  # it does something
    assert np.abs(np.diff(after)).max() < 1.5 * np.abs(np.diff(before)).max()


def test_the_dark_before_a_lamp_is_switched_on_stays_as_without_the_flag() -> None:
    content = lit_clip([*[0.1] * 20, *[0.6] * 20])
    info = probe(BytesIO(content))
    always = enhancement(WINDOW)
    lit_up = _frames(content, info, cut(info, 1000), replace(always, bright_luma=LIMIT))
    shares = [each.shot.night for each in lit_up]
    assert shares[:20] == [1.0] * 20
    assert shares[20:23] == sorted(shares[20:23], reverse=True)
    assert 0 < shares[22] < shares[20] < 0.6
    assert shares[23:] == [0.0] * 17


def test_daylight_in_another_format_is_only_converted() -> None:
    content = lit_clip([0.6] * 6, pixel_format="yuvj420p", color_range=2)
    info = probe(BytesIO(content))
    todo = replace(enhancement(WINDOW), bright_luma=LIMIT)
    encoding = choose(info, EncodeSettings(pixel_format="yuv444p"), "matroska", "keep")
    (segment,) = cut(info, 1000)
    after = [
        each.frame.to_ndarray(format="gray") for each in todo.frames(BytesIO(content), info, segment, encoding, Clock())
    ]
    with av.open(BytesIO(content)) as container:
        before = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert np.abs(np.array(after, float) - np.array(before, float)).max() <= 2
