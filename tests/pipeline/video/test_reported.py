"""Small files in which something was lost, or told wrongly, once."""

import struct
import zlib
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.reading.probe import probe
from pipeline.video.structure import ebml
from pipeline.video.structure.facts import private_boxes
from pipeline.video.writing.encode import EncodeSettings
from tests.support.clips import SOUND_HZ, Sound, clip, packets, streets, times
from tests.support.enhanced import QUICK, done, run


@pytest.fixture
def reported(shared: Path) -> Path:
    return shared / "data" / "dev" / "video" / "reports"


def test_a_whole_file_that_begins_late_is_not_called_damaged(reported: Path) -> None:
    outcome, written = done("a.mkv", (reported / "late_start.mkv").read_bytes())
    assert outcome.notes == []
    assert times(written) == times(reported / "late_start.mkv")


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_copied_video_without_decoding_times_keeps_its_times(reported: Path, name: str) -> None:
    content = (reported / "two_videos.mkv").read_bytes()
    outcome, written = done("a.mkv", content, name)
    assert outcome.notes == ["video stream 1 is copied as it is; only one video stream is enhanced"]
    before, after = (packets(each, "video")[1] for each in (content, written))
    assert [at for at, _ in after] == [at for at, _ in before]


def test_sound_that_is_cut_out_does_not_come_back() -> None:
    content = clip(streets(100), extras=Sound(seconds=4))
    outcome, written = done("a.mp4", _cut(content))
    assert outcome.notes == []
    assert outcome.frames == 50
    with av.open(str(written)) as after:
        samples = sum(frame.samples for frame in after.decode(audio=0))
    assert samples == pytest.approx(2 * SOUND_HZ, abs=2 * 1024)


def _cut(content: bytes) -> bytes:
    """An MP4 whose edit lists show the first and the third second only. Its index comes last."""
    size, moov = len(content), content.rindex(b"moov") - 4

    def rebuilt(start: int, end: int, scale: int = 0, first: int = 0) -> bytes:
        made = b""
        while start < end:
            length, kind = struct.unpack_from(">I4s", content, start)
            inner = content[start + 8 : start + length]
            if kind == b"trak":
                (scale,) = struct.unpack_from(">I", inner, inner.index(b"mdhd") + 16)
                (first,) = struct.unpack_from(">i", inner, inner.index(b"elst") + 16)
                inner = rebuilt(start + 8, start + length, scale, first)
            elif kind == b"edts":
                edits = [(1000, first), (1000, first + 2 * scale)]
                inner = struct.pack(">I4sII", 40, b"elst", 0, 2)
                inner += b"".join(struct.pack(">IiHH", *edit, 1, 0) for edit in edits)
            made += struct.pack(">I4s", 8 + len(inner), kind) + inner
            start += length
        return made

    index = rebuilt(moov + 8, size)
    return content[:moov] + struct.pack(">I4s", 8 + len(index), b"moov") + index


def test_the_default_video_is_enhanced(reported: Path) -> None:
    outcome, written = done("a.mp4", (reported / "thumbnail_first.mp4").read_bytes())
    assert outcome.notes == ["video stream 0 is copied as it is; only one video stream is enhanced"]
    assert (outcome.width_px, outcome.height_px) == (160, 90)
    assert packets(written, "video")[0] == packets(reported / "thumbnail_first.mp4", "video")[0]


@pytest.mark.parametrize("name", ["a.webm", "a.mkv"])
def test_matroska_keeps_the_shape_of_pixels(reported: Path, name: str) -> None:
    outcome, written = done("a.webm", (reported / "anamorphic_vp9.webm").read_bytes(), name)
    assert outcome.notes == []
    with av.open(str(written)) as after:
        assert after.streams.video[0].sample_aspect_ratio == Fraction(213, 160)
        assert "title" not in after.streams.video[0].metadata
    with written.open("rb") as file:
        ((_, tracks),) = [each for each in ebml.tree(file) if each[1][0] == ebml.TRACKS]
        first = next(ebml.elements(file, tracks[2], tracks[3]))
    assert (first[0] == ebml.CRC_32) == (name == "a.mkv")
    if first[0] == ebml.CRC_32:
        content = written.read_bytes()
        assert content[first[2] : first[3]] == zlib.crc32(content[first[3] : tracks[3]]).to_bytes(4, "little")


def test_an_aspect_that_whole_pixels_round_is_kept() -> None:
    content = clip(streets(12), "matroska", sample_aspect_ratio=Fraction(4, 3))
    for name in ("a.mkv", "a.webm"):
        outcome, written = done("a.mkv", content, name)
        assert not any("aspect" in note for note in outcome.notes)
        with av.open(str(written)) as after:
            assert float(after.streams.video[0].sample_aspect_ratio) == pytest.approx(4 / 3, rel=0.005)


def test_faststart_and_profile_stay(reported: Path) -> None:
    outcome, written = done("a.mp4", (reported / "faststart.mp4").read_bytes())
    assert outcome.notes == []
    assert written.read_bytes().index(b"moov") < written.read_bytes().index(b"mdat")
    outcome, written = done("a.mov", (reported / "prores_proxy.mov").read_bytes())
    assert outcome.notes == []
    with av.open(str(written)) as after:
        assert after.streams.video[0].profile == "Proxy"


def test_user_data_of_frames_is_kept_or_named(reported: Path) -> None:
    content = (reported / "telemetry_sei.mp4").read_bytes()
    outcome, written = done("a.mp4", content)
    assert outcome.notes == []
    assert b"speed=42" in written.read_bytes()  # of the first frame: FFmpeg's decoder gives no other
    outcome, _ = done("a.mp4", content, "a.mkv", replace(QUICK, encode=EncodeSettings(codec="ffv1")))
    assert "user data (SEI), such as what a camera measures, is lost" in outcome.notes


@pytest.mark.parametrize(("name", "location"), [("chroma_topleft.mkv", "topleft"), ("chroma_center.mov", "center")])
def test_chroma_stays_where_it_is(reported: Path, name: str, location: str) -> None:
    _, written = done(name, (reported / name).read_bytes())
    with written.open("rb") as file:
        assert probe(file).chroma_location == location


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("sar_change.ts", ["its pixel aspect ratio changes midway; all frames are shown with that of the first"]),
        ("camera_boxes.mp4", ["boxes of the camera are lost: moov/gps"]),
        (
            "nested_chapters.mkv",
            [
                "chapters: those within others are lost",
                "chapters: hidden ones show now",
                "chapters: only one of the languages of their titles is kept",
                "tags of level 70 become tags of the whole file, in place of its own",
                "language en-GB loses what is behind its dash",
            ],
        ),
        ("two_programs.ts", ["its 2 programmes become one"]),
        ("fine_times.mkv", ["its times are rounded to milliseconds, the unit of matroska: by up to 0.50 ms"]),
    ],
)
def test_what_is_lost_is_named(reported: Path, name: str, notes: list[str]) -> None:
    outcome, _ = done(name, (reported / name).read_bytes())
    usual = (" is copied as it is", " is written as ")
    assert [note for note in outcome.notes if not any(each in note for each in usual)] == notes


def test_boxes_of_cameras_are_kept_where_nothing_moves(reported: Path) -> None:
    content = (reported / "camera_boxes.mp4").read_bytes()
    _, written = done("a.mp4", content)
    before, after = (
        [(str(box), b"".join(box.content(file))) for box in private_boxes(file)]
        for file in (BytesIO(content), BytesIO(written.read_bytes()))
    )
    assert [(name, held) for name, held in before if name != "moov/gps"] == after != []
    outcome, _ = done("a.mp4", content, "a.mkv")
    assert "boxes of the camera are lost: moov/udta/CAME, moov/udta/HMMT, moov/gps, free, uuid" in outcome.notes


def test_a_raw_stream_has_the_rate_that_it_states(reported: Path) -> None:
    _, written = done("a.ts", (reported / "raw30.ts").read_bytes())
    assert np.diff([float(at) for at in times(written)]) == pytest.approx(1 / 30, abs=1e-4)


def test_encrypted_files_are_called_encrypted(reported: Path) -> None:
    outcome, _ = run("a.mp4", (reported / "encrypted.mp4").read_bytes())
    assert (outcome.outcome, outcome.code) == ("failed", "unsupported")
    assert "it is encrypted" in outcome.message


def test_a_lost_language_is_named_with_its_stream() -> None:
    outcome, _ = done("a.mkv", clip(streets(24), "matroska", extras=Sound(["qaa"])), "a.mov")
    assert outcome.notes == ["metadata 'language' (qaa) of audio stream 1 is lost"]
