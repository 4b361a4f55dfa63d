"""Frames of a damaged film: the same ones come out in segments as in one piece, and not by decoding from its start."""

import hashlib
import random
import struct
from collections.abc import Collection
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import Any

import av
import pytest

from pipeline.errors import Damaged, TooLarge
from pipeline.video.reading.decode import decoded
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.segments import cut
from tests.support.clips import Samples, Sound, clip, remuxed, streets
from tests.support.enhanced import run

Frames = dict[int, tuple[str, bool]]
GOP = 8


@cache
def _film() -> list[Samples]:
    return streets(80, width=160, height=128)


@cache
def _whole(codec: str, params: str) -> bytes:
    return clip(_film(), "mp4", codec, params=params, gop=GOP)


@cache
def _good(codec: str, params: str) -> set[str]:
    """The samples of every frame that is not damaged."""
    whole = _whole(codec, params)
    return {samples for samples, _ in frames(whole, probe(BytesIO(whole)), 1000).values()}


@cache
def _five_times(params: str) -> bytes:
    return clip(5 * _film(), "mp4", params=f"{params}:qp=2", gop=GOP)


class Counted(BytesIO):
    """A file that knows how much was read of it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.bytes_read += len(content)
        return content


def damaged(content: bytes, numbers: Collection[int], *, wholly: bool) -> bytes:
    """In Matroska, with these packets' second half, or all of them, overwritten."""

    def spoil(number: int, packet: "av.Packet[Any]") -> "av.Packet[Any] | None":
        if number not in numbers:
            return None
        coded = bytearray(packet)
        for at in range(5 if wholly else len(coded) // 2, len(coded)):
            coded[at] = (37 * at + coded[at] * (not wholly)) % 251 + 1
        spoilt = av.Packet(bytes(coded))
        spoilt.pts, spoilt.dts, spoilt.time_base = packet.pts, packet.dts, packet.time_base
        spoilt.is_keyframe = packet.is_keyframe
        return spoilt

    return remuxed(content, "matroska", spoil)


def frames(content: bytes, info: VideoInfo, frames_per_segment: int) -> Frames:
    """By rank: the samples, and whether they are broken."""
    return {
        shot.rank: (hashlib.sha256(shot.frame.to_ndarray().tobytes()).hexdigest(), shot.frame.is_corrupt)
        for segment in cut(info, frames_per_segment)
        for shot in decoded(BytesIO(content), info, segment.first, segment.end)
    }


@pytest.mark.parametrize("wholly", [False, True])
@pytest.mark.parametrize("numbers", [{40}, {41}, {40, 41, 42}, {32, 40, 48}, set(range(20, 60))], ids=str)
@pytest.mark.parametrize(
    ("codec", "params"),
    [("libx264", "bframes=2"), ("libx264", "bframes=2:open-gop=1:slices=4"), ("libx265", "bframes=2"), ("mpeg4", "")],
)
def test_the_same_frames_come_out_in_segments(codec: str, params: str, numbers: set[int], wholly: bool) -> None:
    content = damaged(_whole(codec, params), numbers, wholly=wholly)
    info = probe(BytesIO(content))
    expected, found = frames(content, info, 1000), frames(content, info, GOP)
    assert found.keys() == expected.keys()
    assert [broken for _, broken in found.values()] == [broken for _, broken in expected.values()]
    good = _good(codec, params)
    assert all(found[rank] == frame for rank, frame in expected.items() if frame[0] in good)
    if codec == "mpeg4":  # H.264 and HEVC patch with what they find in old frames
        assert found == expected


@pytest.mark.parametrize(
    ("params", "numbers"),
    [("bframes=2", {376, 377}), ("bframes=2", {360, 368, 376}), ("intra-refresh=1:bframes=0", ())],
)
def test_a_damaged_keyframe_is_entered_from_one_near_it(params: str, numbers: Collection[int]) -> None:
    content = damaged(_five_times(params), numbers, wholly=False)
    info = probe(BytesIO(content))
    file = Counted(content)
    assert [shot.rank for shot in decoded(file, info, 376, 377)] == [376]
    assert file.bytes_read < len(content) / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("container", "name"), [("mpegts", "a.ts"), ("mp4", "a.mp4"), ("matroska", "a.mkv"), ("avi", "a.avi")]
)
def test_damage_of_any_kind_is_foreseen(container: str, name: str) -> None:
    codec, params = ("mpeg4", "") if container == "avi" else ("libx264", "bframes=2:open-gop=1")
    whole = clip(streets(20), container, codec, params=params, extras=Sound(seconds=0.8), time_base=Fraction(1, 25))
    codes = {}
    for seed in range(20):
        dice, content = random.Random(seed), bytearray(whole)
        for _ in range(dice.choice([1, 5, 40])):
            content[dice.randrange(len(content))] = dice.randrange(256)
        if seed % 2:
            del content[dice.randrange(len(content) // 2, len(content)) :]
        outcome, _ = run(name, bytes(content), "a.mkv" if container == "avi" else name)
        codes[seed] = outcome.code
    assert set(codes.values()) <= {"", "damaged", "not_media", "no_video"}, codes


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "libx264"), ("mpegts", "libx264"), ("matroska", "libx265"), ("webm", "libvpx-vp9")]
)
def test_large_frames_are_refused_by_what_the_header_says(container: str, codec: str) -> None:
    content = clip(streets(4, width=320, height=240), container, codec, time_base=Fraction(1, 1000))
    with pytest.raises(TooLarge, match="320x240 pixels, more than 76799; raise --max-frame-pixels"):
        probe(BytesIO(content), 320 * 240 - 1)
    assert probe(BytesIO(content), 320 * 240).frames == 4


def test_large_frames_that_come_later_are_not_decoded() -> None:
    small, large = (clip(streets(12, width=16 * by, height=9 * by), "mpegts", gop=4) for by in (8, 24))
    info = probe(BytesIO(small + large), 128 * 72)
    assert info.size == (128, 72)
    found = frames(small + large, info, 1000)
    assert found.keys() == frames(small, probe(BytesIO(small)), 1000).keys()


def test_more_samples_than_bytes_are_refused_before_there_is_room_made_for_them() -> None:
    content = bytearray(clip(streets(12), extras=Sound(seconds=0.5)))
    info = probe(BytesIO(content))
    struct.pack_into(">II", content, content.index(b"stsz") + 8, 1, 4_000_000)  # each of one byte
    with pytest.raises(Damaged, match="its header announces 4000000 samples in"):
        probe(BytesIO(content))
    assert info.frames == 12


def test_more_samples_than_bytes_in_a_fragment() -> None:
    content = clip(streets(12), extras=Sound(seconds=0.5, options={"movflags": "frag_keyframe+empty_moov"}))
    assert probe(BytesIO(content)).frames == 12
    changed = bytearray(content)
    struct.pack_into(">II", changed, changed.index(b"trun") + 4, 1, 4_000_000)
    with pytest.raises(Damaged, match="samples in"):
        probe(BytesIO(changed))
