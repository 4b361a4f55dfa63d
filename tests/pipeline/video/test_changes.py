"""Videos that change midway: in size, pixel format, matrix, range, fields. And frames upside down in memory."""

from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.frame import VideoFrame

from model import Look
from pipeline.video.enhancing.enhance import Clock, Enhanced
from pipeline.video.enhancing.smoothing import Window
from pipeline.video.reading.decode import decoded
from pipeline.video.reading.probe import probe
from pipeline.video.reading.segments import cut
from pipeline.video.signal.color import Colours, Conversion
from pipeline.video.signal.picture import lines
from pipeline.video.writing.encode import EncodeSettings, choose
from tests.pipeline.video.test_segments import enhancement, planes, samples
from tests.support.clips import Samples, clip, pictures, street, streets
from tests.support.counts import crossed

WINDOW = Window(radius=2, light_radius=2)
COUNT, STEP = 16, 3600  # frames of a part, and how long one is shown at 25 a second
WOVEN = {"params": "tff=1", "interlaced": True}


def part(number: int, frames: list[Samples], **shape: Any) -> bytes:
    """The `number`-th part of a broadcast: as MPEG-TS, its parts in a row are one file."""
    pts = [(number * COUNT + at) * STEP for at in range(len(frames))]
    return clip(frames, "mpegts", pts=pts, time_base=Fraction(1, 90000), gop=8, **shape)


def bars(at: int) -> Samples:
    """Upright bars that move to the right."""
    across = 80 + 60 * np.sin((np.arange(96) - at) * np.pi / 12)
    return np.asarray(np.broadcast_to(across[None, :, None], (64, 96, 3)).round(), np.uint8).copy()


def woven(number: int) -> Samples:
    """A frame of bars whose second field is taken later."""
    frame = bars(6 * number)
    frame[1::2] = bars(6 * number + 3)[1::2]
    return frame


def combing(pixels: Samples) -> float:
    """By how much lines differ from those around them, mean."""
    signed = pixels.astype(float)
    return float(np.abs(signed[1:-1] - (signed[:-2] + signed[2:]) / 2).mean())


def enhanced(content: bytes, look: Look = Look(strength=0)) -> list[Enhanced]:
    info = probe(BytesIO(content))
    encoding = choose(info, EncodeSettings(), "matroska", "keep")
    todo = enhancement(WINDOW, look)
    return list(todo.frames(BytesIO(content), info, cut(info, 1000)[0], encoding, Clock()))


def rgb(frame: VideoFrame) -> Samples:
    return frame.to_ndarray(format="rgb24").astype(int)


def seen(frame: VideoFrame) -> list[bytes]:
    """The samples of its planes, 8 bits each, without what pads their lines."""
    return [lines(plane, np.uint8)[:, : plane.width].tobytes() for plane in frame.planes]


OTHERS = {
    "smaller": {"width": 64, "height": 48},
    "larger": {"width": 160, "height": 128},
    "of other chroma": {"pixel_format": "yuv422p"},
    "of full range": {"color_range": 2},
}


@pytest.mark.parametrize(("kind", "fields", "look"), crossed(OTHERS, [{}, WOVEN], [Look(strength=0), Look()]))
def test_filters_see_frames_of_one_shape(kind: str, fields: dict[str, Any], look: Look) -> None:
    """A graph has buffers for the frames that it was made for: others would be written beyond their end."""
    other = OTHERS[kind]
    size = {name: other[name] for name in ("width", "height") if name in other}
    shape = {name: value for name, value in other.items() if name not in size}
    content = part(0, streets(COUNT), **fields)
    content += part(1, streets(COUNT, **size), **shape, **fields) + part(2, streets(COUNT), **fields)
    info = probe(BytesIO(content))
    whole = enhanced(content, look)
    assert [each.shot.pts for each in whole] == list(info.pts)
    in_segments = planes(content, info, cut(info, 3), enhancement(WINDOW, look))
    assert in_segments == [(each.shot.pts, samples(each)) for each in whole]
    changed = sum((each.shot.frame.width, each.shot.frame.height) != info.size for each in whole)
    assert changed == (COUNT if size else 0)


@pytest.mark.parametrize(("first", "second"), [((1, 1), (1, 2)), ((1, 2), (1, 1)), ((1, 1), (9, 1)), ((5, 2), (9, 1))])
def test_frames_are_taken_at_their_word(first: tuple[int, int], second: tuple[int, int]) -> None:
    """Matrix and range of the second part are other ones: colours stay, and all frames say what the first did."""
    both = [dict(zip(("colorspace", "color_range"), each, strict=True)) for each in (first, second)]
    reddish = [(frame * (2.0, 0.9, 0.4)).clip(0, 255).astype(np.uint8) for frame in streets(COUNT)]
    content = part(0, reddish, **both[0]) + part(1, reddish, **both[1])
    before = list(pictures(content))
    assert (before[-1].colorspace, before[-1].color_range) == second
    after = enhanced(content)
    for source, each in zip(before, after, strict=True):
        assert (each.frame.colorspace, each.frame.color_range) == first
        assert np.abs((rgb(source) - rgb(each.frame)).mean(axis=(0, 1))).max() < 1.5
        assert each.luma_before == pytest.approx(each.luma_after, abs=0.004)


HLG = {"color_trc": 18, "color_primaries": 9, "colorspace": 9, "pixel_format": "yuv420p10le"}
PQ = HLG | {"color_trc": 16}
REC_709 = {"color_trc": 1, "color_primaries": 1, "colorspace": 1}


def grey(code: float, shape: dict[str, Any]) -> bytes:
    """Frames of one grey: `code`, 0 to 1, in the transfer that the shape states."""
    pixels = [np.full((64, 96, 3), round(65535 * code), np.uint16)] * COUNT
    if shape is REC_709:
        pixels = [(each >> 8).astype(np.uint8) for each in pixels]
    number = 0 if code < 0.5 else 1
    return part(number, pixels, codec="libx265" if shape is not REC_709 else "libx264", **shape)


# in SDR 0.3 is 0.3 ** 2.4 = 0.056 of white; 203 cd/m2 of diffuse white are 0.75 in HLG and 0.58 in PQ (BT.2408)
@pytest.mark.parametrize(
    ("first", "second", "white"),
    [(REC_709, HLG, None), (HLG, REC_709, 0.75), (PQ, REC_709, 0.58), (REC_709, PQ, None)],
)
def test_frames_of_another_transfer_come_out_in_that_of_the_first(
    first: dict[str, Any], second: dict[str, Any], white: float | None
) -> None:
    """White of SDR is diffuse white of HDR."""
    full = {18: 0.75, 16: 0.58, 1: 0.999}[second["color_trc"]]
    after = enhanced(grey(0.3, first) + grey(full, second))
    assert len(after) == 2 * COUNT
    assert {each.frame.color_trc for each in after} == {first["color_trc"]}
    scale = 876 if white else 219
    levels = [float(lines(each.frame.planes[0], np.uint16 if white else np.uint8)[:, :96].mean()) for each in after]
    codes = (np.array(levels) - (64 if white else 16)) / scale
    assert codes[: COUNT - 1] == pytest.approx(0.3, abs=0.01)
    if white:
        assert codes[COUNT + 1 :] == pytest.approx(white, abs=0.015)
    else:
        assert codes[COUNT + 1 :].min() > 0.85  # below highlights, which are rolled off


def test_frames_that_say_nothing_are_as_the_stream() -> None:
    convert = _conversion("yuv420p", Colours(matrix=1, range=2))
    said = convert.frame(street(0), None)  # type: ignore[arg-type]
    pixels, small = convert.rgb(said), convert.small(said)
    said.colorspace, said.color_range = 2, 0
    assert convert.keeps(said)
    np.testing.assert_array_equal(convert.rgb(said), pixels)
    np.testing.assert_array_equal(convert.small(said), small)
    said.color_range = 1
    assert not convert.keeps(said)
    assert convert.small(said).mean() < small.mean() - 5


@pytest.mark.parametrize("parts", [[0, 1], [1, 0], [0, 1, 0]])
def test_interlaced_frames_are_deinterlaced_wherever_they_are(parts: list[int]) -> None:
    kinds = [
        ([bars(6 * number) for number in range(COUNT)], dict[str, Any]()),
        ([woven(number) for number in range(COUNT)], WOVEN),
    ]
    content = b"".join(part(at, kinds[kind][0], **kinds[kind][1]) for at, kind in enumerate(parts))
    info = probe(BytesIO(content))
    assert info.interlaced
    todo = enhancement(WINDOW)
    assert planes(content, info, cut(info, 3), todo) == planes(content, info, cut(info, 1000), todo)
    for number, (source, each) in enumerate(zip(pictures(content), enhanced(content), strict=True)):
        if parts[number // COUNT]:
            assert combing(rgb(source)) > 10
            assert combing(rgb(each.frame)) < 2
        else:
            assert seen(each.frame) == seen(source)


def test_times_that_jump_back_ask_no_decoder_to_hold_more_frames_than_it_can() -> None:
    content = part(2, streets(20)) + part(0, streets(20))
    assert probe(BytesIO(content)).reorder <= 16
    assert len(enhanced(content)) >= 20


def _conversion(pixel_format: str, colours: Colours = Colours()) -> Conversion:
    return Conversion(colours, colours, pixel_format=pixel_format, size=(96, 64), hdr="keep", deep=False)


def _upside_down(frame: VideoFrame) -> VideoFrame:
    """The same picture, whose lines lie in memory from the lowest to the uppermost, as some decoders give it."""
    turned = VideoFrame(frame.width, frame.height, frame.format.name)
    for into, plane in zip(turned.planes, frame.planes, strict=True):
        into.update(np.ascontiguousarray(lines(plane, np.uint8)[::-1]).tobytes())
    graph = Graph()
    source = graph.add_buffer(template=frame, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    graph.push(turned)
    found = graph.vpull()
    assert all(plane.line_size < 0 for plane in found.planes)
    return found


def test_lines_that_lie_upside_down_are_read_in_their_order() -> None:
    convert = _conversion("yuva420p")
    frame = convert.frame(street(0), VideoFrame(96, 64, "yuva420p"))
    lines(frame.planes[3], np.uint8)[:] = np.arange(64, dtype=np.uint8)[:, None]
    turned = _upside_down(frame)
    assert convert.keeps(frame)
    assert not convert.keeps(turned)
    np.testing.assert_array_equal(convert.rgb(turned), convert.rgb(frame))
    np.testing.assert_array_equal(convert.small(turned), convert.small(frame))
    alpha = lines(convert.frame(convert.rgb(turned), turned).planes[3], np.uint8)
    assert alpha[:, 0].tolist() == list(range(64))


def test_a_player_of_amv_sees_its_picture_upright() -> None:
    file = BytesIO()
    with av.open(file, "w", format="avi") as output:
        stream: Any = output.add_stream("amv", rate=16, options={"strict": "-2"})
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuvj420p"
        for number in range(4):
            frame = VideoFrame.from_ndarray(street(number, 160, 128), "rgb24").reformat(format="yuvj420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    for source, each in zip(pictures(file.getvalue()), enhanced(file.getvalue()), strict=True):
        assert source.planes[0].line_size < 0
        assert np.abs(rgb(source) - rgb(each.frame)).mean() < 3


def test_no_frame_is_lost_where_mpeg2_changes_its_size() -> None:
    coded = {"container": "mpegts", "codec": "mpeg2video", "time_base": Fraction(1, 25), "max_b_frames": 2}
    content = clip(streets(COUNT), **coded, pts=range(COUNT))
    content += clip(streets(COUNT, width=160, height=128), **coded, pts=range(COUNT, 2 * COUNT))
    info = probe(BytesIO(content))
    for frames_per_segment in (1000, 3):
        segments = cut(info, frames_per_segment)
        ranks = [shot.rank for each in segments for shot in decoded(BytesIO(content), info, each.first, each.end)]
        assert ranks == list(range(2 * COUNT))
