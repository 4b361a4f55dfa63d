"""Colour that is not plain sRGB: ICC profiles, ink, grey with tones of its own, colour by numbers."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.images import Frame, Photo, decode, encode
from pipeline.images.color.cicp import profile
from pipeline.images.photo import Metadata
from tests.support import media

MAX_PX = 10_000_000


def read(coded: bytes) -> Photo:
    return decode(coded, max_pixels=MAX_PX)


def opened(coded: bytes) -> Image.Image:
    return Image.open(BytesIO(coded))


def test_cmyk_becomes_srgb_by_its_profile_and_loses_it() -> None:
    inks = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    plain, managed = (
        read(media.jpeg(inks, quality=95, icc_profile=profile)) for profile in (b"", media.cmyk_profile())
    )
    assert plain.frames[0].pixels[4, 4].tolist() == pytest.approx([0, 255, 255], abs=4)
    # the profile says cyan is Lab(65, -35, -45): in sRGB about (0, 174, 239)
    assert managed.frames[0].pixels[4, 4].tolist() == pytest.approx([0, 174, 239], abs=14)
    assert plain.notes == ["CMYK converted to sRGB without a profile"]
    assert managed.notes == ["CMYK converted to sRGB", "ICC profile dropped: it is for CMYK, but the pixels are not"]
    coded, _ = encode(managed, "jpeg", quality=None)
    with opened(coded) as image:
        assert (image.mode, image.info.get("icc_profile")) == ("RGB", None)


def test_grey_with_its_own_tones_looks_the_same_in_a_format_without_grey() -> None:
    grey = np.full((8, 8), 55, np.uint8)  # of 255, linear in light: 127 in sRGB
    photo = read(media.saved(grey, "PNG", icc_profile=media.grey_profile()))
    assert photo.metadata.icc == media.grey_profile()
    coded, notes = encode(photo, "webp", quality=None)
    assert notes == ["grey profile became sRGB"]
    with opened(coded) as image:
        assert "icc_profile" not in image.info
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - 127).max() <= 2
    kept, notes = encode(photo, "jpeg", quality=None)
    with opened(kept) as image:
        assert (image.mode, image.info["icc_profile"], notes) == ("L", media.grey_profile(), [])


def test_a_grey_profile_that_cannot_be_used_is_said_to_be_dropped() -> None:
    grey = Frame(pixels=np.full((8, 8, 1), 55, np.uint8))
    photo = Photo(format="png", frames=[grey], metadata=Metadata(icc=media.grey_profile()[:140]))
    coded, notes = encode(photo, "webp", quality=None)
    assert notes == ["grey profile dropped: it is damaged, and WEBP has no grey"]
    with opened(coded) as image:
        assert "icc_profile" not in image.info
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - 55).max() <= 2


def test_wide_colour_by_numbers_becomes_a_profile_that_colour_management_reads() -> None:
    icc = profile(12, 13)
    assert icc is not None
    source = ImageCms.ImageCmsProfile(BytesIO(icc))
    assert ImageCms.getProfileDescription(source).strip() == "Display P3"
    colours = Image.new("RGB", (1, 1), (200, 150, 100))
    seen = ImageCms.profileToProfile(colours, source, ImageCms.createProfile("sRGB"))
    assert seen is not None
    # CSS Color 4: color(display-p3 0.784 0.588 0.392) in sRGB
    assert np.allclose(seen.getpixel((0, 0)), (209, 147, 91), atol=1)
    assert profile(1, 13) is None


def numbered(primaries: int, transfer: int, icc: bytes | None = None) -> bytes:
    """A PNG whose colour space is stated by the numbers of H.273 (PNG third edition, section 11.3.2.6)."""
    cicp = media.png_chunk(b"cICP", bytes((primaries, transfer, 0, 1)))
    return media.with_chunks(media.saved(media.night(), "PNG", **({"icc_profile": icc} if icc else {})), cicp)


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 1), (12, 13)])
def test_wide_colour_by_numbers_in_png_becomes_a_profile_elsewhere(primaries: int, transfer: int) -> None:
    photo = read(numbered(primaries, transfer))
    with opened(encode(photo, "jpeg", quality=None)[0]) as image:
        assert image.info["icc_profile"] == profile(primaries, transfer)
    own = encode(photo, "png", quality=None)[0]
    assert own.count(b"cICP") == 1
    assert b"iCCP" not in own  # as in the source: the numbers say it all
    assert read(own).metadata == photo.metadata


def test_a_png_with_numbers_and_a_profile_keeps_both_as_they_were() -> None:
    icc = profile(12, 13)
    assert icc is not None
    icc += bytes(4)  # another's profile of the same space
    photo = read(numbered(12, 13, icc))
    coded, _ = encode(photo, "png", quality=None)
    assert photo.metadata.icc == icc
    assert read(coded).metadata == photo.metadata
    assert (coded.count(b"cICP"), coded.count(b"iCCP")) == (1, 1)


def test_ordinary_colour_by_numbers_needs_no_profile() -> None:
    photo = read(numbered(1, 13))
    coded, _ = encode(photo, "png", quality=None)
    assert photo.metadata.icc is None
    assert coded.count(b"cICP") == 1
