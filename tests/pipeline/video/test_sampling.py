"""Frames out of videos: how many, which, how they look, and what is refused. All videos are made here, through PyAV.

Frame n of a ramp is the grey level 16 + STEP * n throughout, so that a frame says by itself where it was.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame

from pipeline.errors import Damaged, EmptyFile, NotMedia, Unsupported
from pipeline.video import is_video, sample
from pipeline.video.reading.sampling import every, frame_after, spread
from tests.support.recordings import recording

Samples = npt.NDArray[Any]

RATE, FRAMES, STEP = 25, 40, 5  # 1.6 s
WIDTH, HEIGHT = 64, 48
CODED = (  # PyAV's format name, codec
    ("mp4", "libx264"),
    ("mp4", "libx265"),
    ("matroska", "libx264"),
    ("mpegts", "libx264"),
    ("mpegts", "libx265"),
    ("mpegts", "mpeg2video"),
    ("avi", "libx264"),
    ("avi", "mpeg4"),
    ("webm", "libvpx-vp9"),
)


class OneWay(BytesIO):
    """A muxer that cannot seek back writes no duration into the header and no index behind the packets."""

    seek = None  # type: ignore[assignment]


class Counted(BytesIO):
    """Counts the bytes that were read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        got = super().read(size)
        self.taken += len(got)
        return got


def yuv(y: int, u: int = 128, v: int = 128) -> VideoFrame:
    """One colour, 8 bits, 4:2:0."""
    planes = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
    planes[:HEIGHT], planes[HEIGHT : HEIGHT * 5 // 4], planes[HEIGHT * 5 // 4 :] = y, u, v
    return VideoFrame.from_ndarray(planes, "yuv420p")


def ramp(frames: int = FRAMES) -> list[VideoFrame]:
    return [yuv(16 + STEP * number) for number in range(frames)]


def noise(frames: int = FRAMES) -> Iterator[VideoFrame]:
    """As large as a video of this size gets."""
    rng = np.random.default_rng(0)
    for _ in range(frames):
        yield VideoFrame.from_ndarray(rng.integers(16, 235, (HEIGHT * 3 // 2, WIDTH), np.uint8), "yuv420p")


def video(
    frames: Iterable[VideoFrame],
    container: str = "mp4",
    codec: str = "libx264",
    *,
    gop: int = 250,
    degrees: int = 0,
    file: BytesIO | None = None,
    **properties: Any,
) -> bytes:
    """Coded. `degrees`: anticlockwise turn of the display matrix. `properties`: of the codec context."""
    file = file or BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = gop
        for name, value in properties.items():
            setattr(stream.codec_context, name, value)
        if degrees:
            stream.set_display_rotation(degrees)
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            frame.color_range = properties.get("color_range", 0)
            frame.colorspace = properties.get("colorspace", 2)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def sound() -> bytes:
    file = BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def sampled(coded: bytes, count: int) -> list[Samples]:
    return list(sample(BytesIO(coded), count))


def numbers(frames: list[Samples]) -> list[int]:
    """Which frames of a ramp these are."""
    return [round(frame.mean() * 219 / 255 / STEP) for frame in frames]


def test_is_video() -> None:
    assert is_video("a/b.MP4")
    assert not is_video("mp4/b.jpg")


@pytest.mark.parametrize("gop", [250, 10])
@pytest.mark.parametrize(("container", "codec"), CODED)
def test_frames_are_as_many_as_asked_and_evenly_spread(container: str, codec: str, gop: int) -> None:
    coded = video(ramp(), container, codec, gop=gop)
    for count in (1, 3, 8):
        found = numbers(sampled(coded, count))
        part = FRAMES / count
        middles = [part * (index + 0.5) for index in range(count)]
        assert len(found) == count
        assert found == sorted(set(found))
        # From a keyframe before the middle of its part, within a second where the GOP is shorter, up to that middle.
        for number, middle in zip(found, middles, strict=True):
            assert middle - max(gop, RATE) <= number <= middle + 1
        if count == 8:
            assert max(np.diff(found)) <= 2 * part


@pytest.mark.parametrize(("container", "codec"), CODED)
def test_a_video_shorter_than_asked_gives_each_frame_once(container: str, codec: str) -> None:
    found = numbers(sampled(video(ramp(12), container, codec), 16))
    assert 6 <= len(found) <= 12  # AVI has no pts: with B-frames they are guessed, and some frames passed over
    assert found == sorted(set(found))


def test_keyframes_behind_the_place_sought_are_not_taken_for_it() -> None:
    """MPEG-TS has no index: a seek lands in the middle of a GOP, and its decoder waits for the next keyframe."""
    assert numbers(sampled(video(ramp(), "mpegts", gop=20), 2)) == [0, 20]
    assert numbers(sampled(video(ramp(), "mpegts"), 8)) == [0, 8, 13, 18, 23, 28, 33, 38]


def test_a_long_stream_is_not_read_through() -> None:
    coded = Counted(video(noise(60 * RATE), "mpegts", gop=RATE))
    assert len(sample(coded, 2)) == 2
    assert coded.taken < len(coded.getvalue()) / 2


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_frames_are_upright(container: str, degrees: int) -> None:
    left_lit = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    left_lit[:HEIGHT, : WIDTH // 2], left_lit[:HEIGHT, WIDTH // 2 :] = 200, 30
    (shown,) = sampled(video([VideoFrame.from_ndarray(left_lit, "yuv420p")], container, degrees=degrees), 1)
    turned = np.rot90(left_lit[:HEIGHT], degrees // 90)
    assert shown.shape == (*turned.shape, 3)
    corners = np.ix_((4, -4), (4, -4))
    assert np.array_equal(shown[..., 1][corners] > 128, turned[corners] > 128)


def test_a_phone_recording_is_upright(shared: Path) -> None:
    with (shared / "data/dev/video/made/rot90_flag.mp4").open("rb") as file:
        assert sample(file, 1)[0].shape == (640, 360, 3)


def test_pixels_are_square() -> None:
    (shown,) = sampled(video(ramp(1), sample_aspect_ratio=Fraction(3, 2)), 1)
    assert shown.shape == (HEIGHT, WIDTH * 3 // 2, 3)


def coded_colour(rgb: tuple[int, int, int], red: float, blue: float, *, full: bool) -> VideoFrame:
    """Equations of ITU-T H.273, 8.3: `red` and `blue` are KR and KB of the matrix."""
    r, g, b = np.array(rgb) / 255
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = np.array([(b - luma) / (1 - blue), (r - luma) / (1 - red)]) / 2
    y = 255 * luma if full else 16 + 219 * luma
    u, v = 128 + (255 if full else 224) * chroma
    return yuv(round(y), round(u), round(v))


@pytest.mark.parametrize("rgb", [(180, 60, 40), (40, 160, 70), (50, 70, 190), (128, 128, 128), (250, 250, 250)])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_colours(
    container: str, matrix: int, red: float, blue: float, *, full: bool, rgb: tuple[int, int, int]
) -> None:
    frame = coded_colour(rgb, red, blue, full=full)
    (shown,) = sampled(video([frame], container, colorspace=matrix, color_range=2 if full else 1), 1)
    assert np.abs(shown.astype(int) - rgb).max() <= 3


def test_a_small_video_without_a_matrix_has_that_of_bt601() -> None:
    (shown,) = sampled(video([coded_colour((180, 60, 40), 0.299, 0.114, full=False)]), 1)
    assert np.abs(shown.astype(int) - (180, 60, 40)).max() <= 3


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_hdr_is_refused(container: str, transfer: int, name: str) -> None:
    with pytest.raises(Unsupported, match=name):
        sampled(video(ramp(12), container, color_trc=transfer, colorspace=9), 1)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: b"", EmptyFile),
        (sound, Unsupported),
        (lambda: b"no video at all\n" * 40, NotMedia),
        (lambda: video(ramp())[:1000], NotMedia),  # mp4: the index is at the end
    ],
    ids=["empty", "audio only", "text", "mp4 without its index"],
)
def test_what_is_not_a_video_is_refused(make: Callable[[], bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        sampled(make(), 8)


@pytest.mark.parametrize("container", ["matroska", "mpegts", "avi"])
def test_a_file_cut_short_gives_what_is_left(container: str) -> None:
    coded = video(noise(), container, gop=10)
    found = sampled(coded[: len(coded) * 2 // 3], 9)
    assert 3 <= len(found) <= 9


def test_a_video_without_a_frame_is_damaged() -> None:
    coded = video(ramp())
    start = coded.index(b"mdat") + 4
    with pytest.raises(Damaged, match="no frame"):
        sampled(coded[:start] + bytes(coded.index(b"moov") - 4 - start) + coded[coded.index(b"moov") - 4 :], 8)


@pytest.mark.parametrize(("container", "codec"), [("matroska", "libx264"), ("webm", "libvpx-vp9"), ("flv", "libx264")])
def test_a_missing_duration(container: str, codec: str) -> None:
    coded = video(ramp(), container, codec, gop=10, file=OneWay())
    with av.open(BytesIO(coded)) as opened:
        assert not opened.streams.video[0].duration
    found = numbers(sampled(coded, 4))
    assert len(found) == 4
    assert max(np.diff(found)) <= FRAMES / 2


@pytest.mark.parametrize("gop", [250, 10])
@pytest.mark.parametrize(("container", "codec"), CODED)
def test_a_spread_begins_with_the_first_frame_and_tells_its_times(container: str, codec: str, gop: int) -> None:
    coded = video(ramp(), container, codec, gop=gop)
    stills = list(spread(BytesIO(coded), 8))
    found = numbers([still.pixels for still in stills])
    assert found[0] == 0
    assert stills[0].at_s < 3 / RATE  # a header may count from the first packet
    assert len(set(found)) == 8
    steps = np.diff([still.at_s for still in stills])
    slack = 1 / RATE if container == "avi" else 0  # which holds no times of frames that are coded out of order
    assert steps == pytest.approx(np.diff(found) / RATE, abs=slack + 0.002)
    assert max(np.diff(found)) <= 2 * FRAMES / 8


@pytest.mark.parametrize("gop", [250, 10])
def test_one_moment_is_found_again_in_another_coding(gop: int) -> None:
    source = video(ramp(), gop=gop)
    for container, codec in CODED:
        if container in ("mp4", "matroska"):
            other = video(ramp(), container, codec, gop=7)
            for still in spread(BytesIO(source), 5):
                assert numbers([frame_after(BytesIO(other), still.at_s)]) == numbers([still.pixels])
    with pytest.raises(Damaged, match="after"):
        frame_after(BytesIO(source), FRAMES / RATE + 1)


@pytest.mark.parametrize(("muxer", "codec"), [("h264", "libx264"), ("mpeg2video", "mpeg2video"), ("mjpeg", "mjpeg")])
def test_frames_of_a_stream_without_times_are_counted(muxer: str, codec: str) -> None:
    rate = Fraction(30000, 1001)
    content = recording(muxer, codec, rate=rate, frames=40, pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p")
    told = 25 if codec == "mjpeg" else rate  # which states none
    stills = list(spread(BytesIO(content), 4))
    assert [still.at_s for still in stills] == pytest.approx([float(number / told) for number in (0, 10, 20, 30)])
    assert len({still.pixels.tobytes() for still in stills}) == 4
    assert len(list(every(BytesIO(content)))) == 40
    assert np.array_equal(frame_after(BytesIO(content), 0.0), stills[0].pixels)
    assert len(sample(BytesIO(content), 40)) == 40


@pytest.mark.parametrize("second", ["libx264", "mpeg2video"])
def test_every_frame_of_joined_recordings_has_its_own_time(second: str) -> None:
    """Times restart at the join, and the coding may change there."""
    stills = list(every(BytesIO(recording("mpegts", "libx264") + recording("mpegts", second))))
    assert [still.at_s for still in stills] == pytest.approx([number / 25 for number in range(24)])
