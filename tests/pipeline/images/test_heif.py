"""HEIC, read and written by libheif."""

import sys
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from pipeline.errors import MissingExtra
from pipeline.images import Coding, Frame, Metadata, Photo, decode, encode
from tests.support import media

MAX_PX = 10_000_000


def psnr(one: Any, other: Any) -> float:
    return float(10 * np.log10(255**2 / np.mean((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2)))


def test_heic_is_read_upright_and_in_16_bits_where_it_has_more_than_8() -> None:
    scene = media.night()
    for orientation in (1, 6):
        pixels = media.stored(scene, orientation)
        file = pillow_heif.from_pillow(Image.fromarray(pixels))
        block = media.exif_block(orientation, size=(pixels.shape[1], pixels.shape[0]))
        buffer = BytesIO()
        file.save(buffer, quality=95, exif=block, chroma=444)
        photo = decode(buffer.getvalue(), max_pixels=MAX_PX)
        assert photo.format == "heif"
        assert psnr(photo.frames[0].pixels, scene) > 35
        with Image.open(BytesIO(encode(photo, "jpeg", quality=95)[0])) as image:
            camera = image.getexif().get_ifd(0x8769)
            assert image.size == (camera[0xA002], camera[0xA003]) == (96, 64)
            assert image.getexif()[0x0112] == 1
    deep = pillow_heif.from_bytes("RGB;16", (40, 30), media.night_16().tobytes())
    buffer = BytesIO()
    deep.save(buffer, quality=100, chroma=444)
    found = decode(buffer.getvalue(), max_pixels=MAX_PX).frames[0].pixels
    assert found.dtype == np.uint16
    assert np.abs(found.astype(int) - media.night_16()).mean() < 600


def test_heic_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtra, match=r'pip install "nightlift\[heif\]"'):
        decode(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(40), max_pixels=MAX_PX)


def test_heic_is_written_with_what_a_photo_holds() -> None:
    scene, alpha = media.night(), media.soft_alpha()
    packet = media.xmp_packet(orientation=6)  # no viewer of the source obeys it
    held = Metadata(exif=media.exif_block(1), icc=media.rgb_profile(), xmp=packet)
    photo = Photo(format="png", frames=[Frame(pixels=scene, alpha=alpha)], metadata=held)
    coded, notes = encode(photo, "heif", quality=90)
    again = decode(coded, max_pixels=MAX_PX)
    assert notes == again.notes == []
    assert (again.format, again.coding.sampling) == ("heif", "4:4:4")
    assert psnr(again.frames[0].pixels, scene) > 40
    assert again.frames[0].alpha is not None and np.allclose(again.frames[0].alpha, alpha, atol=2)
    assert again.metadata.icc == held.icc
    assert again.metadata.exif == decode(media.saved(scene, "WEBP", exif=held.exif), max_pixels=MAX_PX).metadata.exif
    assert b"irot" not in coded and b"Nachtkamera" in coded
    assert len(encode(photo, "heif", quality=40)[0]) < len(coded)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_heic_becomes_a_heic_of_the_same_bits_and_sampling_and_stays_upright(orientation: int) -> None:
    stored = media.stored(media.night(), orientation)
    samples = (stored.astype(np.uint16) << 8) | stored
    size = stored.shape[1], stored.shape[0]
    buffer = BytesIO()
    exif = media.exif_block(orientation, size=size)
    pillow_heif.encode(
        "RGB;16", size, samples.tobytes(), buffer, quality=95, bit_depth=10, subsampling="4:2:2", exif=exif
    )
    photo = decode(buffer.getvalue(), max_pixels=MAX_PX)
    coded, notes = encode(photo, "heif", quality=95)
    found = pillow_heif.open_heif(BytesIO(coded), convert_hdr_to_8bit=False)
    assert photo.notes == notes == []
    assert (found.info["bit_depth"], found.info["chroma"], found.size) == (10, 422, (96, 64))
    again = decode(coded, max_pixels=MAX_PX)
    assert psnr(again.frames[0].pixels / 257, media.night()) > 38
    with Image.open(BytesIO(encode(again, "jpeg", quality=90)[0])) as image:
        assert (image.size, image.getexif()[0x0112]) == ((96, 64), 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_become_12_and_grey_stays_grey(channels: int) -> None:
    pixels = np.ascontiguousarray(media.night_16()[..., :channels])
    pixels[:8] = 65535
    coded, notes = encode(Photo(format="png", frames=[Frame(pixels=pixels)]), "heif", quality=100)
    found = decode(coded, max_pixels=MAX_PX)
    assert notes == ["16 bits became 12: HEIF holds no more"]
    assert found.coding.bits == 12
    assert found.frames[0].pixels.shape == pixels.shape
    assert np.abs(found.frames[0].pixels.astype(int) - pixels).mean() < 150


def test_writing_heic_without_its_extra_or_its_encoder_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Photo(format="png", frames=[Frame(pixels=media.night())], coding=Coding())
    monkeypatch.setattr(pillow_heif, "libheif_info", lambda: {"HEIF": ""})
    with pytest.raises(MissingExtra, match="without an encoder of HEIC; install its wheel: pip install pillow-heif"):
        encode(photo, "heif", quality=None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtra, match=r'to write HEIC, install the extra: pip install "nightlift\[heif\]"'):
        encode(replace(photo), "heif", quality=None)
