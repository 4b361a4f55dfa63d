"""What a film has beside its video comes out as well, or a note says that it does not."""

from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from pipeline.video.writing.monotonic_dts import taken
from tests.support.clips import Sound, clip, packets, pictures, street, streets, times
from tests.support.enhanced import SETTINGS, done

SOUND_HZ = 44100


def _with_sound(container: str, codec: str, video: str = "mpeg4", **options: str) -> bytes:
    """A second of film in which there is also sound of this coding."""
    file = BytesIO()
    with av.open(file, "w", format=container, container_options=options) as output:
        picture: Any = output.add_stream(video, rate=25)
        picture.width, picture.height, picture.pix_fmt, picture.gop_size = 96, 64, "yuv420p", 10
        sound: Any = output.add_stream(codec, rate=SOUND_HZ, layout="stereo", bit_rate=128_000)
        taken = sound.codec_context.codec.audio_formats[0].name
        sound.codec_context.format = taken
        output.start_encoding()
        resampler = av.AudioResampler(taken, "stereo", SOUND_HZ, frame_size=sound.codec_context.frame_size or None)
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(street(number), "rgb24").reformat(format="yuv420p")
            frame.pts = number
            output.mux(picture.encode(frame))
            at = number * SOUND_HZ // 25 + np.arange(SOUND_HZ // 25)
            tone = np.repeat((3000 * np.sin(at * 0.05)).astype(np.int16), 2)[None]
            samples = av.AudioFrame.from_ndarray(tone, "s16", "stereo")
            samples.sample_rate, samples.pts = SOUND_HZ, number * SOUND_HZ // 25
            for each in resampler.resample(samples):
                output.mux(sound.encode(each))
        output.mux(picture.encode())
    return file.getvalue()


@pytest.mark.parametrize(
    ("source", "container", "codec", "video", "target"),
    [
        ("a.avi", "avi", "pcm_s16le", "mpeg4", "a.mkv"),
        ("a.avi", "avi", "pcm_alaw", "mpeg4", "a.mkv"),
        ("a.avi", "avi", "adpcm_ms", "mpeg4", "a.mkv"),
        ("a.avi", "avi", "pcm_s16le", "mpeg4", "a.mp4"),
        ("a.wmv", "asf", "wmav2", "wmv2", "a.mkv"),
        ("a.flv", "flv", "adpcm_swf", "flv1", "a.mkv"),
        ("a.mpg", "mpeg", "mp2", "mpeg2video", "a.mp4"),
    ],
)
def test_sound_of_old_containers_is_kept(source: str, container: str, codec: str, video: str, target: str) -> None:
    content = _with_sound(container, codec, video)
    outcome, written = done(source, content, target)
    assert outcome.notes == [f"{source[1:]} is written as {target[1:]}", f"{video} is written as h264"]
    before, after = (b"".join(data for _, data in packets(each, "audio")[0]) for each in (content, written))
    assert before == after
    samples = [sum(frame.samples for frame in av.open(each).decode(audio=0)) for each in (BytesIO(content), written)]
    assert samples[0] == samples[1] > 0


@pytest.mark.parametrize(("name", "packet_bytes"), [("a.m2ts", 192), ("a.MTS", 192), ("a.ts", 188)])
def test_transport_streams_have_packets_of_their_own_size(name: str, packet_bytes: int) -> None:
    content = _with_sound("mpegts", "mp2", "libx264", mpegts_m2ts_mode=str(int(packet_bytes == 192)))
    outcome, written = done(name, content)
    assert outcome.notes == []
    assert set(written.read_bytes()[packet_bytes - 188 :: packet_bytes]) == {0x47}
    assert times(written) == times(content)
    assert packets(written, "audio") == packets(content, "audio")


def test_sound_that_comes_out_as_mere_data_is_told() -> None:
    outcome, _ = done("a.avi", _with_sound("avi", "pcm_s16le"), "a.ts")
    assert "1 of its 1 audio streams cannot be read back from mpegts" in outcome.notes


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_sound_of_an_unknown_coding_is_left_out_by_name(name: str) -> None:
    content = clip(streets(24), "matroska", extras=Sound()).replace(b"A_AAC", b"A_XYZ")
    outcome, written = done("a.mkv", content, name)
    container = "matroska" if name == "a.mkv" else "mp4"
    assert f"audio stream 1 (eng) is left out: {container} cannot hold it" in outcome.notes
    assert times(written) == times(content)


def _later(content: bytes, seconds: int) -> bytes:
    """A transport stream, with all its times moved."""
    file = BytesIO()
    options = {"mpegts_copyts": "1"}
    with av.open(BytesIO(content)) as source, av.open(file, "w", format="mpegts", container_options=options) as output:
        copies = [output.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                assert packet.pts is not None and packet.dts is not None
                packet.pts, packet.dts = packet.pts + 90000 * seconds, packet.dts + 90000 * seconds
                packet.stream = copies[packet.stream_index]
                output.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.ts", "a.mp4", "a.mkv"])
def test_sound_that_overlaps_itself_is_kept(name: str) -> None:
    part = clip(streets(25), "mpegts", extras=Sound(seconds=1.2), time_base=Fraction(1, 90000))
    content = part + _later(part, 1)
    outcome, written = done("a.ts", content, name)
    assert len(outcome.notes) == 1
    assert outcome.notes[0].startswith("audio stream 1 (aac, eng): ")
    assert outcome.notes[0].endswith(" packets whose times go backwards are moved behind those before them")
    (before,), (after,) = packets(content, "audio"), packets(written, "audio")
    assert len(after) == len(before)
    assert [at for at, _ in after][-9:] == pytest.approx([at for at, _ in before][-9:], abs=0.002)
    assert times(written) == pytest.approx(times(content), abs=0.001)


def test_a_broken_packet_of_sound_costs_no_video() -> None:
    content = bytearray(clip(streets(25), "mpegts", extras=Sound(), time_base=Fraction(1, 90000)))
    starts = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\xff\xf1"]  # of ADTS
    content[starts[5] : starts[5] + 7] = bytes(7)
    outcome, written = done("a.ts", bytes(content), "a.mp4")
    assert any(
        note.startswith("damaged: audio stream 1 (aac, eng): 1 packets that mp4 rejects") for note in outcome.notes
    )
    assert times(written) == pytest.approx(times(bytes(content)), abs=0.001)


def test_sound_of_impossible_length_costs_no_video() -> None:
    content = bytearray(clip(streets(25), extras=Sound()))
    content[content.rindex(b"stts") + 16] = 0xAA  # of the first packet's duration
    _, written = done("a.mp4", bytes(content))
    assert times(written) == times(bytes(content))


def test_a_full_disk_is_no_damage() -> None:
    with (
        pytest.raises(OSError, match="No space left"),
        taken("mpegts", "it"),
        av.open("/dev/full", "w", format="mpegts") as output,
        av.open(BytesIO(clip(streets(24), "mpegts"))) as source,
    ):
        copy = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            packet.stream = copy
            output.mux(packet)


def _picture() -> bytes:
    file = BytesIO()
    Image.fromarray(street(0)).save(file, "JPEG")
    return file.getvalue()


def _joined(container: str, *, cover: bool = False, second: bytes = b"", **extras: Any) -> bytes:
    """A film remuxed, with more beside it: tags, an attachment, a cover picture, another film, data."""
    file = BytesIO()
    with av.open(BytesIO(clip(streets(24)))) as source, av.open(file, "w", format=container) as output:
        output.metadata.update(extras.get("metadata", {}))
        copy: Any = output.add_stream_from_template(source.streams.video[0], opaque=True)
        copy.codec_context.framerate = 25
        copy.metadata.update(extras.get("video_metadata", {}))
        waiting: list[tuple[Any, list[tuple[int, Fraction, bytes]]]] = []
        if cover and container == "matroska":
            output.add_attachment("cover.jpg", "image/jpeg", _picture())
            output.add_attachment("lamp.ttf", "font/ttf", b"a font")
        elif cover:
            drawn: Any = output.add_stream("mjpeg", rate=1)
            drawn.width, drawn.height, drawn.pix_fmt, drawn.disposition = 96, 64, "yuvj420p", Disposition.attached_pic
            waiting.append((drawn, [(0, Fraction(1), _picture())]))
        if extras.get("data"):
            data = output.add_data_stream("bin_data")
            data.time_base = Fraction(1, 1000)
            waiting.append((data, [(at, Fraction(1, 1000), b"GPMD" + bytes(30)) for at in (0, 300, 600)]))
        output.start_encoding()
        for stream, contents in waiting:
            for pts, time_base, content in contents:
                packet = av.Packet(content)
                packet.pts, packet.dts, packet.duration = pts, pts, 300
                packet.time_base, packet.stream, packet.is_keyframe = time_base, stream, True
                output.mux(packet)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize(
    ("source", "target"), [("mp4", "mp4"), ("matroska", "mkv"), ("matroska", "mp4"), ("mp4", "mkv")]
)
def test_cover_pictures_and_fonts_are_kept(source: str, target: str) -> None:
    tags = {"title": "Alley", "ARTIST": "me"}
    outcome, written = done(
        "a.mp4" if source == "mp4" else "a.mkv", _joined(source, cover=True, metadata=tags), f"a.{target}"
    )
    with av.open(str(written)) as after:
        covers = [stream for stream in after.streams.video if stream.disposition & Disposition.attached_pic]
        assert [bytes(packet) for packet in after.demux(covers) if packet.size] == [_picture()]
        fonts = [stream.data for stream in after.streams if stream.type == "attachment"]  # type: ignore[attr-defined]
        kept = {key.lower(): value for key, value in after.metadata.items()}
    assert (kept["title"], kept["artist"]) == ("Alley", "me")
    assert fonts == ([b"a font"] if (source, target) == ("matroska", "mkv") else [])
    left_out = ["attachment stream 2 (lamp.ttf) is left out: mp4 cannot hold it"]
    assert outcome.notes == (left_out if (source, target) == ("matroska", "mp4") else [])


def test_tags_of_matroska_are_kept() -> None:
    tags = {"title": "Alley", "ARTIST": "me", "DATE_RECORDED": "2024-11-23", "CUSTOM": "x"}
    content = _joined("matroska", metadata=tags, video_metadata={"title": "left camera", "language": "ger"})
    for name in ("a.mkv", "a.mp4"):
        outcome, written = done("a.mkv", content, name)
        assert outcome.notes == []
        with av.open(str(written)) as after:
            assert set(tags.values()) <= set(after.metadata.values())
            assert {"left camera"} <= set(after.streams.video[0].metadata.values())


def test_tracks_of_data_are_copied() -> None:
    content = _joined("mp4", data=True)
    outcome, written = done("a.mp4", content)
    assert outcome.notes == []
    assert packets(written, "data") == packets(content, "data")
    assert len(packets(written, "data")[0]) == 3


@pytest.mark.parametrize("name", ["a.mov", "a.mp4", "a.mkv"])
def test_a_timecode_is_kept(name: str) -> None:
    outcome, written = done("a.mov", _joined("mov", video_metadata={"timecode": "10:00:00:00"}), name)
    assert outcome.notes == []
    with av.open(str(written)) as after:
        told = {key.lower(): value for key, value in after.streams.video[0].metadata.items()}
        assert told["timecode"] == "10:00:00:00"
        assert [stream.type for stream in after.streams] == ["video"] + ["data"] * (name != "a.mkv")


def test_a_second_video_is_copied_and_told_of() -> None:
    file, films = BytesIO(), [clip(streets(24)), clip(streets(24, seed=1))]
    with av.open(file, "w", format="mp4") as output:
        sources = [av.open(BytesIO(film)) for film in films]
        copies = [output.add_stream_from_template(each.streams.video[0], opaque=True) for each in sources]
        for source, copy in zip(sources, copies, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    output.mux(packet)
    outcome, written = done("a.mp4", file.getvalue())
    assert outcome.notes == ["video stream 1 is copied as it is; only one video stream is enhanced"]
    assert packets(written, "video")[1] == packets(file.getvalue(), "video")[1]


@pytest.mark.parametrize(("pixel_format", "tag"), [("yuv422p10le", "apch"), ("yuva444p10le", "ap4h")])
def test_prores_stays_prores_with_its_alpha(pixel_format: str, tag: str) -> None:
    file = BytesIO()
    with av.open(file, "w", format="mov") as output:
        stream: Any = output.add_stream(
            "prores_ks", rate=25, options={"profile": "4" if "444" in pixel_format else "3"}
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        for number in range(12):
            pixels = np.dstack([street(number), np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgba").reformat(format=pixel_format)))
        output.mux(stream.encode())
    outcome, written = done("a.mov", file.getvalue(), settings=SETTINGS)
    assert not any("lost" in note for note in outcome.notes)
    assert times(written) == times(file.getvalue())
    with av.open(str(written)) as after:
        assert after.streams.video[0].codec_context.codec_tag == tag
    if "a" in pixel_format.removeprefix("yuv"):
        frame = next(pictures(written))
        levels = np.frombuffer(memoryview(frame.planes[3]), np.uint16).reshape(64, -1)[32, :96] / 4095
        assert np.abs(levels - np.linspace(0, 1, 96)).max() < 0.02


def test_a_film_that_changes_its_size_midway_comes_out_in_one() -> None:
    file = BytesIO()
    with av.open(file, "w", format="mpegts") as output:
        copy: Any = None
        for at, width, height in ((0, 128, 96), (24, 96, 64)):
            film = clip(
                streets(24, width=width, height=height), "mpegts", params="bframes=0", time_base=Fraction(1, 25)
            )
            with av.open(BytesIO(film)) as source:
                copy = copy or output.add_stream_from_template(source.streams.video[0], opaque=True)
                for number, packet in enumerate(each for each in source.demux(video=0) if each.size):
                    packet.pts = packet.dts = (at + number) * 3600
                    packet.stream = copy
                    output.mux(packet)
    outcome, written = done("a.ts", file.getvalue(), settings=SETTINGS)
    assert outcome.notes == ["24 of 48 frames have another size; they are scaled to the size of the first"]
    assert {(frame.width, frame.height) for frame in pictures(written)} == {(128, 96)}
    assert times(written) == times(file.getvalue())
