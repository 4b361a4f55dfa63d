"""Camera raw files: told by their content, developed to the right colours, upright once, with their metadata."""

import struct
import sys
from typing import Any

import numpy as np
import pytest

from pipeline.errors import Damaged, MissingExtra, TooLarge, Unsupported
from pipeline.images import decode, encode
from pipeline.images.metadata import ifd, tags
from pipeline.images.recognition import format_of_content
from tests.support import media, raw_files
from tests.support.media import Samples

MAX_PX = 1_000_000
EXIF, GPS = tags.EXIF_IFD, tags.GPS_IFD


def patches() -> Samples:
    """Twelve patches of one colour each, 32 pixels wide and high; no symmetry."""
    colours = (
        *((118, 118, 118), (160, 40, 40), (40, 150, 60), (40, 60, 160), (200, 200, 200), (20, 20, 20)),
        *((0, 0, 0), (30, 28, 40), (90, 70, 50), (60, 60, 60), (10, 30, 10), (140, 140, 40)),
    )
    return np.repeat(np.repeat(np.array(colours, np.uint8).reshape(4, 3, 3), 32, axis=0), 32, axis=1)


def centres(pixels: Samples) -> Any:
    """The middle of each patch, in 8 bits but not rounded."""
    return pixels[16::32, 16::32] / (257 if pixels.dtype == np.uint16 else 1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_known_colours_come_out_of_the_sensor_and_upright(orientation: int, order: str) -> None:
    stored = raw_files.linear(media.stored(patches(), orientation))
    photo = decode(raw_files.dng(stored, orientation=orientation, order=order), max_pixels=MAX_PX)
    (frame,) = photo.frames
    assert (photo.format, frame.pixels.dtype, frame.size) == ("raw", np.uint16, (96, 128))
    assert np.abs(centres(frame.pixels) - centres(patches())).max() < 0.5


def test_a_dark_raw_is_not_brightened_and_keeps_its_fine_steps() -> None:
    light = np.tile(np.linspace(0, 0.01, 400)[None, :, None], (32, 1, 3))
    (frame,) = decode(raw_files.dng(light), max_pixels=MAX_PX).frames
    assert (
        np.abs(frame.pixels[8, 8:-8] - raw_files.srgb(light[8, 8:-8])).max() < 130
    )  # a step of the sensor is 52 to 105
    assert len(np.unique(frame.pixels[8, :, 1])) > 100  # 8 bits have 26 steps there


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_the_preview_is_turned_as_the_raw_image_is(orientation: int) -> None:
    stored = media.stored(patches(), orientation)
    coded = raw_files.dng(raw_files.linear(stored), orientation=orientation, jpeg=media.jpeg(stored, quality=95))
    photo = decode(coded, max_pixels=MAX_PX, raw_preview=True)
    (frame,) = photo.frames
    assert (frame.pixels.dtype, frame.size) == (np.uint8, (96, 128))
    assert np.abs(centres(frame.pixels) - centres(patches())).max() < 6
    assert photo.coding.quantisation
    assert photo.metadata.exif and photo.metadata.exif.count(media.TAKEN) == 2


@pytest.mark.parametrize(("preview", "written"), [(False, "tiff"), (True, "jpeg"), (False, "png")])
def test_make_date_exposure_and_place_are_kept_and_nothing_of_the_sensor(preview: bool, written: str) -> None:
    scene = media.night()
    coded = raw_files.dng(raw_files.linear(scene), orientation=6, jpeg=media.jpeg(scene), xmp=media.xmp_packet(6))
    photo = decode(coded, max_pixels=MAX_PX, raw_preview=preview)
    again = decode(encode(photo, written, quality=None)[0], max_pixels=MAX_PX)
    assert again.format == written
    assert again.frames[0].size == (64, 96)
    assert again.metadata.exif is not None
    kept = ifd.read(again.metadata.exif)
    assert kept.fields[271].value == b"Nightcam\x00"
    assert kept.nested[EXIF].fields[33434].value == struct.pack("<II", 1, 30)
    assert kept.nested[EXIF].fields[36867].value == media.TAKEN
    assert kept.nested[GPS].fields[2].value == media.GPS_LATITUDE
    assert not {274, 330, 50706, 50721} & {*kept.fields} or kept.fields[274].value == b"\x01\x00"
    assert again.metadata.xmp is not None and b"Orientation>6" not in again.metadata.xmp
    assert photo.notes == ["maker note dropped: it is valid only inside the raw file"]


def test_settings_to_develop_it_again_are_dropped() -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r xmlns:crs="c" crs:Exposure2012="+3.0"/></x:xmpmeta>'
    photo = decode(raw_files.dng(raw_files.linear(media.night()), xmp=packet), max_pixels=MAX_PX)
    assert photo.metadata.xmp is None
    assert any(note.startswith("XMP dropped") for note in photo.notes)


def test_of_several_shots_the_first_is_developed() -> None:
    photo = decode(raw_files.dng(raw_files.linear(media.night()), shots=2), max_pixels=MAX_PX)
    assert "only the first of several shots kept" in photo.notes


@pytest.mark.parametrize(
    "content",
    [
        b"II*\x00\x10\x00\x00\x00CR\x02\x00",
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\x00\x00\x00",
        b"IIU\x00\x18\x00\x00\x00",
        b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01",
        b"II*\x00\x08\x00\x00\x00IIII",
        raw_files.dng(np.zeros((16, 16, 3))),
        media.saved(media.night(), "TIFF", tiffinfo={50706: b"\x01\x04\x00\x00"}),
    ],
)
def test_raw_files_are_told_from_tiffs_by_their_content(content: bytes) -> None:
    assert format_of_content(content) == "raw"


def test_a_raw_without_a_dng_version_is_told_by_its_second_image() -> None:
    content = raw_files.dng(np.zeros((16, 16, 3)), order=">")
    field = struct.pack(">HHI", 50706, 1, 4)
    assert content.count(field) == 1
    assert format_of_content(content.replace(field, struct.pack(">HHI", 50999, 1, 4))) == "raw"
    assert format_of_content(media.saved(media.night(), "TIFF")) == "tiff"


def test_a_file_that_was_cut_short_is_damaged_and_silent(capfd: pytest.CaptureFixture[str]) -> None:
    whole = raw_files.dng(raw_files.linear(media.night(240, 160)))
    size = struct.pack("<HHII", 279, 4, 1, 240 * 160 * 2)
    with pytest.raises(Damaged, match=r"cut short: [\d,]+ bytes are missing"):
        decode(whole.replace(size, struct.pack("<HHII", 279, 4, 1, 2 * len(whole))), max_pixels=MAX_PX)
    place = whole.rindex(struct.pack("<HHI", 273, 4, 1), 0, whole.index(size)) + 8
    with pytest.raises(Damaged):  # said by LibRaw itself
        decode(whole[:place] + struct.pack("<I", len(whole) - 70_000) + whole[place + 4 :], max_pixels=MAX_PX)
    assert tuple(capfd.readouterr()) == ("", "")


def test_what_libraw_cannot_read_is_named_with_its_words() -> None:
    with pytest.raises(Unsupported, match=r"LibRaw [\d.]+ cannot read this camera raw file \(Unsupported file format"):
        decode(b"FUJIFILMCCD-RAW 0201" + bytes(400), max_pixels=MAX_PX)
    with pytest.raises(Unsupported, match="no embedded JPEG; use --raw develop"):
        decode(raw_files.dng(raw_files.linear(media.night())), max_pixels=MAX_PX, raw_preview=True)


def test_the_limit_of_pixels_holds_before_developing() -> None:
    with pytest.raises(TooLarge, match="6144 pixels"):
        decode(raw_files.dng(raw_files.linear(media.night())), max_pixels=6143)


def test_without_its_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(MissingExtra, match=r'pip install "nightlift\[raw\]"'):
        decode(raw_files.dng(raw_files.linear(media.night())), max_pixels=MAX_PX)
