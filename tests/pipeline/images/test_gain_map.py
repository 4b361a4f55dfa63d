"""Photos with gain maps: HDR screens show the lifted scene, with lamps as bright as before."""

import struct
from dataclasses import astuple, replace
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.images import Frame, Photo, decode, encode
from pipeline.images.gain_map import gains, metadata, reading
from pipeline.images.isobmff.reading import items_of
from pipeline.images.photo import Gains
from tests.support import gain_maps, media

MAX_PX = 10_000_000
MOST = 3.0
LUMINANCE = (0.2126, 0.7152, 0.0722)
DROPPED = "gain map dropped: it describes the brightness before enhancement"


def lifted(photo: Photo) -> Photo:
    """A stand-in for the network: dark levels become brighter, bright ones hardly."""
    levels = np.rint(255 * (np.arange(256) / 255) ** 0.5).astype(np.uint8)
    return replace(photo, frames=[replace(frame, pixels=levels[frame.pixels]) for frame in photo.frames])


def scene() -> npt.NDArray[np.uint8]:
    """The street with lamps that are white, large and smooth enough for a map of half its size."""
    y, x = np.mgrid[:64, :96] / np.array((64, 96)).reshape(2, 1, 1)
    lamp = np.exp(-((x - 0.5) ** 2 + (y - 0.4) ** 2) / 0.03)
    return np.rint((12 + 6 * x + 300 * lamp)[..., None] * (1, 0.9, 0.7)).clip(0, 255).astype(np.uint8)


def map_values(least: float, channels: int = 1) -> npt.NDArray[np.uint8]:
    """A gain of 0 stops (or `least`, if more) up to the base's light of 0.2, and of MOST stops for white."""
    light = gain_maps.light(scene()[::2, ::2])
    gain = MOST * np.clip((light if channels == 3 else light[..., :1]) - 0.2, 0, 0.8) / 0.8
    return np.rint((np.maximum(gain, least) - least) / (MOST - least) * 255).astype(np.uint8).squeeze()


def photo_with_map(*, least: float = 0.0, channels: int = 1, kinds: str = "xmp iso", segments: bytes = b"") -> bytes:
    base = media.with_segments(media.jpeg(scene(), quality=98, subsampling=0), segments)
    gain_map = media.jpeg(map_values(least, channels), quality=98, subsampling=0)
    xmp = gain_maps.hdrgm(least, MOST) if "xmp" in kinds else b""
    return gain_maps.ultra_hdr(base, gain_map, xmp=xmp, iso=gain_maps.iso(least, MOST) if "iso" in kinds else b"")


def rewritten(coded: bytes) -> bytes:
    photo = decode(coded, max_pixels=MAX_PX)
    assert photo.notes == []
    written, notes = encode(lifted(photo), "jpeg", quality=None)
    assert notes == []
    return written


@pytest.mark.parametrize("size", [(48, 32), (24, 32), (20, 13)])
@pytest.mark.parametrize("shape", [(64, 96, 3), (63, 95, 1)])
def test_a_map_is_compared_with_means_of_the_photos_pixels(size: tuple[int, int], shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = Image.fromarray(pixels.squeeze())
    exact = np.asarray(image.resize(size, Image.Resampling.BOX)).reshape(size[1], size[0], -1)
    found = gains.reduced(Frame(pixels=pixels), size)
    assert found.shape == exact.shape
    assert np.abs(found.astype(int) - exact).max() <= 1


@pytest.mark.parametrize(("least", "channels"), [(0.0, 1), (0.0, 3), (-1.0, 1), (0.4, 1)])
def test_hdr_screens_show_the_lifted_scene_with_lamps_as_bright_as_before(least: float, channels: int) -> None:
    source = photo_with_map(least=least, channels=channels)
    base_before, hdr_before = (each @ LUMINANCE for each in gain_maps.shown(source))
    base_after, hdr_after = (each @ LUMINANCE for each in gain_maps.shown(rewritten(source)))
    lamp, dark = base_before > 0.8, base_before < 0.05
    assert hdr_before.max() > 7 * base_before.max()
    assert (hdr_after / hdr_before)[lamp].mean() == pytest.approx(1, abs=0.03)
    factor = 2 ** max(least, 0)  # a map that makes all of a photo brighter goes on to do so, by less
    assert base_after[dark].mean() > 3 * base_before[dark].mean()
    assert base_after[dark].mean() * 0.98 < hdr_after[dark].mean() < base_after[dark].mean() * factor * 1.02
    assert np.abs(hdr_after - hdr_before - (base_after - base_before)).mean() < 0.02 * hdr_before.max() / 8
    assert (hdr_after > base_after * 0.97 - 0.003).all()


@pytest.mark.parametrize("kinds", ["xmp", "iso", "xmp iso"])
def test_a_map_is_found_by_either_of_its_descriptions_and_written_with_both(kinds: str) -> None:
    written = rewritten(photo_with_map(kinds=kinds))
    second = gain_maps.second_image(written)
    assert gain_maps.shown(written)[1].max() == pytest.approx(8, rel=0.05)
    at = second.index(gain_maps.ISO) + len(gain_maps.ISO)
    numbers = [n / d for n, d in struct.iter_unpack(">iI", second[at + 5 : at + 5 + 7 * 8])]
    assert second[at : at + 5] == b"\x00\x00\x00\x00\x40"
    assert numbers == [0, MOST, 0, MOST, 1, 1 / 64, 1 / 64]
    assert written.index(gain_maps.ISO) < written.index(second)
    again = decode(written, max_pixels=MAX_PX)
    assert again.notes == [] and again.metadata.gain_map is not None


def test_a_map_stays_as_it_is_if_nothing_is_enhanced() -> None:
    source = photo_with_map()
    photo = decode(source, max_pixels=MAX_PX)
    second = gain_maps.second_image(encode(photo, "jpeg", quality=90)[0])
    before = gain_maps.second_image(source)
    assert second[second.index(b"\xff\xda") :] == before[before.index(b"\xff\xda") :]
    assert np.array_equal(np.asarray(Image.open(BytesIO(second))), np.asarray(Image.open(BytesIO(before))))


def test_a_map_turns_with_its_photo() -> None:
    exif = media.jpeg_segment(0xE1, b"Exif\x00\x00" + media.exif_block(6))
    written = rewritten(photo_with_map(segments=exif))
    with Image.open(BytesIO(written)) as image:
        assert image.size == (64, 96)
    base, hdr = gain_maps.shown(written)
    ratio = (hdr[..., 1] + 1 / 64) / (base[..., 1] + 1 / 64)
    upright = gain_maps.light(scene())[..., 1].T[:, ::-1]  # row 0 is shown on the right
    assert ratio[upright > 0.6].min() > 2 > 1.3 > ratio[upright < 0.01].max()


def test_a_map_is_dropped_and_said_where_it_has_no_place_or_cannot_be_read() -> None:
    photo = decode(photo_with_map(), max_pixels=MAX_PX)
    coded, notes = encode(lifted(photo), "webp", quality=None)
    assert notes == ["gain map dropped: WEBP has no place for it"]
    assert b"hdrgm:Version" not in coded
    source = photo_with_map()
    scan = source.rindex(b"\xff\xda")
    photo = decode(source[: scan + 20], max_pixels=MAX_PX)
    assert DROPPED in photo.notes
    assert b"hdrgm:Version" not in encode(photo, "jpeg", quality=None)[0]


def rec709(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Light by the curve of ITU-R BT.709, which iPhones code their maps with."""
    x = values / 255
    return np.where(x < 0.081, x / 4.5, ((x + 0.099) / 1.099) ** (1 / 0.45))


@pytest.mark.parametrize(
    ("xmp", "exif", "headroom"),
    [
        ('HDRGainMap:HDRGainMapVersion="131072" HDRGainMap:HDRGainMapHeadroom="4.5"', b"", 4.5),
        ('HDRGainMap:HDRGainMapVersion="65536"', gain_maps.apple_exif(0.9, 0.005), 2**1.7),
        ('HDRGainMap:HDRGainMapVersion="65536"', gain_maps.apple_exif(1.01, 0.1), 2**2.2727),
        ('HDRGainMap:HDRGainMapVersion="65536"', gain_maps.apple_exif(0.5, 0.5), 2**1.5505),
    ],
)
@pytest.mark.parametrize("kind", ["jpeg", "heic"])
def test_the_map_of_an_iphone_is_written_in_the_terms_of_all(kind: str, xmp: str, exif: bytes, headroom: float) -> None:
    values = map_values(0.0).repeat(2, 0).repeat(2, 1)
    packet = gain_maps.packet(xmp)
    if kind == "heic":
        source = gain_maps.apple_heic(scene(), values, packet, exif or media.exif_block(1))
    else:
        segment = media.jpeg_segment(0xE1, b"Exif\x00\x00" + exif) if exif else b""
        base = media.with_segments(media.jpeg(scene(), quality=98, subsampling=0), segment)
        source = gain_maps.ultra_hdr(base, media.jpeg(values, quality=98), xmp=packet)
    photo = decode(source, max_pixels=MAX_PX)
    coded, notes = encode(photo, "jpeg", quality=98)
    base, hdr = gain_maps.shown(coded)
    expected = base * (1 + (headroom - 1) * rec709(values)[..., None])
    assert photo.notes == []
    assert notes == ["Apple's gain map became one by Ultra HDR and ISO 21496-1"]
    assert hdr.max() == pytest.approx(headroom, rel=0.03)
    assert np.abs(hdr - expected).mean() < 0.02
    assert encode(photo, "heif", quality=50)[1] == ["gain map dropped: HEIF has no place for it"]


def test_a_map_of_ultra_hdr_in_heic_is_read() -> None:
    values = map_values(0.0).repeat(2, 0).repeat(2, 1)
    source = gain_maps.apple_heic(scene(), values, gain_maps.hdrgm(0, MOST), media.exif_block(1))
    coded, notes = encode(decode(source, max_pixels=MAX_PX), "jpeg", quality=98)
    assert notes == []
    assert gain_maps.shown(coded)[1].max() == pytest.approx(8, rel=0.03)


def test_a_map_of_an_iphone_that_says_nothing_of_its_brightness_is_dropped_and_said() -> None:
    packet = gain_maps.packet('HDRGainMap:HDRGainMapVersion="65536"')
    photo = decode(gain_maps.apple_heic(scene(), scene()[..., 0], packet, media.exif_block(1)), max_pixels=MAX_PX)
    assert photo.notes == [DROPPED]


def test_a_map_of_another_shape_than_its_photo_is_dropped_and_said() -> None:
    base, gain_map = media.jpeg(scene()[:, :60]), media.jpeg(map_values(0.0))
    photo = decode(gain_maps.ultra_hdr(base, gain_map, xmp=gain_maps.hdrgm(0, MOST)), max_pixels=MAX_PX)
    assert photo.metadata.gain_map is None and DROPPED in photo.notes


@pytest.mark.parametrize(("least", "channels"), [(0.0, 1), (-1.0, 3)])
def test_a_map_goes_through_avif(least: float, channels: int) -> None:
    source = decode(photo_with_map(least=least, channels=channels), max_pixels=MAX_PX)
    direct, _ = encode(lifted(source), "jpeg", quality=98)
    coded, notes = encode(source, "avif", quality=98)
    stored = decode(coded, max_pixels=MAX_PX)
    again, more_notes = encode(lifted(stored), "avif", quality=98)
    read = decode(again, max_pixels=MAX_PX)
    assert notes == more_notes == stored.notes == read.notes == []
    assert stored.metadata.gain_map is not None and source.metadata.gain_map is not None
    assert stored.metadata.gain_map.gains == source.metadata.gain_map.gains
    for one, other in zip(gain_maps.shown(direct), gain_maps.shown(encode(read, "jpeg", quality=98)[0]), strict=True):
        assert np.abs(one - other).mean() < 0.01 * one.max()
    with Image.open(BytesIO(again)) as image:  # libavif fails on a `tmap` that it knows to be wrong
        assert np.abs(np.asarray(image).astype(int) - read.frames[0].pixels).max() == 0


def test_items_of_a_map_in_avif_are_those_of_the_standard() -> None:
    """ISO/IEC 23008-12 section 6.6.2.4: `tmap` refers to image and map, and is preferred to the image."""
    coded, _ = encode(decode(photo_with_map(), max_pixels=MAX_PX), "avif", quality=90)
    items = items_of(coded)
    assert (items.primary, items.kinds) == (1, {1: b"av01", 2: b"mime", 3: b"av01", 4: b"tmap"})
    assert items.references == {(b"cdsc", 2): [1], (b"dimg", 4): [1, 3]}
    assert b"hdrgm:Version" not in coded
    assert coded[:40].count(b"tmap") == 1
    assert struct.pack(">III", 2, 4, 1) in coded[coded.index(b"altr") :][:24]
    assert items.contents[4][:6] == b"\0\0\0\0\0\x40"
    hdr_base = coded.replace(items.contents[4], items.contents[4][:5] + b"\x44" + items.contents[4][6:])
    photo = decode(hdr_base, max_pixels=MAX_PX)
    assert (photo.metadata.gain_map, photo.notes) == (None, [DROPPED])


def test_a_map_of_an_avif_that_cannot_be_used_is_dropped_and_said() -> None:
    coded = media.saved(scene(), "AVIF")
    photo = decode(coded, max_pixels=MAX_PX)
    assert photo.notes == []
    assert reading.read(photo, photo, coded.replace(b"MA1B", b"tmap", 1), MAX_PX) is None
    assert photo.notes == [DROPPED]


def test_numbers_for_each_channel_survive_in_both_forms() -> None:
    gains = Gains(
        least=(0.0, -0.5, 0.25),
        most=(1.0, 2.0, 3.0),
        gamma=(1.0, 0.8, 1.2),
        offset_sdr=(0.01, 0.02, 0.03),
        offset_hdr=(0.0, 0.1, 0.2),
        headroom_min=0.5,
        headroom_max=3.5,
    )
    for found in (metadata.of_iso(metadata.iso(gains)), metadata.of_xmp(metadata.xmp(gains))):
        assert found is not None
        for one, other in zip(astuple(found), astuple(gains), strict=True):
            assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        gain_maps.iso(0, 2)[28:60],  # cut short
        b"\x00\x01" + gain_maps.iso(0, 2)[30:],  # a version to come
        gain_maps.iso(0, 2)[28:].replace(struct.pack(">I", 4096), bytes(4)),  # divided by zero
        gain_maps.iso(0, -2)[28:],  # the photo is the HDR rendition, and the map makes it darker
        gain_maps.iso(-300, 300)[28:],
    ],
)
def test_numbers_that_nobody_can_compute_with_are_none(block: bytes) -> None:
    assert metadata.of_iso(block) is None


def test_a_broken_map_fails_no_photo() -> None:
    source = photo_with_map(channels=3)
    second = len(source) - len(gain_maps.second_image(source))
    rng = np.random.default_rng(5)
    for _ in range(150):
        broken = bytearray(source)
        for at in rng.integers(second, second + 700, 3):
            broken[at] = rng.integers(256)
        photo = decode(bytes(broken), max_pixels=MAX_PX)
        assert encode(lifted(photo), "jpeg", quality=None)[1] == []


def test_a_gain_map_is_not_read_where_only_pixels_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    coded = photo_with_map()
    monkeypatch.setattr(reading, "read", None)
    photo = decode(coded, max_pixels=MAX_PX, gain_map=False)
    assert photo.metadata.gain_map is None and photo.notes == []
