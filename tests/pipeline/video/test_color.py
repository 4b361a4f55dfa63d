"""Frames to RGB and back, and HDR signals to what curves act on and back."""

import numpy as np
import pytest
from av.video.frame import VideoFrame

from pipeline.video.signal.color import Colours, Conversion
from pipeline.video.signal.transfer import HDR, TOP, for_curves, from_curves, tables, to_sdr
from tests.support.clips import Samples, street

HLG, PQ = 18, 16


def soft(width: int = 64, height: int = 48) -> Samples:
    """Colours that change slowly, as chroma that pixels share demands."""
    y, x = np.mgrid[:height, :width] / np.array((height, width)).reshape(2, 1, 1)
    return np.asarray(np.stack((30 + 150 * x, 40 + 120 * y, 200 - 100 * x * y), -1).round(), np.uint8)


def conversion(colours: Colours, pixel_format: str, *, deep: bool = False) -> Conversion:
    return Conversion(colours, colours, pixel_format=pixel_format, size=(64, 48), hdr="keep", deep=deep)


@pytest.mark.parametrize("matrix", [1, 5, 6, 9, 2])
@pytest.mark.parametrize("limits", [1, 2, 0])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_there_and_back(matrix: int, limits: int, pixel_format: str) -> None:
    convert = conversion(Colours(matrix=matrix, range=limits), pixel_format)
    pixels = soft()
    frame = convert.frame(pixels, None)  # type: ignore[arg-type]
    assert (int(frame.colorspace), int(frame.color_range)) == (matrix, limits)
    assert np.abs(convert.rgb(frame).astype(int) - pixels)[2:-2, 2:-2].max() <= 4


def test_there_and_back_with_ten_bits() -> None:
    convert = conversion(Colours(matrix=9, range=1), "yuv420p10le", deep=True)
    pixels = soft().astype(np.uint16) * 257
    back = convert.rgb(convert.frame(pixels, None))  # type: ignore[arg-type]
    assert np.abs(back.astype(int) - pixels)[2:-2, 2:-2].max() <= 400  # of 65535: six levels of ten bits


def test_many_times_there_and_back_shifts_nothing() -> None:
    """Chroma lies where it lay: ten rounds do not move it."""
    convert = conversion(Colours(matrix=1, range=1), "yuv420p")
    edge = np.full((48, 64, 3), (60, 60, 60), np.uint8)
    edge[:, 32:] = (160, 40, 40)
    pixels = edge
    for _ in range(10):
        pixels = convert.rgb(convert.frame(pixels, None))  # type: ignore[arg-type]
    redness = pixels[24].astype(int) @ (1, -1, 0)
    assert abs(int((redness > redness.max() / 2).argmax()) - 32) <= 1


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_curves_see_an_sdr_like_signal(transfer: int) -> None:
    found = tables(transfer)
    white = {HLG: 0.75, PQ: 0.5807}[transfer]  # BT.2408: 203 cd/m2
    assert found.white / TOP == pytest.approx(white, abs=0.001)
    assert found.to_curves[0] == 0
    assert found.to_curves[found.white] == TOP
    assert (np.diff(found.to_curves.astype(int)) >= 0).all()
    half = {HLG: 0.6076, PQ: 0.5095}[transfer]  # half of white's light
    assert found.to_curves[round(half * TOP)] / TOP == pytest.approx(0.5 ** (1 / 2.2), abs=0.01)


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_curves_that_do_nothing_change_nothing(transfer: int) -> None:
    codes = np.arange(1023, dtype=np.uint16) * 64  # of ten bits
    back = from_curves(for_curves(codes, transfer), codes, transfer)
    assert np.abs(back.astype(int) - codes).max() < 32


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_highlights_stay_and_shadows_are_lifted_without_a_step(transfer: int) -> None:
    codes = np.arange(TOP + 1, dtype=np.uint16)
    signal = for_curves(codes, transfer) / TOP
    lifted = np.round((signal - 0.8 * (signal**2 - signal)) * TOP).astype(np.uint16)
    back = from_curves(lifted, codes, transfer).astype(int)
    white = tables(transfer).white
    assert (back[white:] == codes[white:]).all()
    assert (back[1000:white] >= codes[1000:white]).all()
    assert np.diff(back).min() >= -2
    assert np.diff(back)[white - 200 : white + 200].max() < 40


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_sdr_of_hdr(transfer: int) -> None:
    grey = np.repeat(np.linspace(0, TOP, 64).astype(np.uint16)[:, None, None], 3, 2)
    levels = to_sdr(grey, transfer)[:, 0].astype(int)
    assert levels[0].max() == 0
    assert levels[-1].min() >= 253
    assert (np.diff(levels, axis=0) >= 0).all()
    assert np.abs(levels - levels[:, :1]).max() <= 1  # grey stays grey


def test_hdr_is_named() -> None:
    assert [Colours(transfer=number).hdr for number in (HLG, PQ, 1)] == ["HLG", "PQ", None]
    assert set(HDR) == {HLG, PQ}


def test_frames_of_another_size_come_out_in_that_of_the_video() -> None:
    large = Conversion(Colours(), Colours(), pixel_format="yuv420p", size=(96, 64), hdr="keep", deep=False)
    frame = large.frame(street(0), None)  # type: ignore[arg-type]
    assert conversion(Colours(), "yuv420p").rgb(frame).shape == (48, 64, 3)


@pytest.mark.parametrize("pixel_format", ["yuva420p", "yuva444p10le"])
def test_alpha_of_any_depth_is_kept_to_the_last_column(pixel_format: str) -> None:
    decoded = VideoFrame(64, 48, pixel_format)
    for plane in decoded.planes:
        plane.update(np.arange(plane.buffer_size, dtype=np.uint8) % 3)
    deep = pixel_format.endswith("le")
    conversion = Conversion(Colours(), Colours(), pixel_format=pixel_format, size=(64, 48), hdr="keep", deep=deep)
    frame = conversion.frame(conversion.rgb(decoded), decoded)
    before, after = (
        np.frombuffer(memoryview(each.planes[3]), np.uint8).reshape(48, -1)[:, : 64 * (1 + deep)]
        for each in (decoded, frame)
    )
    assert np.array_equal(before, after)
