"""What frames carry beside their pixels comes out as well, or a note says that it does not."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.video.signal.side_data import kinds
from pipeline.video.writing.encode import EncodeSettings
from tests.support.beside_pixels import (
    CAPTION,
    DOLBY_VISION,
    EQUIRECTANGULAR,
    HDR10,
    HDR10_PLUS,
    sei,
    with_boxes,
    with_units,
)
from tests.support.clips import Samples, clip, pictures, streets
from tests.support.enhanced import SETTINGS, done, run
from tests.support.recordings import recording

PQ = {"pixel_format": "yuv420p10le", "colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
STATIC = {"CONTENT_LIGHT_LEVEL", "MASTERING_DISPLAY_METADATA"}
SPATIAL = bytes.fromhex(
    "0000002a 76657875 00000022 65796573 0000000d 73747269 00000000 03 0000000d 6865726f 00000000 01"
)
SIDE_BY_SIDE = bytes.fromhex("0000000d 73743364 00000000 02")
LAYERED = bytes.fromhex("0000001b 6c687643 01f000fccf01 a10001 0008 4209010160000001")  # lhvC, with an SPS
MVC = bytes.fromhex("74 40 01 07 88")  # a slice of a second view
AROUND = {"SPHERICAL", "STEREO3D"}


def _deep(count: int = 12) -> list[Samples]:
    return [frame.astype(np.uint16) * 257 for frame in streets(count)]


def _captioned(container: str, codec: str = "libx264", frames: int = 24) -> bytes:
    film = clip(streets(frames), codec=codec)
    return with_units(film, container, before=[sei(CAPTION, "h264" if codec == "libx264" else "hevc")])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mkv", _captioned("matroska")),
        ("a.ts", _captioned("mpegts")),
        ("a.mp4", _captioned("mp4", "libx265")),
    ],
)
def test_captions_stay_with_their_frames(name: str, content: bytes) -> None:
    outcome, written = done(name, content)
    assert outcome.notes == []
    for before, after in zip(pictures(content), pictures(written), strict=True):
        assert bytes(before.side_data["A53_CC"]) == bytes(after.side_data["A53_CC"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("a.mp4", EncodeSettings()), ("a.mkv", EncodeSettings()), ("b.mkv", EncodeSettings(codec="libsvtav1"))],
)
def test_hdr10_metadata_is_kept(name: str, settings: EncodeSettings) -> None:
    content = clip(_deep(), codec="libx265", params=HDR10, **PQ)
    fast = replace(SETTINGS, encode=replace(settings, preset="veryfast"))
    outcome, written = done("a.mp4", content, name, fast)
    assert not any("lost" in note for note in outcome.notes)
    light, display = (
        [np.frombuffer(next(frame).side_data[kind], np.int32) for frame in (pictures(content), pictures(written))]  # type: ignore[call-overload]
        for kind in sorted(STATIC)
    )
    assert light[0].tolist() == light[1].tolist() == [1000, 400]
    before, after = (numbers[:20:2] / numbers[1:20:2] for numbers in display)
    assert after == pytest.approx(before, rel=1e-3, abs=1e-4)  # AV1 has 14 binary places


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_the_projection_of_a_spherical_video_is_kept(name: str) -> None:
    outcome, written = done("a.mp4", with_boxes(clip(streets(12)), EQUIRECTANGULAR), name)
    assert outcome.notes == []
    assert kinds(pictures(written)) == AROUND


@pytest.mark.parametrize(
    ("content", "destination", "lost"),
    [
        (_captioned("mp4", frames=4), "a.webm", ["closed captions are"]),
        (with_boxes(clip(streets(4)), EQUIRECTANGULAR), "a.webm", ["the layout of a", "the projection of a"]),
        (
            with_units(clip(_deep(4), codec="libx265", **PQ), "mp4", before=[sei(HDR10_PLUS, "hevc")]),
            "a.mp4",
            ["HDR10+ metadata is"],
        ),
        (
            with_units(clip(_deep(4), codec="libx265", **PQ), "mp4", after=[DOLBY_VISION]),
            "a.mp4",
            ["Dolby Vision metadata is"],
        ),
    ],
    ids=["captions", "spherical", "HDR10+", "Dolby Vision"],
)
def test_what_is_not_kept_beside_the_pixels_is_named(content: bytes, destination: str, lost: list[str]) -> None:
    outcome, _ = done("a.mp4", content, destination)
    notes = [note for note in outcome.notes if note.endswith(" lost")]
    assert len(notes) == len(lost)
    assert all(note.startswith(start) for note, start in zip(notes, lost, strict=True))


def test_hdr10_metadata_is_dropped_with_hdr_and_named_where_a_coding_has_none() -> None:
    content = clip(_deep(4), codec="libx265", params=HDR10, **PQ)
    outcome, written = done("a.mp4", content, settings=replace(SETTINGS, hdr="sdr"))
    assert "PQ is written as SDR" in outcome.notes
    assert not any("lost" in note for note in outcome.notes)
    assert not kinds(pictures(written))
    vp9 = EncodeSettings(codec="libvpx-vp9", preset="ultrafast")
    outcome, _ = done("a.mp4", content, "a.mkv", replace(SETTINGS, encode=vp9))
    assert [note for note in outcome.notes if note.endswith(" lost")] == [
        "HDR10 metadata (MaxCLL, MaxFALL) is lost",
        "HDR10 metadata (mastering display) is lost",
    ]


def test_dolby_vision_without_a_common_base_is_refused_by_name() -> None:
    bare = clip(_deep(4), codec="libx265", pixel_format="yuv420p10le")
    outcome, _ = run("a.mp4", with_units(bare, "mp4", after=[DOLBY_VISION]))
    assert (outcome.outcome, outcome.code) == ("failed", "unsupported")
    assert "Dolby Vision profile 5" in outcome.message


@pytest.mark.parametrize(
    ("name", "content", "coding"),
    [
        ("a.mov", with_boxes(clip(streets(4), codec="libx265"), SPATIAL + LAYERED), "MV-HEVC"),
        ("a.mp4", with_boxes(with_units(clip(streets(4)), "mp4", after=[MVC]), SPATIAL), "MVC"),
        ("a.mkv", with_units(clip(streets(4)), "matroska", after=[MVC]), "MVC"),
        ("a.mts", with_units(clip(streets(4)), "mpegts", after=[MVC]), "MVC"),
    ],
)
def test_a_second_view_is_named_and_no_longer_promised(name: str, content: bytes, coding: str) -> None:
    outcome, written = done(name, content)
    assert outcome.notes == [
        f"its second view ({coding}, stereoscopic) is left out, which makes it a flat video; "
        "keep the original, or split it into one video for each eye first"
    ]
    assert outcome.frames == 4
    assert not any(kinds(pictures(written)))
    assert b"vexu" not in written.read_bytes()


def test_a_second_view_that_comes_with_a_later_recording_is_named() -> None:
    later = with_units(clip(streets(4)), "mpegts", after=[MVC])
    outcome, _ = done("a.ts", recording("mpegts", "mpeg2video", size=(96, 64)) + later)
    assert outcome.frames == 16
    assert any("its second view (MVC, stereoscopic) is left out" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mov", with_boxes(clip(streets(4)), SIDE_BY_SIDE)),
        ("a.mkv", clip(streets(4), "matroska", params="frame-packing=3")),
        ("a.ts", clip(streets(4), "mpegts", params="frame-packing=4")),
    ],
)
def test_two_views_in_one_frame_stay(name: str, content: bytes) -> None:
    outcome, written = done(name, content)
    assert outcome.notes == []
    before, after = (bytes(next(pictures(each)).side_data["STEREO3D"]) for each in (content, written))  # type: ignore[call-overload]
    assert before[:4] == after[:4]
