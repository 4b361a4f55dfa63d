"""Every decoded frame comes out, with a time between those of its neighbours, whatever its packet says."""

import hashlib
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest

from pipeline.video.reading.decode import decoded
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.segments import Segment, cut
from tests.support.clips import Samples, Sound, clip, lacking, packets, remuxed, streets
from tests.support.clips import times as frame_times
from tests.support.enhanced import done
from tests.support.field_coded import field_coded, luma

Frames = list[tuple[int, str]]
STEP = 512  # of `clip`'s time base


def frames(content: bytes, info: VideoInfo, segments: list[Segment]) -> Frames:
    """The time and the samples of every frame."""
    return [
        (shot.pts, _samples(shot.frame))
        for segment in segments
        for shot in decoded(BytesIO(content), info, segment.first, segment.end)
    ]


def _samples(frame: av.VideoFrame) -> str:
    return hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest()


def shown(content: bytes) -> list[str]:
    """Samples of all frames as they come out of a decoder."""
    with av.open(BytesIO(content)) as container:
        context: Any = container.streams.video[0].codec_context
        context.thread_count = 1
        if context.name == "h264":
            context.reorder_depth = 16
        return [_samples(frame) for frame in container.decode(video=0)]


def checked(content: bytes, frames_per_segment: int = 8) -> tuple[VideoInfo, list[int]]:
    """What is in it, and the times of its frames, which are the same in segments as in one piece."""
    info = probe(BytesIO(content))
    whole = frames(content, info, [Segment(index=0, first=0, end=info.frames)])
    assert [samples for _, samples in whole] == shown(content)
    times = [pts for pts, _ in whole]
    assert times == list(info.pts) == sorted(set(times))
    assert frames(content, info, cut(info, frames_per_segment)) == whole
    return info, times


def doubled(content: bytes, container: str, number: int, by: int) -> bytes:
    """With one packet's pts shifted to that of another."""

    def shift(at: int, packet: "av.Packet[Any]") -> None:
        packet.pts = (packet.pts or 0) + (STEP * by if at == number else 0)

    return remuxed(content, container, shift)


@cache
def _b_frames() -> bytes:
    return clip(streets(36), params="bframes=2")


# keyframes are packets 0, 10, 20 and 30; 11 is a P-frame and 12 a B-frame
@pytest.mark.parametrize("numbers", [{15}, {10}, {11}, {12}, {1}, {35}, {3, 4, 5}, {9, 10, 11, 12}, {2, 20, 34}])
def test_packets_without_a_time_get_it_from_their_neighbours(numbers: set[int]) -> None:
    content = lacking(_b_frames(), numbers)
    info, times = checked(content)
    assert times == checked(lacking(_b_frames(), ()))[1]
    assert len(info.mended.times) == len(numbers)
    assert len(info.keyframes) == 4 - len(numbers & {10, 20, 30})


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "nut"])
@pytest.mark.parametrize(("number", "by"), [(15, 1), (10, -1), (20, 1)])
def test_one_of_two_packets_of_the_same_time_gets_another(container: str, number: int, by: int) -> None:
    info, times = checked(doubled(_b_frames(), container, number, by))
    assert times == checked(doubled(_b_frames(), container, number, 0))[1]
    assert info.mended.times
    assert len(info.keyframes) == (4 if number == 15 else 3)


def test_uneven_times_of_all_other_frames_are_kept() -> None:
    uneven = [0, 40, 55, 117, 120, 312, *range(390, 390 + 30 * 33, 33)]
    content = clip(streets(36), params="bframes=2", pts=uneven, time_base=Fraction(1, 1000))
    _, before = checked(lacking(content, ()))
    _, after = checked(lacking(content, {1}))
    (changed,) = [rank for rank in range(36) if before[rank] != after[rank]]
    assert before[changed - 1] < after[changed] < before[changed + 1]


def test_where_there_is_no_room_for_a_time_those_behind_it_give_way() -> None:
    def crowd(number: int, packet: "av.Packet[Any]") -> None:
        packet.time_base = Fraction(1, 90000)
        packet.pts, packet.dts = (number if number < 5 else number - 1), number - 1

    info, times = checked(remuxed(clip(streets(12), params="bframes=0"), "mpegts", crowd), 100)
    assert [at - times[0] for at in times] == list(range(12))
    assert len(info.mended.times) == 7 + 1


@cache
def _large() -> list[Samples]:
    return streets(24, width=352, height=288)


@pytest.mark.parametrize(
    ("container", "codec", "options", "late"),
    [
        ("avi", "libx264", {"params": "bframes=2"}, 2),
        ("avi", "mpeg4", {"max_b_frames": 2}, 1),
        ("mpeg", "mpeg2video", {"max_b_frames": 2}, 1),
        ("mpeg", "mpeg1video", {"max_b_frames": 2}, 1),
        ("vob", "mpeg2video", {"max_b_frames": 2, "bit_rate": 6_000_000}, 1),
    ],
)
def test_times_of_decoding_become_times_of_frames(
    container: str, codec: str, options: dict[str, Any], late: int
) -> None:
    """AVI has no other, MPEG program streams have others for some packets only. `late`: frames that are held back."""
    content = clip(_large(), container, codec, time_base=Fraction(1, 25), **options)
    with av.open(BytesIO(content)) as opened:
        first = next(packet.dts for packet in opened.demux(video=0)) or 0
    info, times = checked(content)
    step = round(1 / 25 / info.time_base)
    assert times == [first + step * (late + number) for number in range(24)]


def _packed(content: bytes) -> bytes:
    """MPEG-4 in AVI as DivX wrote it: a B-frame lies in one packet with the frame before it, and nothing in its own."""
    with av.open(BytesIO(content)) as source:
        coded = [(bytes(packet), packet.is_keyframe) for packet in source.demux(video=0) if packet.size]
        vop = b"\0\0\1\xb6"
        is_b = [one[one.index(vop) + 4] >> 6 == 2 for one, _ in coded] + [False]
        first, rest = coded[0][0].split(vop, 1)
        coded[0] = (first.split(b"\0\0\1\xb2")[0] + b"\0\0\1\xb2DivX503b1393p" + vop + rest, True)
        file = BytesIO()
        with av.open(file, "w", format="avi") as output:
            stream = output.add_stream_from_template(source.streams.video[0])
            for number, (one, is_keyframe) in enumerate(coded):
                if is_b[number + 1]:
                    one += coded[number + 1][0]
                packet = av.Packet(vop + b"\x40\x7f" if is_b[number] else one)
                packet.pts = packet.dts = number
                packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), is_keyframe
                output.mux_one(packet)
    return file.getvalue()


def test_packed_b_frames() -> None:
    plain = clip(streets(24), "avi", "mpeg4", time_base=Fraction(1, 25), max_b_frames=1)
    assert checked(_packed(plain))[1] == checked(plain)[1]


@pytest.mark.parametrize("container", ["mpegts", "matroska", "mp4"])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_two_fields_are_one_frame(container: str, apart: bool, mixed: bool) -> None:
    content = field_coded(container, apart=apart, by_fields=lambda rank: not mixed or rank % 3 > 0)
    info, times = checked(content)
    assert info.frames == 24
    assert len(cut(info, 8)) == 3
    assert info.interlaced
    assert not info.mended
    assert [(at - times[0]) * info.time_base for at in times] == [Fraction(rank, 25) for rank in range(24)]
    for shot in decoded(BytesIO(content), info, 11, 13):
        assert np.array_equal(
            np.frombuffer(memoryview(shot.frame.planes[0]), np.uint8).reshape(64, -1)[:, :32], luma(shot.rank)
        )


@pytest.mark.parametrize(("container", "codec"), [("mpegts", "libx264"), ("vob", "mpeg2video")])
def test_frames_of_recordings_joined_end_to_end_follow_each_other(container: str, codec: str) -> None:
    parts = [
        clip(streets(count, seed=count), container, codec, time_base=Fraction(1, 25), max_b_frames=2)
        for count in (30, 20, 24)
    ]
    info, times = checked(b"".join(parts))
    assert len(info.shift.joins) == 2
    assert np.ptp(np.diff(times)) == 0


@pytest.mark.parametrize("depths", [(0, 2), (2, 0), (0, 3, 1)])
def test_recordings_may_hold_back_different_numbers_of_frames(depths: tuple[int, ...]) -> None:
    parts = [
        clip(streets(20), "mpegts", params=f"bframes={depth}:b-pyramid=0:b-adapt=0", time_base=Fraction(1, 25))
        for depth in depths
    ]
    info = probe(BytesIO(b"".join(parts)))
    assert len(info.shift.joins) == len(depths) - 1
    assert set(np.diff(info.pts)) == {3600}


@pytest.mark.parametrize("name", ["a.ts", "a.mp4"])
def test_sound_stays_with_its_picture_in_recordings_joined_end_to_end(name: str) -> None:
    parts = [
        clip(streets(count, seed=count), "mpegts", extras=Sound(seconds=count / 25), time_base=Fraction(1, 90000))
        for count in (30, 24)
    ]
    outcome, written = done("a.ts", b"".join(parts), name)
    assert outcome.notes[0].startswith("2 recordings are joined end to end")
    assert np.diff(frame_times(written)) == pytest.approx(Fraction(1, 25))
    later = frame_times(written)[30] - frame_times(parts[1])[0]
    (second,), (sound,) = packets(parts[1], "audio"), packets(written, "audio")
    assert [at for at, _ in sound][-12:] == pytest.approx([at + later for at, _ in second][-12:], abs=0.001)


def test_one_packet_with_a_wrong_time_is_no_join() -> None:
    def spoil(number: int, packet: "av.Packet[Any]") -> None:
        if number == 15:
            packet.pts = packet.dts = (packet.dts or 0) + 256

    content = remuxed(clip(streets(36), params="bframes=0"), "mpegts", spoil)
    assert not probe(BytesIO(content)).shift.joins
