"""Frames lifted on their planes: what comes out is what comes out by way of RGB."""

from io import BytesIO
from unittest.mock import PropertyMock, patch

import numpy as np
import pytest

from model import Enhancer, Look
from pipeline.video.enhancing.enhance import Clock, Enhanced
from pipeline.video.enhancing.planes import coding
from pipeline.video.enhancing.smoothing import Window
from pipeline.video.reading.probe import probe
from pipeline.video.reading.segments import cut
from pipeline.video.signal.color import Colours, Conversion
from pipeline.video.writing.encode import EncodeSettings, choose
from tests.pipeline.video.test_segments import enhancement
from tests.support.clips import Samples, clip, street, streets

HD = Colours(matrix=1, range=1)


def _enhanced(content: bytes, look: Look = Look()) -> list[Enhanced]:
    info = probe(BytesIO(content))
    encoding = choose(info, EncodeSettings(), "matroska", "keep")
    todo = enhancement(Window(), look=look)
    return list(todo.frames(BytesIO(content), info, cut(info, 1000)[0], encoding, Clock()))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le"])
def test_frames_that_are_not_lifted_stay_to_the_last_bit(pixel_format: str) -> None:
    content = clip(streets(4, width=395, height=41), "matroska", "ffv1", pixel_format=pixel_format)
    for each in _enhanced(content, Look(strength=0)):
        before, after = each.shot.frame, each.frame
        assert after.format.name == pixel_format
        for one, other in zip(before.planes, after.planes, strict=True):
            lines = (np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1) for plane in (one, other))
            visible = one.width * (1 if before.format.components[0].bits == 8 else 2)
            np.testing.assert_array_equal(*(line[:, :visible] for line in lines))


@pytest.mark.parametrize("colours", [{"colorspace": 1, "color_range": 1}, {"colorspace": 5, "color_range": 2}, {}])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize(
    ("look", "most_of_full_range"), [(Look(), 1.1), (Look(denoise=0, floor="off"), 1.0)], ids=["cleaned", "plain"]
)
def test_planes_and_rgb_give_the_same_picture(
    look: Look, most_of_full_range: float, pixel_format: str, colours: dict[str, int]
) -> None:
    smooth = [frame.repeat(4, 0).repeat(4, 1) for frame in streets(3)]  # no chroma finer than its samples
    content = clip(smooth, "matroska", "ffv1", pixel_format=pixel_format, **colours)
    by_planes = _enhanced(content, look)
    with patch.object(Enhancer, "is_fused", PropertyMock(return_value=False)):
        by_rgb = _enhanced(content, look)
    for one, other in zip(by_planes, by_rgb, strict=True):
        a, b = (each.frame.to_ndarray(format="rgb24").astype(int) for each in (one, other))
        assert np.abs(a - b).mean() < 1.5
        # swscale itself makes all chroma of full range half a level too low
        assert np.abs((a - b).mean(axis=(0, 1))).max() < (
            most_of_full_range if colours.get("color_range") == 2 else 0.2
        )
        assert abs(one.luma_before - other.luma_before) < 0.004
        assert abs(one.luma_after - other.luma_after) < 0.004
        assert (one.frame.colorspace, one.frame.color_range) == (other.frame.colorspace, other.frame.color_range)


@pytest.mark.parametrize("pixel_format", ["gbrp", "rgb24", "gray", "nv12", "yuv411p", "yuyv422", "yuv420p10be"])
def test_formats_without_such_planes_go_by_way_of_rgb(pixel_format: str) -> None:
    assert coding(HD, pixel_format, 1080) is None


def test_chroma_of_each_format() -> None:
    found = {name: coding(HD, name, 1080) for name in ("yuv420p", "yuv422p10le", "yuva444p")}
    shapes = {name: (each.across, each.down, each.depth) for name, each in found.items() if each is not None}
    assert shapes == {"yuv420p": (2, 2, 8), "yuv422p10le": (2, 1, 10), "yuva444p": (1, 1, 8)}


def test_a_reduced_copy_is_as_bright_as_its_frame() -> None:
    pixels: Samples = street(0, width=640, height=360)
    convert = Conversion(HD, HD, pixel_format="yuv420p", size=(640, 360), hdr="keep", deep=False)
    frame = convert.frame(pixels, None)  # type: ignore[arg-type]
    assert convert.copy(frame, 128, 72).mean() == pytest.approx(pixels.mean(), abs=0.3)
    assert convert.small(frame).mean() == pytest.approx(pixels.mean(), abs=0.3)
