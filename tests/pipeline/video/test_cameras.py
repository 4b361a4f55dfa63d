"""Files of cameras, recorders and broadcasters: each is read, and comes out with all that it holds."""

import json
import socket
import subprocess
import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.errors import NotMedia
from pipeline.video.reading.containers import written_name
from pipeline.video.reading.probe import probe
from pipeline.video.reading.recognition import HEAD_BYTES, MUSIC, SOUND, TEXT, extension_by_content, other_by_content
from pipeline.video.writing.container_options import SHIFTED
from tests.support import media
from tests.support.clips import clip, packets, times
from tests.support.enhanced import done
from tests.support.recordings import dahua, recording, with_dvd_subtitle

NTSC, PAL = Fraction(30000, 1001), (720, 576)


def _sound(muxer: str, codec: str) -> bytes:
    """A second of silence."""
    file = BytesIO()
    with av.open(file, "w", format=muxer) as output:
        stream = output.add_stream(codec, rate=44100, layout="stereo", bit_rate=128_000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 44100), np.int16), "s16", "stereo")
        samples.sample_rate = 44100
        output.mux(stream.encode(samples))
        output.mux(stream.encode())
    return file.getvalue()


def _probed(path: Path) -> tuple[list[str], list[Fraction]]:
    """Return the codecs of all streams but data, and the times of the frames, as ffprobe sees them."""
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_frames", "-show_entries"]
    command += ["stream=codec_name,codec_type,time_base:frame=media_type,pts", "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    streams = [stream for stream in found["streams"] if stream["codec_type"] != "data"]
    unit = next(Fraction(stream["time_base"]) for stream in streams if stream["codec_type"] == "video")
    frames = [frame for frame in found["frames"] if frame.get("media_type") == "video"]
    return [stream["codec_name"] for stream in streams], [frame["pts"] * unit for frame in frames]


@pytest.mark.parametrize(
    ("name", "muxer", "codec", "sound", "target", "codecs"),
    [
        ("a.mxf", "mxf", "mpeg2video", "pcm_s24le", "a.mov", ["h264", "pcm_s24le"]),
        ("a.gxf", "gxf", "mpeg2video", "pcm_s16le", "a.mov", ["h264", "pcm_s16le"]),
        ("a.dv", "dv", "dvvideo", "pcm_s16le", "a.mov", ["h264", "pcm_s16le"]),
        ("a.VOB", "vob", "mpeg2video", "ac3", "a.mkv", ["h264", "ac3"]),
        ("a.vob", "vob", "mpeg2video", "pcm_dvd", "a.mkv", ["h264", "pcm_s16le"]),
        ("a.mod", "vob", "mpeg2video", "pcm_dvd", "a.mp4", ["h264", "pcm_s16le"]),
        ("a.tod", "mpegts", "mpeg2video", "ac3", "a.tod", ["h264", "ac3"]),
        ("a.asf", "asf", "wmv2", "ac3", "a.mkv", ["h264", "ac3"]),
        ("a.rm", "rm", "rv20", "ac3", "a.mkv", ["h264", "ac3"]),
        ("a.wtv", "wtv", "mpeg2video", "mp2", "a.mkv", ["h264", "mp2"]),
        ("a.nut", "nut", "libx264", "mp2", "a.mkv", ["h264", "mp2"]),
        ("a.nut", "nut", "libx264", "pcm_u32le", "a.mkv", ["h264", "pcm_s32le"]),
        ("a.divx", "avi", "mpeg4", "pcm_alaw", "a.mkv", ["h264", "pcm_alaw"]),
        ("a.3g2", "3g2", "libx264", "aac", "a.3g2", ["h264", "aac"]),
        ("a.f4v", "f4v", "libx264", "aac", "a.mp4", ["h264", "aac"]),
        ("a.ismv", "ismv", "libx264", "aac", "a.mp4", ["h264", "aac"]),
        ("a.qt", "mov", "libx264", "pcm_s16be", "a.qt", ["h264", "pcm_s16be"]),
        ("a.lrv", "mp4", "libx264", "aac", "a.lrv", ["h264", "aac"]),
        ("a.mk3d", "matroska", "libx264", "aac", "a.mk3d", ["h264", "aac"]),
    ],
)
def test_containers_come_out_with_their_sound(
    name: str, muxer: str, codec: str, sound: str, target: str, codecs: list[str]
) -> None:
    size = PAL if muxer in ("dv", "gxf") else (176, 144)
    content = recording(muxer, codec, sound, size=size, channels="stereo" if muxer == "dv" else "mono")
    assert written_name(name) == target
    outcome, written = done(name, content, target)
    assert (f"{name[1:].lower()} is written as {target[1:]}" in outcome.notes) == (name.lower() != target)
    assert not [note for note in outcome.notes if "audio" in note and "same samples" not in note]
    found, at = _probed(written)
    assert found == codecs
    unit = Fraction(1, 2000) if target.endswith(("mkv", "mk3d")) else Fraction(0)  # by which Matroska rounds
    start = times(content)[0]
    assert len(at) == outcome.frames == 12
    assert all(abs(each - start - Fraction(number, 25)) <= unit for number, each in enumerate(at))
    samples = [
        b"".join(frame.to_ndarray().tobytes() for frame in av.open(each).decode(audio=0))
        for each in (BytesIO(content), written)
    ]
    assert samples[0] == samples[1] != b""


@pytest.mark.parametrize("rate", [NTSC, Fraction(15)])
@pytest.mark.parametrize(
    ("name", "muxer", "codec", "more"),
    [
        ("a.264", "h264", "libx264", {"options": {"bf": "2"}}),
        ("a.265", "hevc", "libx265", {"options": {"x265-params": "log-level=none"}}),
        ("a.m2v", "mpeg2video", "mpeg2video", {"options": {"bf": "2"}}),
        ("a.m1v", "mpeg1video", "mpeg1video", {}),
        ("a.mp4v", "m4v", "mpeg4", {"options": {"bf": "2"}}),
        ("a.y4m", "yuv4mpegpipe", "rawvideo", {}),
        ("a.ivf", "ivf", "libvpx-vp9", {}),
    ],
)
def test_streams_without_a_container_come_at_their_own_rate(
    name: str, muxer: str, codec: str, more: dict[str, Any], rate: Fraction
) -> None:
    if rate == 15 and codec.startswith("mpeg") and codec != "mpeg4":
        rate = Fraction(50)  # MPEG-1 and MPEG-2 know only some
    outcome, written = done(name, recording(muxer, codec, rate=rate, frames=24, **more), "a.mp4")
    assert _probed(written)[1] == [number / rate for number in range(24)]
    assert not [note for note in outcome.notes if "assumed" in note or "no times" in note]


@pytest.mark.parametrize(
    ("name", "muxer", "codec", "more"),
    [
        ("a.265", "hevc", "libx265", {"options": {"x265-params": "log-level=none:vui-timing-info=0"}}),
        ("a.mjpeg", "mjpeg", "mjpeg", {"pixel_format": "yuvj420p", "frames": 40}),
        ("a.obu", "obu", "libsvtav1", {"size": (64, 64)}),
    ],
)
def test_a_stream_that_states_no_rate_comes_at_25(name: str, muxer: str, codec: str, more: dict[str, Any]) -> None:
    outcome, written = done(name, recording(muxer, codec, rate=NTSC, **more), "a.mp4")
    assert _probed(written)[1] == [Fraction(number, 25) for number in range(outcome.frames)]
    assert "it states no frame rate: 25 frames per second are assumed" in outcome.notes


@pytest.mark.parametrize(("name", "start"), [("a.asf", Fraction(2, 25)), ("a.mxf", Fraction(0))])
def test_frames_that_are_reordered_get_their_own_times_where_only_decoding_has_some(name: str, start: Fraction) -> None:
    content = recording(name[2:], "libx264", frames=24, options={"bf": "2"})
    outcome, written = done(name, content, written_name(name))
    assert not [note for note in outcome.notes if "damaged" in note]
    at = _probed(written)[1]
    assert at == [at[0] + Fraction(number, 25) for number in range(24)]
    assert at[0] == start
    assert len({zlib.crc32(frame.to_ndarray()) for frame in av.open(str(written)).decode(video=0)}) == 24


def test_times_that_are_dates_begin_at_zero() -> None:
    outcome, written = done("a.dav", dahua(), "a.mkv")
    assert SHIFTED["make_zero"] in outcome.notes
    assert _probed(written)[1] == [Fraction(number, 25) for number in range(12)]


def test_a_part_of_a_dvd_begins_at_zero() -> None:
    part = clip(
        [media.night(64, 48, seed=number) for number in range(10)],
        "vob",
        "mpeg2video",
        time_base=Fraction(1, 25),
        pts=[15_000 + number for number in range(10)],
    )
    outcome, written = done("VTS_01_2.VOB", part, "VTS_01_2.mkv")
    at = _probed(written)[1]
    assert SHIFTED["make_zero"] in outcome.notes
    assert at[0] < Fraction(1, 5)
    assert [each - at[0] for each in at] == [Fraction(number, 25) for number in range(10)]


def test_subtitles_of_a_dvd_are_kept_also_where_they_begin_late() -> None:
    large = {"options": {"qmin": "1", "qmax": "1"}, "grain": 90.0}
    film = recording("vob", "mpeg2video", "ac3", size=(352, 288), frames=48, **large)
    late = with_dvd_subtitle(film, at_packet=45)
    with av.open(BytesIO(late)) as container:
        assert len(container.streams) == 2
    early = with_dvd_subtitle(film)
    for content in (early, late):
        _, written = done("a.vob", content, "a.mkv")
        assert _probed(written)[0] == ["h264", "ac3", "dvd_subtitle"]
        (before,), (after,) = packets(early, "subtitle"), packets(written, "subtitle")
        assert [data for _, data in before] == [data for _, data in after] != []


@pytest.mark.parametrize(
    ("extension", "muxer", "codec", "more"),
    [
        (".264", "h264", "libx264", {}),
        (".265", "hevc", "libx265", {"options": {"x265-params": "log-level=none"}}),
        (".asf", "asf", "wmv2", {"sound": "ac3"}),
        (".avi", "avi", "mpeg4", {}),
        (".dv", "dv", "dvvideo", {"size": PAL}),
        (".flv", "flv", "flv1", {}),
        (".gxf", "gxf", "mpeg2video", {"size": PAL}),
        (".ivf", "ivf", "libvpx-vp9", {}),
        (".m2v", "mpeg2video", "mpeg2video", {}),
        (".mkv", "matroska", "libx264", {}),
        (".mov", "mov", "libx264", {}),
        (".mp4", "mp4", "libx264", {}),
        (".mp4v", "m4v", "mpeg4", {}),
        (".mpg", "vob", "mpeg2video", {}),
        (".mxf", "mxf", "mpeg2video", {}),
        (".nut", "nut", "libx264", {}),
        (".obu", "obu", "libsvtav1", {"size": (64, 64)}),
        (".rm", "rm", "rv20", {"sound": "ac3", "size": (176, 144)}),
        (".ts", "mpegts", "libx264", {"sound": "aac"}),
        (".wtv", "wtv", "mpeg2video", {}),
        (".y4m", "yuv4mpegpipe", "rawvideo", {}),
        (".dav", "", "", {}),
    ],
)
def test_first_bytes_tell_a_video(extension: str, muxer: str, codec: str, more: dict[str, Any]) -> None:
    head = (recording(muxer, codec, frames=3, **more) if muxer else dahua(3))[:HEAD_BYTES]
    assert extension_by_content(head) == extension
    assert other_by_content(head) == ""


def _ogg(*streams: bytes) -> bytes:
    """Return the first pages of Ogg, one for each stream that begins so."""
    return (
        b"".join(b"OggS\0\2" + bytes(20) + bytes((1, len(each))) + each for each in streams) + b"OggS\0\0" + bytes(99)
    )


@pytest.mark.parametrize(
    ("content", "video", "other"),
    [
        (_ogg(b"\x01vorbis", b"\x80theora"), ".ogv", ""),
        (_ogg(b"\x01vorbis", b"OpusHead"), "", SOUND),
        (_sound("asf", "wmav2"), "", SOUND),
        (_sound("ipod", "aac"), "", SOUND),
        (_sound("mp3", "libmp3lame"), "", SOUND),
        (_sound("wav", "pcm_s16le"), "", SOUND),
        (b"import { a } from './b';\n" * 3, "", TEXT),
        ("// r\u00e9sum\u00e9".encode("latin-1"), "", TEXT),
        ("<TS/>".encode("utf-16"), "", TEXT),
        (b"#EXTM3U\n#EXTINF:1,\na.ts\n", "", TEXT),
        (b"a song".ljust(1080, b"\0") + b"M.K." + bytes(3000), "", MUSIC),
        (bytes(4096), "", ""),
        (b"", "", ""),
    ],
)
def test_first_bytes_tell_what_is_no_video(content: bytes, video: str, other: str) -> None:
    assert (extension_by_content(content[:HEAD_BYTES]), other_by_content(content[:HEAD_BYTES])) == (video, other)


def test_lists_open_no_other_file_and_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.ts", "a.sub"):
        (tmp_path / name).write_bytes(recording("mpegts", "libx264"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        web = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        for place in (
            "a.ts",
            str(tmp_path / "a.ts"),
            f"file:{tmp_path}/a.ts",
            web,
            f"concat:a.ts|{web}",
            f"subfile,,:{web}",
        ):
            for text in (
                f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{place}\n#EXT-X-ENDLIST\n",
                f'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="{place}"\n#EXTINF:1,\n{place}\n',
                f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{place}\n",
                f"ffconcat version 1.0\nfile '{place}'\n",
                f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:'
                f'isoff-on-demand:2011" type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType='
                f'"video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{place}</BaseURL></Representation>'
                "</AdaptationSet></Period></MPD>",
                f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {server.getsockname()[1]} RTP/AVP 96\n",
                "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n"
                "timestamp: 00:00:00:000, filepos: 000000000\n",
            ):
                with pytest.raises(NotMedia):
                    probe(BytesIO(text.encode()))
        with pytest.raises(BlockingIOError):
            server.accept()
