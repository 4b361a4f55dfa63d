"""JPEG XL in and out; what is written is judged by imagecodecs' own functions, and by what it was made of."""

import struct
import sys
from dataclasses import replace
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from model.curve.srgb import decoded
from pipeline.errors import Damaged, MissingExtra, TooLarge
from pipeline.images import FORMATS, Coding, Frame, Metadata, Photo, decode, encode
from pipeline.images.color import cicp
from pipeline.images.jxl import libjxl
from pipeline.images.metadata import exif
from pipeline.video.signal.transfer import HDR, TO_BT709
from tests.support import media
from tests.support.media import Samples

MAX_PX = 1_000_000
CONTAINER = b"\x00\x00\x00\x0cJXL "
LOSSLESS = Coding(lossless=True)


def photo_of(pixels: Samples, alpha: Samples | None = None, **more: object) -> Photo:
    return Photo(format="png", frames=[Frame(pixels=pixels, alpha=alpha)], **more)  # type: ignore[arg-type]


def written(photo: Photo, quality: int | None = None) -> bytes:
    coded, notes = encode(photo, "jxl", quality=quality)
    assert notes == []
    return coded


def read(coded: bytes) -> Photo:
    photo = decode(coded, max_pixels=MAX_PX)
    assert photo.format == "jxl"
    return photo


@pytest.mark.parametrize("pixels", [media.night(), media.night_16(), media.night()[..., :1], media.night_16()[..., :1]])
def test_lossless_is_exact_in_both_directions_and_stays_lossless(pixels: Samples) -> None:
    coded = written(photo_of(np.ascontiguousarray(pixels), coding=LOSSLESS))
    assert np.array_equal(imagecodecs.jpegxl_decode(coded).reshape(pixels.shape), pixels)
    assert read(coded).metadata == Metadata()
    theirs = imagecodecs.jpegxl_encode(pixels.squeeze(), lossless=True)
    for each in (coded, theirs):
        photo = read(each)
        assert photo.coding.lossless
        assert photo.frames[0].pixels.dtype == pixels.dtype
        assert np.array_equal(photo.frames[0].pixels, pixels)


def test_lossy_stays_lossy_by_quality() -> None:
    scene = media.night(240, 160)
    sizes = [len(written(photo_of(scene), quality)) for quality in (40, None, 99, 100)]
    assert sizes == sorted(sizes)
    photo = read(written(photo_of(scene)))
    assert not photo.coding.lossless
    assert np.abs(photo.frames[0].pixels.astype(int) - scene).mean() < 2
    assert np.array_equal(read(written(photo_of(scene), 100)).frames[0].pixels, scene)


def test_sixteen_bits_are_read_from_lossy_files_too() -> None:
    photo = read(written(photo_of(media.night_16())))
    assert photo.frames[0].pixels.dtype == np.uint16
    assert np.abs(photo.frames[0].pixels.astype(int) - media.night_16()).mean() < 600


@pytest.mark.parametrize("quality", [None, 100])
def test_metadata_profile_and_alpha_survive(quality: int | None) -> None:
    metadata = Metadata(
        exif=exif.upright(media.exif_block(6), (96, 64)), icc=media.rgb_profile(), xmp=media.xmp_packet(1)
    )
    photo = read(written(photo_of(media.night(), media.soft_alpha(), metadata=metadata), quality))
    assert photo.metadata.exif == exif.without_previews(metadata.exif or b"")
    assert photo.metadata.xmp == metadata.xmp
    assert np.array_equal(photo.frames[0].alpha, media.soft_alpha())  # type: ignore[arg-type]
    assert photo.metadata.icc == (metadata.icc if quality else None)  # sRGB, which lossy files state by number


def _odd_profile() -> bytes:
    """Return BT.2020 with a curve that no number stands for."""
    profile, gamma = cicp.profile(9, 1) or b"", struct.pack(">i", round(65536 / 0.45))
    return profile.replace(gamma, struct.pack(">i", 3 * 65536))


@pytest.mark.parametrize("profile", [cicp.profile(9, 13), cicp.profile(12, 13), _odd_profile()])
def test_wide_colours_look_the_same(profile: bytes) -> None:
    before = photo_of(media.landscape(), metadata=Metadata(icc=profile))
    photo = read(written(before, 99))
    assert np.abs(_in_srgb(photo) - _in_srgb(before)).mean() < 2
    odd = profile == _odd_profile()
    assert photo.notes == (["ICC profile became Display P3, as the file is lossy"] if odd else [])


def _in_srgb(photo: Photo) -> Any:
    profile = ImageCms.ImageCmsProfile(BytesIO(photo.metadata.icc or b""))
    image = Image.fromarray(photo.frames[0].pixels)
    return np.asarray(ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB")), np.float64)


def test_the_orientation_is_applied_once() -> None:
    scene = media.night()
    stored = media.stored(scene, 6)
    coded = written(photo_of(stored, coding=LOSSLESS, metadata=Metadata(exif=media.exif_block(6))))
    upright = read(coded)  # EXIF's orientation counts for nothing, as ISO/IEC 18181-2 says
    assert np.array_equal(upright.frames[0].pixels, stored)
    assert exif.orientation(upright.metadata.exif or b"") == 1
    turned = _with_orientation(stored, 6)
    assert np.array_equal(read(turned).frames[0].pixels, scene)


def _with_orientation(pixels: Samples, orientation: int) -> bytes:
    """A lossless file that states an orientation in its codestream."""
    with pytest.MonkeyPatch.context() as patch:
        actual = libjxl.library().JxlEncoderSetBasicInfo

        def turned(encoder: object, info: object) -> object:
            info._obj.orientation = orientation  # type: ignore[attr-defined]
            return actual(encoder, info)

        patch.setattr(libjxl.library(), "JxlEncoderSetBasicInfo", turned)
        return written(photo_of(pixels, coding=LOSSLESS))


def test_animations_keep_frames_times_and_loops() -> None:
    frames = [Frame(pixels=media.night(24, 16, seed=seed), duration_ms=40 + 100 * seed) for seed in range(3)]
    moving = Photo(format="gif", frames=frames, loop=2, coding=LOSSLESS)
    photo = read(written(moving))
    assert [frame.duration_ms for frame in photo.frames] == [40, 140, 240]
    assert photo.animated and photo.loop == 2
    for frame, before in zip(photo.frames, frames, strict=True):
        assert np.array_equal(frame.pixels, before.pixels)
    again = read(written(replace(photo, loop=0)))
    assert again.loop == 0
    with pytest.raises(TooLarge, match="2 frames"):
        decode(written(moving), max_pixels=24 * 16)


def test_a_jpeg_made_smaller_without_loss_is_read_and_is_no_lossless_photo() -> None:
    coded = media.jpeg(
        media.night(), quality=90, exif=b"Exif\x00\x00" + media.exif_block(1), icc_profile=media.rgb_profile()
    )
    photo = read(imagecodecs.jpegxl_encode_jpeg(coded, usecontainer=True))
    assert not photo.coding.lossless
    before = decode(coded, max_pixels=MAX_PX)
    assert np.abs(photo.frames[0].pixels.astype(int) - before.frames[0].pixels).max() < 12
    assert photo.metadata.exif == before.metadata.exif
    assert photo.metadata.icc == before.metadata.icc


def test_bare_codestreams_and_containers_are_both_read() -> None:
    bare = written(photo_of(media.night()))
    boxed = written(photo_of(media.night(), metadata=Metadata(xmp=media.xmp_packet(1))))
    assert bare.startswith(b"\xff\x0a") and boxed.startswith(CONTAINER)
    assert np.array_equal(read(bare).frames[0].pixels, read(boxed).frames[0].pixels)


@pytest.mark.parametrize(("primaries", "transfer", "channels"), [(9, 16, 3), (12, 18, 3), (1, 16, 3), (9, 18, 1)])
def test_high_dynamic_range_is_kept(primaries: int, transfer: int, channels: int) -> None:
    pixels = np.ascontiguousarray(media.night_16()[..., :channels])
    metadata = Metadata(cicp=(primaries, transfer))
    coded = written(photo_of(pixels, metadata=metadata, coding=Coding(lossless=True, peak_cd=4000)))
    assert np.array_equal(imagecodecs.jpegxl_decode(coded).reshape(pixels.shape), pixels)
    photo = decode(coded, max_pixels=MAX_PX, hdr_for=FORMATS["jxl"])
    assert (photo.metadata, photo.coding.peak_cd, photo.notes) == (metadata, 4000, [])
    assert np.array_equal(photo.frames[0].pixels, pixels)
    lossy = decode(written(replace(photo, coding=Coding())), max_pixels=MAX_PX, hdr_for=FORMATS["png"])
    assert lossy.metadata == metadata
    assert np.abs(lossy.frames[0].pixels.astype(int) - pixels).mean() < 1500
    shown = read(coded)
    assert shown.notes == [f"{HDR[transfer]} became SDR"]
    assert (shown.metadata, shown.frames[0].pixels.dtype) == (Metadata(), np.uint8)


@pytest.mark.parametrize("lossless", [True, False])
def test_linear_light_brighter_than_white_is_hdr(lossless: bool) -> None:
    light = (decoded(media.night_16() / 65535) * 0.5).astype(np.float32)
    plain = read(imagecodecs.jpegxl_encode(light, lossless=lossless))
    assert plain.metadata.cicp is None and plain.metadata.icc is not None
    assert np.abs(plain.frames[0].pixels / 65535 - light).mean() < (1e-5 if lossless else 0.01)
    light[10:26, 10:26] = 12, 12, 8
    coded = imagecodecs.jpegxl_encode(light, lossless=lossless)
    photo = decode(coded, max_pixels=MAX_PX, hdr_for=FORMATS["jxl"])
    assert (photo.metadata.cicp, photo.metadata.icc) == ((9, 16), None)
    assert "light beyond that of SDR became PQ" in photo.notes
    power = (photo.frames[0].pixels / 65535) ** (32 / 2523)  # BT.2100, table 4
    light_cd = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (16384 / 2610)
    back = light_cd / 255 @ np.array(TO_BT709[9]).T
    assert np.abs(back - light).mean() < (2e-3 if lossless else 0.05)
    assert back[14:22, 14:22].mean(axis=(0, 1)) == pytest.approx((12, 12, 8), rel=0.01 if lossless else 0.1)
    assert read(coded).frames[0].pixels.dtype == np.uint8


def test_limits_damage_and_a_missing_extra_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    coded = written(photo_of(media.night()))
    with pytest.raises(TooLarge, match="6144 pixels"):
        decode(coded, max_pixels=6143)
    with pytest.raises(Damaged, match="truncated or corrupt"):
        read(coded[: len(coded) // 2])
    with pytest.raises(Damaged):
        read(b"\xff\x0a" + bytes(50))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    libjxl.library.cache_clear()
    with pytest.raises(MissingExtra, match=r'pip install "nightlift\[jxl\]"'):
        read(coded)
    libjxl.library.cache_clear()


@pytest.mark.parametrize("quality", [None, 100])
def test_a_damaged_profile_is_dropped_and_said(quality: int | None) -> None:
    photo = photo_of(media.night(), metadata=Metadata(icc=media.rgb_profile()[:200] + bytes(300)))
    coded, notes = encode(photo, "jxl", quality=quality)
    assert notes == ["ICC profile dropped: it is damaged, or JPEG XL cannot hold it"]
    assert read(coded).metadata.icc is None
