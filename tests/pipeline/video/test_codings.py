"""Recordings of several cameras in one file, in several codings: no frame is lost, and each has its time."""

import subprocess
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest

from pipeline.errors import Damaged
from pipeline.video.reading.decode import decoded
from pipeline.video.reading.glance import glance
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.segments import Segment, cut
from pipeline.video.structure.codings import coding_of
from tests.support.clips import Sound, clip, packets, streets
from tests.support.clips import times as frame_times
from tests.support.enhanced import QUICK, done, run
from tests.support.recordings import recording

CODECS = {"h264": "libx264", "hevc": "libx265", "mpeg2": "mpeg2video", "mpeg4": "mpeg4"}
QUIET = {"x265-params": "log-level=none:bframes=0"}


def made(muxer: str, coding: str, sound: str = "", **shape: Any) -> bytes:
    if coding == "hevc":
        shape = {"options": QUIET} | shape
    if not muxer:  # none
        muxer = {"mpeg2": "mpeg2video", "mpeg4": "m4v"}.get(coding, coding)
    return recording(muxer, CODECS[coding], sound, **shape)


def planes(content: bytes) -> list[bytes]:
    with av.open(BytesIO(content)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def frames(content: bytes, info: VideoInfo, segments: list[Segment]) -> list[tuple[int, bytes]]:
    return [
        (shot.pts, shot.frame.to_ndarray().tobytes())
        for each in segments
        for shot in decoded(BytesIO(content), info, each.first, each.end)
    ]


def checked(parts: list[bytes]) -> VideoInfo:
    """The file of all parts, whose frames are those of each part, the same in segments as in one piece."""
    content = b"".join(parts)
    info = probe(BytesIO(content))
    whole = frames(content, info, [Segment(index=0, first=0, end=info.frames)])
    assert [samples for _, samples in whole] == [samples for part in parts for samples in planes(part)]
    assert [pts for pts, _ in whole] == list(info.pts) == sorted(set(info.pts))
    assert frames(content, info, cut(info, 5)) == whole
    return info


RING = [*zip(CODECS, [*CODECS][1:] + [*CODECS][:1], strict=True), ("hevc", "h264"), ("mpeg2", "h264")]


@pytest.mark.parametrize(("first", "second"), RING)
@pytest.mark.parametrize("muxer", ["mpegts", "vob", ""])
def test_both_codings_are_decoded(muxer: str, first: str, second: str) -> None:
    parts = [made(muxer, first), made(muxer, second)]
    info = checked(parts)
    assert [each.stretch.begins_at for each in info.recordings] == pytest.approx([0, len(parts[0])], abs=600)
    assert set(np.diff(info.pts)) == {info.last_duration}


@pytest.mark.parametrize(("first", "second"), [("h264", "hevc"), ("mpeg4", "mpeg4")])
def test_mp4_files_that_were_joined_are_all_read(first: str, second: str) -> None:
    """Each has an index of its own, and a demuxer reads the first alone."""
    parts = [made("mp4", first), made("mov", second), made("mp4", first)]
    assert [each.stretch.begins_at for each in checked(parts).recordings] == [
        0,
        len(parts[0]),
        len(b"".join(parts[:2])),
    ]
    with pytest.raises(Damaged, match="joined"):
        glance(BytesIO(b"".join(parts)))


START = b"\0\0\1"


@pytest.mark.parametrize("between", [b"", START + b"\x6f\x64\0\x28\xac"])
def test_headers_of_h264_are_told_from_slices_of_mpeg2(between: bytes) -> None:
    """Rows 39 and 40 of an MPEG-2 picture begin like an SPS and a PPS; the next row follows them."""
    headers = START + b"\x27\x64\0\x28\xac\x2b\x40" + between + START + b"\x28\xee\x3c\x80" + START
    assert coding_of(headers + b"\x65\x88") == coding_of(headers + b"\x41\x9a") == "h264"
    assert coding_of(headers + b"\x29\x13\xf8") is None
    end_of_stream = START + b"\x0b"
    assert coding_of(end_of_stream + headers + b"\x65\x88") == "h264"  # and not MPEG-4


def with_times_before(stream: bytes) -> bytes:
    """A transport stream as Blu-rays and AVCHD cameras write it."""
    return b"".join(bytes(4) + stream[at : at + 188] for at in range(0, len(stream), 188))


def test_recordings_in_turns_of_other_packets_and_cut_short() -> None:
    one, other = made("mpegts", "h264"), made("mpegts", "hevc", size=(96, 64))
    info = checked([one, other, with_times_before(one)])
    assert [each.info.size for each in info.recordings] == [(64, 48), (96, 64), (64, 48)]
    content = one[: len(one) - 100] + other  # within a packet
    assert probe(BytesIO(content)).frames in (23, 24)
    assert probe(BytesIO(one + bytes(1000) + other)).frames == 24


def test_another_stream_of_the_same_coding_follows_too() -> None:
    """The tables of another camera put the video elsewhere."""
    elsewhere = Sound(options={"mpegts_start_pid": "500", "mpegts_service_id": "7", "mpegts_pmt_start_pid": "300"})
    small, large = (clip(streets(12, width=side), "mpegts", gop=6, extras=Sound()) for side in (96, 192))
    checked([small, clip(streets(12, seed=1), "mpegts", gop=6, extras=elsewhere)])
    checked([clip(streets(12, seed=1), "mpegts", gop=6, extras=elsewhere), large])


def test_a_broadcast_goes_on_at_its_own_times() -> None:
    """The table changes, and the times go on after a gap."""
    shape = {"time_base": Fraction(1, 25), "gop": 6}
    parts = [
        clip(streets(12), "mpegts", "mpeg2video", pts=range(12), **shape),
        clip(streets(12), "mpegts", "libx264", pts=range(25, 37), **shape),
    ]
    info = checked(parts)
    assert not info.restarts
    assert np.diff(info.pts)[11] * info.time_base == pytest.approx(14 / 25, abs=0.1)


def test_what_misses_its_keyframe_leaves_a_gap() -> None:
    """Sound is there from the beginning on, so that what follows may not move to it."""
    one, other = made("mpegts", "hevc"), made("mpegts", "h264", options={"bf": "0"})
    begins = [at for at in range(0, len(other), 188) if other[at + 1 : at + 3] == b"\x41\x00"]  # a frame of the video
    info = probe(BytesIO(one + other[: 3 * 188] + other[begins[3] :]))
    assert info.cut_off == 3
    assert np.diff(info.pts)[11] == 4 * info.last_duration
    assert set(np.delete(np.diff(info.pts), 11)) == {info.last_duration}


@pytest.mark.parametrize(
    ("muxer", "sounds"), [("mpegts", ("aac", "aac")), ("vob", ("mp2", "mp2")), ("mpegts", ("mp2", "aac"))]
)
def test_sound_goes_on_as_long_as_it_is_coded_alike(muxer: str, sounds: tuple[str, str]) -> None:
    parts = [made(muxer, coding, sound, frames=25) for coding, sound in zip(("h264", "mpeg2"), sounds, strict=True)]
    outcome, written = done("a.ts", b"".join(parts), "a.ts" if muxer == "mpegts" else "a.mkv")
    assert outcome.frames == 50
    assert outcome.notes[muxer == "vob"] == "its coding changes midway (h264, mpeg2video); all of it is written in one"
    times = frame_times(written)
    assert np.diff(times) == pytest.approx(Fraction(1, 25), abs=0.0011)
    (sound,) = packets(written, "audio")
    before = [packets(part, "audio")[0] for part in parts]
    if sounds[0] == sounds[1]:
        assert [content for _, content in sound] == [content for part in before for _, content in part]
        later = times[25] - frame_times(parts[1])[0]
        assert [at for at, _ in sound][-9:] == pytest.approx([at + later for at, _ in before[1]][-9:], abs=0.002)
    else:
        assert [content for _, content in sound] == [content for _, content in before[0]]
        assert any("of recording 2 is left out" in note for note in outcome.notes)
    counted = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries"]
    told = subprocess.run([*counted, "stream=nb_read_frames", str(written)], capture_output=True, check=True).stdout
    assert b"=50\n" in told


def test_a_recording_that_cannot_be_read_is_named_or_fails_the_video() -> None:
    content = made("mpegts", "h264") + made("mpegts", "mpeg2")[: 3 * 188]  # tables and the beginning of a frame
    outcome, _ = done("a.ts", content)
    assert outcome.frames == 12
    assert any(note.startswith("damaged: recording 2 of 2 is left out: no frame") for note in outcome.notes)
    strict, _ = run("a.ts", content, settings=replace(QUICK, on_damage="fail"))
    assert (strict.outcome, strict.code) == ("failed", "damaged")
    assert "recording 2 of 2 is left out" in strict.message
