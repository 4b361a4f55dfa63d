"""The steps of a video without a cluster: what comes out of a file that goes in."""

import itertools
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from jobs.videos import VideosConfig
from model import Architecture, Checkpoint, Look, build
from pipeline.errors import Damaged, StorageError, Unreachable
from pipeline.records import Outcome, Record
from pipeline.segments import SegmentFolders
from pipeline.storage.storage import Storage
from pipeline.video.enhancing.smoothing import Window
from pipeline.video.writing.encode import EncodeSettings
from pipeline.videos import EnhanceSegment, Inspect, JoinSegments, VideoSettings, VideoSteps
from tests.support.clips import Sound, clip, lacking, packets, pictures, rgb, street, streets, times
from tests.support.enhanced import QUICK
from tests.support.field_coded import field_coded
from tests.support.web_server import Ending, web_server

WINDOW = Window(radius=2, light_radius=3)
SETTINGS = VideoSettings(
    estimate_size=32, window=WINDOW, frames_per_segment=10, encode=EncodeSettings(preset="ultrafast")
)
QUARTER_TURN = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)


def _checkpoint() -> Checkpoint:
    """A network with weights that are large enough to do something."""
    torch.manual_seed(0)
    network = build(Architecture(map_channels=1))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, -0.02, 0.08)
    return Checkpoint(network=network, estimate_size=32)


CHECKPOINT = _checkpoint()


def _record(folder: Path, name: str, content: bytes, destination: str = "") -> Record:
    path = folder / name
    path.write_bytes(content)
    target = str(folder / "out" / (destination or name))
    return Record(source=str(path), version="", size_bytes=len(content), destination=target)


def _run(record: Record, settings: VideoSettings = QUICK) -> Outcome:
    folder = str(Path(record.destination).parents[1] / "segments" / Path(record.destination).name)
    return VideoSteps.of(Storage(), settings, CHECKPOINT)(record, folder)


def _done(record: Record, settings: VideoSettings = QUICK) -> tuple[Outcome, Path]:
    outcome = _run(record, settings)
    assert outcome.outcome == "done", outcome.message
    return outcome, Path(record.destination)


UNEVEN = [0, 512, 700, 1500, 1501, 4000, *range(5000, 5000 + 30 * 511, 511)]


@pytest.mark.parametrize(
    ("container", "codec", "params", "pts"),
    [
        ("mp4", "libx264", "bframes=3:b-pyramid=normal", None),
        ("mp4", "libx264", "open-gop=1:bframes=3", None),
        ("mp4", "libx264", "bframes=3", UNEVEN),
        ("mp4", "libx264", "bframes=0", [at + 44469 for at in UNEVEN]),
        ("mov", "libx265", "open-gop=1:bframes=3", None),
        ("matroska", "libx264", "open-gop=1:bframes=3", None),
        ("matroska", "libx265", "bframes=3", UNEVEN),
        ("mpegts", "libx264", "open-gop=1:bframes=3", None),
        ("mpegts", "mpeg2video", "", None),
        ("webm", "libvpx-vp9", "", UNEVEN),
    ],
)
def test_every_frame_keeps_its_time(
    tmp_path: Path, container: str, codec: str, params: str, pts: list[int] | None
) -> None:
    base = Fraction(1, {"matroska": 1000, "webm": 1000, "mpegts": 25}.get(container, 12800))
    content = clip(streets(36), container, codec, params=params, pts=pts and pts[:36], time_base=base)
    name = {"mp4": "a.mp4", "mov": "a.mov", "matroska": "a.mkv", "mpegts": "a.ts", "webm": "a.webm"}[container]
    record = _record(tmp_path, name, content)
    assert len(Inspect(Storage(), QUICK)(record)[1]) >= 3
    outcome, written = _done(record)
    assert outcome.frames == len(times(content)) == 36
    assert times(written) == times(content)
    assert not any("frames" in note for note in outcome.notes)
    with av.open(str(written)) as opened:
        dts = [packet.dts for packet in opened.demux(video=0) if packet.dts is not None]
    assert dts == sorted(set(dts))


@pytest.mark.parametrize(
    ("name", "container", "subtitles"), [("a.mp4", "mp4", "mov_text"), ("a.mkv", "matroska", "srt")]
)
def test_sound_subtitles_chapters_languages_and_metadata_are_kept(
    tmp_path: Path, name: str, container: str, subtitles: str
) -> None:
    extras = Sound(
        ("eng", "ger"),
        seconds=1.5,
        chapters=True,
        metadata={"title": "Alley", "location": "+52.0000+013.0000/", "creation_time": "2024-11-23T21:04:17.000000Z"},
        attachment=b"a font" if container == "matroska" else None,
    )
    content = clip(streets(36), container, extras=extras, time_base=Fraction(1, 1000))
    outcome, written = _done(_record(tmp_path, name, content))
    assert outcome.notes == []
    assert packets(written, "audio") == packets(content, "audio")
    assert len(packets(written, "audio")) == 2
    with av.open(str(written)) as after, av.open(str(tmp_path / name)) as before:
        assert [stream.type for stream in after.streams] == [stream.type for stream in before.streams]
        assert [stream.disposition for stream in after.streams] == [stream.disposition for stream in before.streams]
        assert [stream.language for stream in after.streams] == [stream.language for stream in before.streams]
        assert [chapter["metadata"] for chapter in after.chapters()] == [{"title": "Dusk"}, {"title": "Night"}]
        kept = {key.lower(): value for key, value in after.metadata.items()}
        for key in ("title", "location", "creation_time"):
            assert kept[key] == before.metadata.get(key, before.metadata.get(key.upper()))
        if container == "matroska":
            assert after.streams[-1].data == b"a font"  # type: ignore[attr-defined]


def test_open_metadata_of_phones_is_kept(tmp_path: Path) -> None:
    words = {"com.apple.quicktime.location.ISO6709": "+52.0+013.0/", "com.apple.quicktime.make": "Apple", "title": "T"}
    content = clip(streets(4), "mov", extras=Sound(metadata=words, options={"movflags": "use_metadata_tags"}))
    outcome, written = _done(_record(tmp_path, "a.mov", content))
    assert outcome.notes == []
    with av.open(str(written)) as after:
        assert words.items() <= after.metadata.items()


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        (
            "a.ts",
            lacking(clip(streets(36), params="bframes=2"), {5, 20}),
            ["2 of 36 frames have no time of their own;"],
        ),
        (
            "a.avi",
            clip(streets(36), "avi", params="bframes=2", time_base=Fraction(1, 25)),
            ["its frames have no times of their own;", ".avi is written as .mkv"],
        ),
        ("b.ts", field_coded("mpegts", apart=False), ["interlaced frames are deinterlaced"]),
    ],
    ids=["two packets without", "none at all", "two packets a frame"],
)
def test_frames_without_a_time_get_one(tmp_path: Path, name: str, content: bytes, notes: list[str]) -> None:
    outcome, written = _done(_record(tmp_path, name, content, name.replace("avi", "mkv")))
    assert all(note.startswith(start) for note, start in zip(outcome.notes, notes, strict=True))
    after = times(written)
    assert len(after) == outcome.frames == (24 if name == "b.ts" else 36)
    steps = [float(second - first) for first, second in itertools.pairwise(after)]
    assert steps == pytest.approx([0.04] * len(steps), abs=0.001)
    assert float(after[0]) == pytest.approx({"a.ts": 0.08, "a.avi": 0.08, "b.ts": 1.0}[name], abs=0.001)


def test_what_a_container_cannot_hold_is_named(tmp_path: Path) -> None:
    content = clip(streets(4), "matroska", extras=Sound(attachment=b"a font"), time_base=Fraction(1, 1000))
    outcome, written = _done(_record(tmp_path, "a.mkv", content, "a.mp4"))
    assert any(note.startswith("attachment stream 2") for note in outcome.notes)
    assert packets(written, "audio") == packets(content, "audio")


def test_shape_and_colours_are_kept(tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 1, "color_range": 2}
    content = clip(streets(4), sample_aspect_ratio=Fraction(4, 3), display_matrix=QUARTER_TURN, **tags)
    _, written = _done(_record(tmp_path, "a.mp4", content), SETTINGS)
    frame, before = next(pictures(written)), next(pictures(content))
    assert {name: getattr(frame, name) for name in tags} == tags
    assert frame.rotation == before.rotation != 0
    with av.open(str(written)) as after:
        assert after.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize(("transfer", "codec"), [(1, "libx265"), (18, "libx265"), (16, "libx265"), (1, "libx264")])
def test_ten_bits_stay_ten_bits(tmp_path: Path, transfer: int, codec: str) -> None:
    frames = [frame.astype(np.uint16) * 257 for frame in streets(6)]
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}
    content = clip(frames, "mp4", codec, pixel_format="yuv420p10le", **tags)
    outcome, written = _done(_record(tmp_path, "a.mp4", content), SETTINGS)
    assert outcome.notes == []
    frame = next(pictures(written))
    assert frame.format.name == "yuv420p10le"
    assert {name: getattr(frame, name) for name in tags} == tags


def test_hdr_to_sdr_changes_pixels_and_tags_alike(tmp_path: Path) -> None:
    frames = [frame.astype(np.uint16) * 257 for frame in streets(6)]
    content = clip(frames, "mp4", "libx265", pixel_format="yuv420p10le", colorspace=9, color_primaries=9, color_trc=18)
    outcome, written = _done(_record(tmp_path, "a.mp4", content), replace(SETTINGS, hdr="sdr"))
    assert "HLG is written as SDR" in outcome.notes
    frame = next(pictures(written))
    assert frame.format.name == "yuv420p"
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("width", "height", "pixel_format", "expected"),
    [
        (97, 65, "yuv444p", "yuv444p"),
        (97, 65, "yuv420p", "yuv444p"),
        (96, 64, "yuv422p", "yuv422p"),
    ],
)
def test_odd_sizes_and_other_chroma(tmp_path: Path, width: int, height: int, pixel_format: str, expected: str) -> None:
    codec = "libx264" if (width % 2, pixel_format) != (1, "yuv420p") else "mpeg4"
    content = clip(streets(4, width=width, height=height), "mp4", codec, pixel_format=pixel_format)
    _, written = _done(_record(tmp_path, "a.mp4", content), SETTINGS)
    frame = next(pictures(written))
    assert (frame.width, frame.height, frame.format.name) == (width, height, expected)


def test_interlaced_is_deinterlaced_and_said_so(tmp_path: Path) -> None:
    content = clip(streets(24), params="tff=1", gop=12)
    outcome, written = _done(_record(tmp_path, "a.mp4", content), SETTINGS)
    assert "interlaced frames are deinterlaced, one output frame for each" in outcome.notes
    assert times(written) == times(content)
    assert not any(frame.interlaced_frame for frame in pictures(written))


def test_transparent_webm_keeps_its_alpha(tmp_path: Path) -> None:
    file = tmp_path / "a.webm"
    with av.open(str(file), "w") as output:
        stream: Any = output.add_stream("libvpx-vp9", rate=25, options={"auto-alt-ref": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        for number in range(6):
            pixels = np.dstack([street(number), np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgba").reformat(format="yuva420p")))
        output.mux(stream.encode())
    outcome, written = _done(_record(tmp_path, "b.webm", file.read_bytes()), SETTINGS)
    assert outcome.notes == []
    decoder: Any = av.CodecContext.create("libvpx-vp9", "r")
    with av.open(str(written)) as container:
        frames = [frame for packet in container.demux(video=0) if packet.size for frame in decoder.decode(packet)]
    assert len(frames) == 6
    alpha = np.frombuffer(memoryview(frames[0].planes[3]), np.uint8).reshape(64, -1)[:, :96]
    assert np.abs(alpha[32].astype(int) - np.linspace(0, 255, 96)).max() < 12


def test_the_first_frame_is_as_bright_as_when_it_is_enhanced_alone(tmp_path: Path) -> None:
    _, written = _done(_record(tmp_path, "a.mp4", clip(streets(30))), SETTINGS)
    _, alone = _done(_record(tmp_path, "b.mp4", clip([street(0)])), SETTINGS)
    before, together, apart = street(0).mean(), rgb(written)[0].mean(), rgb(alone)[0].mean()
    assert abs(apart - before) > 3
    assert together == pytest.approx(apart, rel=0.02)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"no video at all\n" * 40, "not_media"),
        (b"ffconcat version 1.0\nfile a.mp4\n", "not_media"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n", "not_media"),
        (clip(streets(4))[:900], "not_media"),
    ],
    ids=["empty", "text", "concat", "hls", "without its index"],
)
def test_what_is_no_video_fails_by_name(
    tmp_path: Path, content: bytes, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_bytes(clip(streets(2)))  # what the playlists name
    record = _record(tmp_path, "bad.mp4", content)
    outcome = _run(record)
    assert (outcome.outcome, outcome.code) == ("failed", code)
    assert outcome.message.startswith("bad.mp4: ")
    assert not Path(record.destination).exists()


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "s.mp4"), "w") as output:
        extras = Sound()
        extras.fill(output, extras.streams(output))
    outcome = _run(_record(tmp_path, "b.mp4", (tmp_path / "s.mp4").read_bytes()))
    assert (outcome.outcome, outcome.code) == ("skipped", "no_video")


def test_a_cut_file_gives_what_can_be_decoded_or_fails_as_asked(tmp_path: Path) -> None:
    whole = clip(streets(40), "matroska", time_base=Fraction(1, 1000))
    record = _record(tmp_path, "a.mkv", whole[: len(whole) * 2 // 3])
    outcome, written = _done(record, SETTINGS)
    assert 15 < outcome.frames < 40
    assert times(written) == times(whole)[: outcome.frames]
    assert any("cut short" in note for note in outcome.notes)
    strict = _run(record, replace(QUICK, on_damage="fail"))
    assert (strict.outcome, strict.code) == ("failed", "damaged")


def test_broken_packets_are_told(tmp_path: Path) -> None:
    whole = bytearray(clip(streets(40), "matroska", time_base=Fraction(1, 1000)))
    at = len(whole) // 2
    whole[at : at + 300] = bytes(range(1, 256)) + bytes(45)
    record = _record(tmp_path, "a.mkv", bytes(whole))
    outcome = _run(record, SETTINGS)
    assert outcome.outcome == "done"
    assert any(note.startswith("damaged") for note in outcome.notes) or outcome.frames < 40
    strict = _run(record, replace(QUICK, on_damage="fail"))
    assert (strict.outcome, strict.code) == ("failed", "damaged")


def test_a_segment_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    record = _record(tmp_path, "a.mp4", clip(streets(30)))
    storage, url = Storage(), str(tmp_path / "segments" / "0")
    info, segments = Inspect(storage, QUICK)(record)
    enhance = EnhanceSegment(storage, QUICK, CHECKPOINT)
    first, again = (enhance(record, info, segments[0], url) for _ in range(2))
    assert (first.reused, again.reused) == (False, True)
    assert replace(again, reused=False) == first
    os.utime(record.source, ns=(1, 1))  # as if it had been written anew
    record = replace(record, version=storage.version(record.source))
    assert not enhance(record, info, segments[0], url).reused
    other = EnhanceSegment(storage, replace(QUICK, look=Look(strength=0.5)), CHECKPOINT)
    assert not other(record, info, segments[0], url).reused


def test_segments_of_another_cut_are_not_joined(tmp_path: Path) -> None:
    record = _record(tmp_path, "a.mp4", clip(streets(30)))
    info, segments = Inspect(Storage(), QUICK)(record)
    urls = [str(tmp_path / "segments" / str(segment.index)) for segment in segments]
    enhance = EnhanceSegment(Storage(), QUICK, CHECKPOINT)
    results = [enhance(record, info, segment, url) for segment, url in zip(segments, urls, strict=True)]
    with pytest.raises(Damaged, match="belongs to another segment"):
        JoinSegments(Storage(), QUICK)(record, info, urls[::-1], results, Outcome.of(record))
    assert not Path(record.destination).exists()


@pytest.mark.parametrize(
    ("container", "name", "base"), [("mp4", "a.mp4", 12800), ("matroska", "a.mkv", 1000), ("mpegts", "a.ts", 25)]
)
@pytest.mark.parametrize("ending", ["drop", "short", "forbidden"])
def test_a_network_that_fails_makes_no_shorter_film(
    tmp_path: Path, container: str, name: str, base: int, ending: Ending
) -> None:
    content = clip(streets(40), container, time_base=Fraction(1, base))
    steps = VideoSteps.of(Storage({"http": {"block_size": 1024}}), QUICK, CHECKPOINT)
    out, folder = tmp_path / "out" / name, str(tmp_path / "segments")
    with web_server(content) as server:

        def record(signature: str) -> Record:
            source = f"{server.url}/{name}?signature={signature}"
            return Record(source=source, version="", size_bytes=len(content), destination=str(out))

        server.breaks_at, server.ending = len(content) // 2, ending
        inspected = steps(record("hush"), folder)
        server.breaks_at = None
        info, segments = steps.inspect(record("hush"))
        url_of = SegmentFolders(Storage(), folder).url_of
        steps.enhance(record("hush"), info, segments[0], url_of(record("hush"), segments[0]))
        server.breaks_at = len(content) * 3 // 4
        with pytest.raises(StorageError) as told:
            steps.enhance(record("hush"), info, segments[1], url_of(record("hush"), segments[1]))
        server.breaks_at = None
        outcome = steps(record("renewed"), folder)
    code = {"drop": "unreachable", "short": "storage", "forbidden": "access_denied"}[ending]
    assert (inspected.outcome, inspected.code, told.value.code) == ("failed", code, code)
    assert "hush" not in inspected.message + str(told.value)
    assert outcome.outcome == "done"
    assert times(out) == times(content)
    assert outcome.notes == [f"1 of {len(segments)} segments were reused from an earlier run"]


def test_a_server_that_fails_while_segments_are_joined(tmp_path: Path) -> None:
    content = clip(streets(40), extras=Sound(seconds=1.6))
    steps = VideoSteps.of(Storage({"http": {"block_size": 1024}}), QUICK, CHECKPOINT)
    with web_server(content) as server:
        record = Record(
            source=f"{server.url}/a.mp4", version="", size_bytes=len(content), destination=str(tmp_path / "out.mp4")
        )
        info, segments = steps.inspect(record)
        urls = [str(tmp_path / "segments" / str(segment.index)) for segment in segments]
        results = [steps.enhance(record, info, segment, url) for segment, url in zip(segments, urls, strict=True)]
        server.breaks_at = len(content) // 2
        with pytest.raises(Unreachable):
            steps.join(record, info, urls, results, Outcome.of(record))
    assert not (tmp_path / "out.mp4").exists()
    assert Storage().unfinished(str(tmp_path)) == []


def test_a_disk_that_takes_no_file_of_this_size_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    record = _record(tmp_path, "a.mp4", clip(streets(40), extras=Sound(seconds=1.6)))
    outcome, written = _done(record)
    written.unlink()
    steps = VideoSteps.of(Storage(), QUICK, CHECKPOINT)
    info, segments = steps.inspect(record)
    places = [tmp_path / "sizes" / str(segment.index) for segment in segments]
    for segment, place in zip(segments, places, strict=True):
        steps.enhance(record, info, segment, str(place))
    largest = max(place.stat().st_size for place in places)
    for room in (largest // 2, (largest + outcome.bytes_out) // 2):  # for a segment, for the whole
        with _room_for(room):
            failed = _run(record)
        assert (failed.outcome, failed.code) == ("failed", "storage"), failed.message
        assert "does not support files of this size" in failed.message
        assert not written.exists()
        assert Storage().unfinished(str(tmp_path)) == []


@contextmanager
def _room_for(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_damaged_segment_is_not_written_where_damage_is_not_kept(tmp_path: Path) -> None:
    whole = bytearray(clip(streets(40), "matroska", time_base=Fraction(1, 1000)))
    at = len(whole) // 2
    whole[at : at + 300] = bytes(range(1, 256)) + bytes(45)
    record = _record(tmp_path, "a.mkv", bytes(whole))
    failed = _run(record, replace(QUICK, on_damage="fail"))
    segments = [path for path in (tmp_path / "segments").rglob("*") if path.suffix == "" and path.is_file()]
    assert (failed.code, len(segments)) == ("damaged", len([*(tmp_path / "segments").rglob("*.json")]))
    assert (failed.width_px, failed.height_px, failed.bytes_in) == (96, 64, len(whole))


def test_the_outcome_tells_where_the_time_went(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    outcome, _ = _done(_record(tmp_path, "a.mp4", clip(streets(20))), SETTINGS)
    after = datetime.now(UTC)
    spent = [getattr(outcome, f"seconds_{step}") for step in ("read", "decode", "enhance", "encode", "write")]
    assert min(spent) > 0
    assert sum(spent) <= (after - before).total_seconds()
    assert outcome.started_at - before < timedelta(seconds=sum(spent))


def test_too_many_pixels(tmp_path: Path) -> None:
    outcome = _run(_record(tmp_path, "a.mp4", clip(streets(2))), replace(QUICK, max_pixels=1000))
    assert outcome.code == "too_large"


def test_frames_are_counted_as_they_are_done(tmp_path: Path) -> None:
    record = _record(tmp_path, "a.mp4", clip(streets(12)))
    info, (segment, *_) = Inspect(Storage(), QUICK)(record)
    seen: list[int] = []
    EnhanceSegment(Storage(), QUICK, CHECKPOINT)(
        record, info, segment, str(tmp_path / "s"), lambda: seen.append(len(seen))
    )
    assert len(seen) == segment.frames


def test_fingerprint_changes_with_all_that_decides_the_output() -> None:
    settings = [
        SETTINGS,
        replace(SETTINGS, look=Look(strength=0.5)),
        replace(SETTINGS, window=Window(radius=3)),
        replace(SETTINGS, look=Look(denoise=0)),
        replace(SETTINGS, encode=EncodeSettings(crf=30)),
        replace(SETTINGS, hdr="sdr"),
        replace(SETTINGS, on_damage="fail"),
    ]
    assert len({each.fingerprint(CHECKPOINT) for each in settings}) == 7
    assert replace(SETTINGS, frames_per_segment=5).fingerprint(CHECKPOINT) == SETTINGS.fingerprint(CHECKPOINT)


def test_a_picture_by_the_name_of_a_video_is_told(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(street(0)).save(buffer, "JPEG")
    outcome = _run(_record(tmp_path, "photo.mp4", buffer.getvalue()))
    assert (outcome.outcome, outcome.code) == ("failed", "not_media")
    assert "an image, not a video" in outcome.message


def test_every_second_frame_is_estimated_unless_frames_are_enhanced_each_for_itself() -> None:
    flags = {"src": "in", "dst": "out"}
    assert VideosConfig(**flags).window == Window(radius=8, every=2)
    assert VideosConfig(**flags, smoothing=0).window == Window(radius=0, every=1, steadiness=0)
    assert VideosConfig(**flags, smoothing=0, estimate_every=3).window.every == 3
    assert VideosConfig(**flags, estimate_every=1).window.every == 1


def test_frames_before_zero_are_shown_too(tmp_path: Path) -> None:
    """MP4 would hide them: all is moved so that none is there, sound and all."""
    record = _record(tmp_path, "a.mp4", clip(streets(12), extras=Sound(seconds=0.48)))
    info, segments = Inspect(Storage(), QUICK)(record)
    urls = [str(tmp_path / f"{segment.index}") for segment in segments]
    enhance = EnhanceSegment(Storage(), QUICK, CHECKPOINT)
    results = [enhance(record, info, segment, url) for segment, url in zip(segments, urls, strict=True)]
    early = [replace(result, pts=[at - 1024 for at in result.pts]) for result in results]
    outcome = Outcome.of(record)
    JoinSegments(Storage(), QUICK)(record, replace(info, pts=tuple(at - 1024 for at in info.pts)), urls, early, outcome)
    assert outcome.notes == ["its times begin before 0; all are shifted so that none is negative"]
    assert times(Path(record.destination)) == [Fraction(number, 25) for number in range(12)]
    (sound,), (moved,) = packets(Path(record.source), "audio"), packets(Path(record.destination), "audio")
    assert [content for _, content in moved] == [content for _, content in sound]
    assert moved[0][0] - sound[0][0] == Fraction(1024, 12800)
