"""Recordings of several cameras in one file, in several codings: no frame is lost, and each has its time."""

from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import pytest

from pipeline.video.reading.decode import decoded
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.segments import Segment, cut
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


PAIRS = [(one, other) for one in CODECS for other in CODECS if one != other]


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("muxer", ["mpegts", "vob", ""])
def test_both_codings_are_decoded(muxer: str, first: str, second: str) -> None:
    if muxer == "mpegts" and "mpeg4" in (first, second):
        muxer = "svcd"
    parts = [made(muxer, first), made(muxer, second)]
    info = checked(parts)
    assert [each.stretch.begins_at for each in info.recordings] == pytest.approx([0, len(parts[0])], abs=600)
    assert {(after - before) * info.time_base for before, after in zip(info.pts, info.pts[1:], strict=False)} == {
        Fraction(1, 25)
    }
