"""Which encoder a source gets, and how it is set."""

import os
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame

from pipeline.errors import Unsupported, UsageError
from pipeline.video.reading.containers import muxer_of, written_name
from pipeline.video.reading.probe import VideoInfo
from pipeline.video.signal.color import Colours
from pipeline.video.writing.encode import EncodeSettings, available_encoders, choose
from pipeline.video.writing.segment_files import check_starts, encoder
from tests.support.clips import street, streets

THREADS = Path("/proc/self/task")


def info(codec: str, pixel_format: str = "yuv420p", depth: int = 8, size: tuple[int, int] = (96, 64)) -> VideoInfo:
    return VideoInfo(
        container="mp4",
        stream=0,
        codec=codec,
        width_px=size[0],
        height_px=size[1],
        pixel_format=pixel_format,
        depth=depth,
        colours=Colours(),
        time_base=Fraction(1, 1000),
        frame_rate=Fraction(25),
        pts=(0, 40),
        keyframes=(0,),
        last_duration=40,
        reorder=0,
        sample_aspect=None,
        display_matrix=None,
        interlaced=False,
        alpha=False,
    )


@pytest.mark.parametrize(
    ("codec", "pixel_format", "depth", "muxer", "expected"),
    [
        ("h264", "yuv420p", 8, "mp4", ("libx264", "yuv420p")),
        ("h264", "yuvj420p", 8, "mp4", ("libx264", "yuv420p")),
        ("h264", "yuv420p10le", 10, "mp4", ("libx264", "yuv420p10le")),
        ("hevc", "yuv420p10le", 10, "mov", ("libx265", "yuv420p10le")),
        ("hevc", "yuv422p12le", 12, "mov", ("libx265", "yuv422p12le")),
        ("vp9", "yuv420p", 8, "webm", ("libvpx-vp9", "yuv420p")),
        ("vp9", "yuva420p", 8, "webm", ("libvpx-vp9", "yuva420p")),
        ("vp9", "yuv420p10le", 10, "webm", ("libsvtav1", "yuv420p10le")),
        ("vp8", "yuv420p", 8, "webm", ("libvpx-vp9", "yuv420p")),
        ("av1", "yuv420p10le", 10, "matroska", ("libsvtav1", "yuv420p10le")),
        ("h264", "yuv420p", 8, "webm", ("libvpx-vp9", "yuv420p")),
        ("mpeg2video", "yuv422p", 8, "mpegts", ("libx264", "yuv422p")),
        ("av1", "yuv420p", 8, "mpegts", ("libx264", "yuv420p")),
        ("mpeg4", "yuv420p", 8, "mp4", ("libx264", "yuv420p")),
        ("prores", "yuv422p10le", 10, "mov", ("prores_ks", "yuv422p10le")),
        ("prores", "yuva444p12le", 12, "mov", ("prores_ks", "yuva444p10le")),
        ("mjpeg", "yuvj444p", 8, "mov", ("libx264", "yuv444p")),
        ("png", "rgb24", 8, "mov", ("libx264", "yuv444p")),
        ("v210", "yuv422p10le", 10, "mov", ("libx265", "yuv422p10le")),
    ],
)
def test_the_source_decides(codec: str, pixel_format: str, depth: int, muxer: str, expected: tuple[str, str]) -> None:
    encoding = choose(info(codec, pixel_format, depth), EncodeSettings(), muxer, "keep")
    assert (encoding.codec, encoding.pixel_format) == expected


def test_flags_decide_over_the_source() -> None:
    settings = EncodeSettings(codec="libx265", crf=30, preset="slow", pixel_format="yuv420p10le")
    encoding = choose(info("h264"), settings, "mp4", "keep")
    assert (encoding.codec, encoding.pixel_format) == ("libx265", "yuv420p10le")
    assert (encoding.options["crf"], encoding.options["preset"]) == ("30", "slow")


def test_a_preset_is_one_word_for_all_encoders() -> None:
    settings = EncodeSettings(preset="veryfast")
    options = [choose(info(codec), settings, "matroska", "keep").options for codec in ("h264", "vp9", "av1")]
    assert [each.get("preset", each.get("cpu-used")) for each in options] == ["veryfast", "6", "10"]


def test_encoders_that_are_not_there_are_refused_with_those_that_are() -> None:
    assert {"libx264", "libx265", "libsvtav1", "libvpx-vp9"} <= set(available_encoders())
    with pytest.raises(UsageError, match=r'unknown --codec "h265_magic"; choose from .*libx264'):
        EncodeSettings(codec="h265_magic")


@pytest.mark.parametrize(("number", "name"), [(0, "GBR"), (8, "YCgCo"), (14, "ICtCp")])
def test_colours_that_cannot_be_converted_are_refused_by_name(number: int, name: str) -> None:
    odd = replace(info("hevc", "yuv444p10le", 10), colours=Colours(matrix=number))
    with pytest.raises(Unsupported, match=rf"matrix {number} .*\({name}\)"):
        choose(odd, EncodeSettings(), "mp4", "keep")
    for fine in (replace(odd, pixel_format="gbrp10le"), replace(odd, pixel_format="gray10le")):  # they have no matrix
        choose(fine, EncodeSettings(), "mp4", "keep")


@pytest.mark.parametrize(
    ("codec", "expected"),
    [
        ("h264_nvenc", {"rc": "vbr", "cq": "30", "b": "0"}),
        ("hevc_qsv", {"global_quality": "30"}),
        ("hevc_amf", {"rc": "cqp", "qp_i": "30", "qp_p": "30"}),
        ("av1_amf", {"rc": "cqp", "qp_i": "120", "qp_p": "120"}),
    ],
)
def test_hardware_aims_at_a_quality_in_its_own_words(codec: str, expected: dict[str, str]) -> None:
    if codec not in available_encoders():
        pytest.skip(f"this PyAV has no {codec}")
    assert choose(info("h264"), EncodeSettings(codec=codec, crf=30), "matroska", "keep").options == expected


def test_hardware_that_is_not_there_is_wrong_usage() -> None:
    absent = next(name for name in ("h264_v4l2m2m", "h264_amf", "h264_qsv") if name in available_encoders())
    with pytest.raises(UsageError, match=f"--codec {absent} does not start on this machine"):
        check_starts(EncodeSettings(codec=absent))
    for codec in ("libx264", "prores_ks", "ffv1", None):
        check_starts(EncodeSettings(codec=codec))


@pytest.mark.skipif(not THREADS.is_dir(), reason="threads are counted as Linux lists them")
@pytest.mark.parametrize(("codec", "more"), [("libx265", 4), ("libsvtav1", 20), ("libvpx-vp9", 1), ("libx264", 1)])
def test_encoders_keep_to_their_threads_and_write_the_same_bits(codec: str, more: int) -> None:
    """`more`: threads that an encoder starts for its own sake, which mostly wait: 47 of SVT-AV1 where it is let."""
    encoding = choose(info(codec), EncodeSettings(codec=codec, preset="ultrafast"), "matroska", "keep")
    files, counts = [], []
    for threads in (1, 2):
        file, before = BytesIO(), len(list(THREADS.iterdir()))
        with encoder(file, encoding, "test", threads=threads) as output:
            for number, pixels in enumerate(streets(12)):
                frame = VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
                output.encode(frame, number * 40)
            counts.append(len(list(THREADS.iterdir())) - before)
            assert {os.sched_getscheduler(int(thread.name)) for thread in THREADS.iterdir()} == {os.SCHED_OTHER}
        files.append(file.getvalue())
    assert counts[0] <= more
    assert files[0] == files[1] or codec == "libx264"  # its threads work on a frame each, and see less of the others


def test_what_a_container_cannot_hold_is_refused() -> None:
    with pytest.raises(Unsupported, match="webm cannot hold"):
        choose(info("h264"), EncodeSettings(codec="libx264"), "webm", "keep")


@pytest.mark.parametrize(
    ("name", "container", "expected"),
    [
        ("a/b.mp4", None, "a/b.mp4"),
        ("b.MOV", None, "b.MOV"),
        ("b.avi", None, "b.mkv"),
        ("b.FLV", None, "b.mkv"),
        ("b.mpg", None, "b.mp4"),
        ("b.wmv", None, "b.mkv"),
        ("b.vob", None, "b.mkv"),
        ("b.mp4", ".mkv", "b.mkv"),
    ],
)
def test_names(name: str, container: str | None, expected: str) -> None:
    assert written_name(name, container) == expected


def test_muxers() -> None:
    assert [muxer_of(name) for name in ("a.mp4", "a.MKV", "a.m2ts")] == ["mp4", "matroska", "mpegts"]
    with pytest.raises(UsageError, match=r"cannot write \.avi"):
        muxer_of("a.avi")


@pytest.mark.parametrize(
    "wrong",
    [
        {"codec": "nonsense"},
        {"crf": 99},
        {"crf": -5},
        {"crf": 60, "codec": "libx265"},
        {"preset": "nonsense"},
        {"pixel_format": "nonsense"},
    ],
)
def test_wrong_settings_are_wrong_usage(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=str(next(iter(wrong.values())))):
        EncodeSettings(**wrong)


def test_transparency_that_is_lost_is_told() -> None:
    source = replace(info("vp9", "yuva420p", 8), alpha=True)
    lost = "its transparency is lost"
    for muxer, codec, told in (("webm", None, False), ("matroska", None, False), ("mp4", None, True)):
        assert any(lost in note for note in choose(source, EncodeSettings(codec=codec), muxer, "keep").notes) == told
    prores = choose(source, EncodeSettings(codec="prores_ks"), "mov", "keep")
    assert "yuva" in prores.pixel_format
    assert not any(lost in note for note in prores.notes)


def test_a_quality_beyond_the_encoders_is_refused() -> None:
    with pytest.raises(Unsupported, match="between 0 and 51"):
        choose(info("h264", "yuv420p", 8), EncodeSettings(crf=60), "mp4", "keep")
    assert choose(info("vp9", "yuv420p", 8), EncodeSettings(crf=60), "webm", "keep").options["crf"] == "60"


def test_the_same_frames_become_the_same_bits_whatever_lay_in_memory() -> None:
    frames = [VideoFrame.from_ndarray(street(number, 480, 320), "rgb24") for number in range(30)]
    frames = [frame.reformat(format="yuv420p") for frame in frames]
    encoding = choose(info("h264", size=(480, 320)), EncodeSettings(), "mp4", "keep")
    coded = []
    for seed in range(3):
        random, file = np.random.default_rng(seed), BytesIO()
        with encoder(file, encoding, "one") as output:
            for number, frame in enumerate(frames):
                for size in (1_000, 50_000, 300_000, 600_000):
                    random.integers(0, 256, size, np.uint8)  # freed at once, for the encoder to find
                output.encode(frame, 40 * number)
        coded.append(file.getvalue())
    assert coded[0] == coded[1] == coded[2]
