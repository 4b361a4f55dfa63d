"""Luma outside of limited range: full-range data without the flag, and shadows and highlights beyond its ends."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from model import Look
from pipeline.video.reading.probe import probe
from pipeline.video.signal.picture import lines
from tests.support.clips import clip, pictures, streets
from tests.support.enhanced import QUICK, done

AS_IT_IS = replace(QUICK, look=Look(denoise=0, floor="off", iterations=0))
BOUNDED = "what is beyond them is kept"


def _ramp(
    low: int, high: int, *, codec: str = "ffv1", container: str = "matroska", cr: int = 128, spots: Sequence[int] = ()
) -> bytes:
    """Limited range, by its flag. Luma goes from `low` on the left to `high` on the right, but for a few spots."""
    file = BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=25, time_base=Fraction(1, 25))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.color_range = 1
        for number in range(12):
            frame = VideoFrame(96, 64, "yuv420p")
            for plane, row in zip(frame.planes, (np.linspace(low, high, 96), 128, cr), strict=True):
                lines(plane, np.uint8)[:, : plane.width] = row
            for place, level in enumerate(spots):
                lines(frame.planes[0], np.uint8)[3 * place : 3 * place + 3, :4] = level
            frame.pts, frame.time_base, frame.color_range = number, Fraction(1, 25), 1
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def _planes(coded: bytes | Path) -> list[np.ndarray[Any, Any]]:
    frame = next(pictures(coded))
    return [lines(plane, np.uint8)[:, : plane.width].astype(int) for plane in frame.planes]


def test_full_range_without_the_flag_is_treated_and_written_as_full_range(shared: Path) -> None:
    content = (shared / "data/dev/video/reports/below_black.mp4").read_bytes()
    for settings in (AS_IT_IS, QUICK):
        outcome, written = done("a.mp4", content, settings=settings)
        assert any("full-range data without the flag" in note for note in outcome.notes)
        assert outcome.luma_before is not None and outcome.luma_after is not None
        assert 0 < outcome.luma_before <= outcome.luma_after < 1
        assert next(pictures(written)).color_range == 2
        if settings is AS_IT_IS:
            assert np.abs(_planes(written)[0] - _planes(content)[0]).max() <= 1


def test_what_is_beyond_black_and_white_stays_as_it_is() -> None:
    content = _ramp(8, 252)
    outcome, written = done("a.mkv", content, settings=AS_IT_IS)
    assert any(BOUNDED in note for note in outcome.notes)
    assert all(np.array_equal(*pair) for pair in zip(_planes(content), _planes(written), strict=True))


def test_few_samples_beyond_black_and_white_stay_where_nothing_is_enhanced() -> None:
    content = _ramp(16, 235, spots=(2, 250))
    assert not probe(BytesIO(content)).beyond
    for settings, rows in ((AS_IT_IS, slice(0, 6)), (QUICK, slice(3, 6))):  # enhanced, only highlights stay
        luma, before = _planes(done("a.mkv", content, settings=settings)[1])[0], _planes(content)[0]
        assert np.array_equal(luma[rows, :4], before[rows, :4])


def test_chroma_below_black_does_not_become_neon() -> None:
    outcome, written = done("a.mkv", _ramp(8, 40, cr=140))
    assert any(BOUNDED in note for note in outcome.notes)
    luma, _, cr = _planes(written)
    assert luma[:, :20].max() < 16
    assert luma[:, 60:].min() > 40
    assert np.array_equal(cr[:, :10], np.full((32, 10), 140))


@pytest.mark.parametrize("content", [clip(streets(12)), _ramp(16, 235)], ids=["street", "ramp"])
def test_ordinary_films_are_neither(content: bytes) -> None:
    info = probe(BytesIO(content))
    assert not info.beyond
    assert not info.unflagged_full
