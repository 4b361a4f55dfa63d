"""What containers tell players to hide of each frame does not show afterwards either, in any player."""

import json
import subprocess
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame

from model import Look
from pipeline.errors import Damaged
from pipeline.video.reading.glance import glance
from pipeline.video.reading.probe import probe
from pipeline.video.reading.sampling import sample
from pipeline.video.signal.picture import Crop, Cutter, lines
from pipeline.video.writing.encode import EncodeSettings
from tests.support.clips import clip, pictures, streets, times
from tests.support.crops import in_matroska, with_clap
from tests.support.enhanced import SETTINGS, done

UNTOUCHED = replace(
    SETTINGS,
    look=Look(iterations=0, denoise=0, floor="off"),
    encode=EncodeSettings(crf=0, preset="ultrafast"),
    frames_per_segment=4,
)
CLAP = 80, 48, 4, -6  # its middle is 4 to the right and 6 up
SIDES = 2, 14, 12, 4  # the same by lines and columns that are hidden
NOTE = "what its crop hides is left out: 80x48 of 96x64 pixels are kept"
QUARTER_TURN = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)


def _planes(frame: VideoFrame) -> list[npt.NDArray[np.uint16]]:
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return [lines(plane, kind)[:, : plane.width].astype(np.uint16) for plane in frame.planes]


def _shown(path: Path) -> dict[str, object]:
    """Return what ffprobe says of the video; it says nothing of crops."""
    command = ["ffprobe", "-v", "error", "-show_streams", "-select_streams", "v", "-of", "json", str(path)]
    stream: dict[str, object] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"][
        0
    ]
    return stream


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [("a.mp4", "libx264", "yuv420p"), ("a.mov", "libx264", "yuv422p"), ("a.mkv", "ffv1", "yuv420p10le")],
)
def test_what_showed_is_kept_to_the_bit(name: str, codec: str, pixel_format: str) -> None:
    content = clip(streets(12), "matroska" if name == "a.mkv" else "mp4", codec, pixel_format=pixel_format, gop=4)
    cropped = in_matroska(content, *SIDES) if name == "a.mkv" else with_clap(content, *CLAP)
    outcome, written = done(name, cropped, settings=UNTOUCHED)
    assert outcome.notes == [NOTE]
    assert (outcome.width_px, outcome.height_px) == (80, 48)
    assert times(written) == times(cropped)
    for before, after in zip(pictures(content), pictures(written), strict=True):
        for whole, part in zip(_planes(before), _planes(after), strict=True):
            down, across = 64 // len(whole), 96 // whole.shape[1]
            assert np.array_equal(whole[2 // down : 50 // down, 12 // across : 92 // across], part)


def test_what_is_hidden_counts_for_nothing() -> None:
    """A white margin changes neither the frames inside nor what is found out about them."""
    bright = [frame.copy() for frame in streets(6)]
    for frame in bright:
        frame[:, :12] = frame[:, 92:] = frame[:2] = frame[50:] = 255
    inside = clip([frame[2:50, 12:92] for frame in bright], "matroska", "ffv1", pixel_format="yuv444p")
    around = clip(bright, "matroska", "ffv1", pixel_format="yuv444p")
    cropped = in_matroska(around, *SIDES)
    one, other = done("a.mkv", inside), done("a.mkv", cropped)
    assert (one[0].luma_before, one[0].luma_after) == (other[0].luma_before, other[0].luma_after)
    for before, after in zip(pictures(one[1]), pictures(other[1]), strict=True):
        assert all(map(np.array_equal, _planes(before), _planes(after)))
    looks = glance(BytesIO(inside)), glance(BytesIO(cropped))
    assert looks[0] == looks[1]
    assert all(map(np.array_equal, sample(BytesIO(inside), 2), sample(BytesIO(cropped), 2)))


def test_rotation_and_shape_of_pixels_stay() -> None:
    turned = with_clap(clip(streets(4), display_matrix=QUARTER_TURN, sample_aspect_ratio=Fraction(4, 3)), *CLAP)
    shown = _shown(done("a.mp4", turned)[1])
    assert (shown["width"], shown["height"], shown["sample_aspect_ratio"]) == (80, 48, "4:3")
    assert shown["side_data_list"][0]["rotation"] == -90  # type: ignore[index]
    wide = in_matroska(clip(streets(4)), *SIDES, display=(160, 48))
    shown = _shown(done("a.mkv", wide)[1])
    assert (shown["width"], shown["height"], shown["display_aspect_ratio"]) == (80, 48, "10:3")


def test_interlaced_frames_are_deinterlaced_before_they_are_cropped(tmp_path: Path) -> None:
    """An odd number of hidden lines would swap the fields. The judge is ffmpeg's own chain of filters."""
    content = clip(streets(6), params="tff=1", interlaced=True, pixel_format="yuv422p")
    (tmp_path / "whole.mp4").write_bytes(content)
    _, written = done("a.mp4", with_clap(content, 80, 50, 0, -2), settings=UNTOUCHED)  # hides 5 lines at the top
    filters = "bwdif=send_frame:deint=interlaced,crop=80:50:8:5:exact=1"
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "whole.mp4"), "-vf", filters, "-f", "rawvideo", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    expected = np.frombuffer(raw, np.uint8).reshape(6, -1)[:, : 80 * 50].reshape(6, 50, 80)
    assert np.array_equal(expected, [_planes(frame)[0] for frame in pictures(written)])


@pytest.mark.parametrize(("pixel_format", "range_"), [("yuv420p", 1), ("yuvj420p", 2), ("yuv420p10le", 1)])
def test_a_crop_between_samples_of_chroma_moves_no_colour(pixel_format: str, range_: int) -> None:
    red, green, blue = np.arange(96) * 2.6, 60, np.arange(64)[:, None] * 3.9  # to the right, and down
    rgb = np.stack(np.broadcast_arrays(red, green, blue), axis=-1).astype(np.uint8)
    whole, part = (
        VideoFrame.from_ndarray(np.ascontiguousarray(each), "rgb24").reformat(
            format=pixel_format, dst_color_range=range_
        )
        for each in (rgb, rgb[3:63, 7:87])
    )
    cut = Cutter(Crop(3, 1, 7, 9))(whole)
    assert (cut.format.name, cut.color_range) == (whole.format.name, whole.color_range)
    luma, *chroma = _planes(cut)
    assert np.array_equal(luma, _planes(whole)[0][3:63, 7:87])
    level = 1 << (whole.format.components[0].bits - 8)  # it changes by about one from pixel to pixel
    for found, expected in zip(chroma, _planes(part)[1:], strict=True):
        assert abs((found.astype(int) - expected)[1:-1, 1:-1].mean()) < 0.25 * level


@pytest.mark.parametrize(
    ("shown", "crop", "size"),
    [
        ((81, 47), Crop(8, 9, 7, 8), (80, 46)),  # half a sample of chroma does not show
        ((71.5, 48.25), Crop(7, 8, 12, 13), (70, 48)),  # nor does a part of a pixel
        ((96, 64), None, (96, 64)),
    ],
)
def test_sizes_are_whole_samples(shown: tuple[float, float], crop: Crop | None, size: tuple[int, int]) -> None:
    info = probe(BytesIO(with_clap(clip(streets(2)), *shown)))
    assert (info.crop, info.size) == (crop, size)


@pytest.mark.parametrize("clap", [(120, 48), (80, 48, 9), (80, 48, 0, -10), (0, 0)])
def test_a_crop_beyond_the_frame_does_not_count(clap: tuple[int, ...]) -> None:
    outcome, written = done("a.mp4", with_clap(clip(streets(2)), *clap))
    assert outcome.notes == ["its crop (clap) is damaged and does not count: the whole frame shows"]
    assert (_shown(written)["width"], _shown(written)["height"]) == (96, 64)


def test_a_crop_of_all_is_named() -> None:
    with pytest.raises(Damaged, match="its crop"):
        probe(BytesIO(in_matroska(clip(streets(2)), 0, 0, 40, 56)))
