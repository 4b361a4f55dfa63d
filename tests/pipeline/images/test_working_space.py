"""The same photo in another colour space comes out the same. Pillow's LittleCMS converts beside our own code."""

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from model import Look
from model.curve.srgb import decoded, encoded
from pipeline.images import Frame, Photo, decode, encode
from pipeline.images.color.cicp import D65, profile, profile_by_gamma
from pipeline.images.color.working_space import working_space
from pipeline.images.photo import Metadata, Samples
from tests.support import media
from tests.support.photo_steps import enhanced

ADOBE = (D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO = ((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
SPACES = {
    "Adobe RGB": profile_by_gamma(1 / 2.2, ADOBE, grey=False),
    "ProPhoto": profile_by_gamma(1 / 1.8, PROPHOTO, grey=False),
    "Display P3": profile(12, 13),
    "BT.2020": profile(9, 1),
}


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def xyb_like() -> bytes:
    """A profile as jpegli writes it: mixed channels, powers of three, a matrix, and nothing to go back by."""
    corners = [
        (0.05 * x + 0.95 * y, 0.05 - 0.05 * x + 0.95 * y, 0.56 * y + 0.44 * z)
        for x in (0, 1) for y in (0, 1) for z in (0, 1)
    ]  # fmt: skip
    table = b"\2\2\2" + bytes(13) + b"\2" + bytes(3)
    table += struct.pack(">24H", *(round(65535 * value) for corner in corners for value in corner))
    line, cubic = (
        b"para" + bytes(8) + fixed(1),
        b"para" + bytes(4) + struct.pack(">HH", 3, 0) + fixed(3, 0.9, 0.1, 0, 0),
    )
    matrix = fixed(1.52, -1.11, 0.07, -0.05, 0.57, -0.02, -1.39, 1.11, 0.69, 0, 0, 0)
    parts = [line * 3, matrix, cubic * 3, table]
    places = [32 + sum(map(len, parts[:index])) for index in range(4)]
    head = b"mAB " + bytes(4) + b"\3\3" + bytes(2) + struct.pack(">5I", *places, places[0])
    return media.profile(b"scnr", b"RGB ", b"XYZ ", {b"A2B0": head + b"".join(parts)})


def managed(pixels: Samples, source: bytes | None, target: bytes | None) -> Samples:
    """Convert 8 bits from one profile to another by LittleCMS; None: sRGB."""
    ends = [
        ImageCms.createProfile("sRGB") if icc is None else ImageCms.ImageCmsProfile(BytesIO(icc))
        for icc in (source, target)
    ]
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.NOOPTIMIZE
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(pixels), *ends, intent, "RGB", flags=flags))


def photo_of(pixels: Samples, icc: bytes | None) -> Photo:
    return Photo(format="tiff", frames=[Frame(pixels=pixels)], metadata=Metadata(icc=icc))


def result(pixels: Samples, icc: bytes | None) -> tuple[Samples, float, float]:
    """Return the enhanced pixels, and luma before and after."""
    work = enhanced(photo_of(pixels.copy(), icc))
    assert work.photo is not None and work.photo.metadata.icc == icc
    assert work.photo.frames[0].pixels.dtype == pixels.dtype
    return work.photo.frames[0].pixels, work.outcome.luma_before or 0, work.outcome.luma_after or 0


def assert_close(found: Samples, expected: Samples) -> None:
    """`found`, `expected`: of 255. Where 8 bits of a wide space are coarse, single pixels may be off by more."""
    difference = np.abs(found.astype(float) - expected)
    assert abs(found.mean() - expected.mean()) < 1
    assert np.quantile(difference, 0.98) <= 3


@pytest.mark.parametrize("icc", SPACES.values(), ids=SPACES.keys())
def test_a_photo_comes_out_as_its_srgb_twin(icc: bytes) -> None:
    own = managed(media.night(160, 120) // 2 + np.uint8(20), None, icc)
    twin, before, after = result(managed(own, icc, None), None)
    found, own_before, own_after = result(own, icc)
    assert twin.mean() > own.mean() + 5
    assert_close(managed(found, icc, None), twin)
    assert (own_before, own_after) == pytest.approx((before, after), abs=0.004)


@pytest.mark.parametrize("colours", [1, 3])
def test_linear_light_of_16_bits_keeps_its_shadows(colours: int) -> None:
    srgb = media.night(160, 120)[..., :colours]
    linear = (decoded(srgb / 255) * 65535).round().astype(np.uint16)
    icc = profile_by_gamma(1, None, grey=colours == 1)
    twin, before, _ = result(srgb.astype(np.uint16) * 257, None)
    found, own_before, _ = result(linear, icc)
    assert np.abs(encoded(found / 65535) - twin / 65535).max() < 2 / 255
    assert own_before == pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_where_nothing_is_enhanced_all_colours_stay(seed: int) -> None:
    """Also those that sRGB cannot hold, in spaces with any primaries. Near black, powers have more codes than sRGB."""
    rng = np.random.default_rng(seed)
    points = np.array(PROPHOTO[1:]) * 0.8 + np.array(D65) * 0.2 + rng.uniform(-0.05, 0.05, (3, 2))
    icc = profile_by_gamma(rng.uniform(0.45, 1), (D65, *map(tuple, points.tolist())), grey=False)
    space = working_space(icc, 3)
    assert space is not None
    for dtype, off in ((np.uint8, 1), (np.uint16, 400)):
        pixels = rng.integers(0, np.iinfo(dtype).max, (20, 1500, 3), dtype)
        srgb, outside = space.working(pixels)
        back = pixels.copy()
        space.write_back(srgb, outside, back)
        assert outside.all()
        assert np.abs(back.astype(int) - pixels).max() <= off


def test_a_table_of_colours_that_is_a_matrix_is_inverted() -> None:
    icc = xyb_like()
    rng = np.random.default_rng(1)
    pixels = np.stack([rng.integers(low, high, (90, 120)) for low, high in ((70, 90), (90, 180), (100, 140))], axis=-1)
    pixels = pixels.astype(np.uint8)
    space = working_space(icc, 3)
    assert space is not None and space.conversion is not None
    srgb, outside = space.working(pixels)
    inside = ((srgb > 0) & (srgb < 65535)).all(axis=2)
    assert inside.mean() > 0.2
    assert np.abs(srgb / 257 - managed(pixels, icc, None))[inside].max() <= 2
    back = pixels.copy()
    space.write_back(srgb, outside, back)
    assert np.abs(back.astype(int) - pixels).max() <= 1


def test_each_page_is_converted_by_what_the_profile_is_to_it() -> None:
    grey = Frame(pixels=media.night()[..., :1] + np.uint8(20))
    for icc, channels in ((profile_by_gamma(1, None, grey=True), 1), (SPACES["ProPhoto"], 3)):
        colour = Frame(pixels=media.night() + np.uint8(20))
        frames = [grey, colour] if channels == 1 else [colour, grey]
        work = enhanced(Photo(format="tiff", frames=frames, metadata=Metadata(icc=icc)))
        assert work.photo is not None
        assert [frame.pixels.shape for frame in work.photo.frames] == [frame.pixels.shape for frame in frames]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("icc", [*SPACES.values(), profile_by_gamma(1, None, grey=True)], ids=[*SPACES, "linear grey"])
def test_a_format_without_profiles_gets_srgb(icc: bytes, deep: bool) -> None:
    pixels = media.night(96, 64) // 2 + np.uint8(60)
    grey = icc[16:20] == b"GRAY"
    own = np.ascontiguousarray(pixels[..., :1]) if grey else pixels
    photo = photo_of(own.astype(np.uint16) * 257 if deep else own, icc)
    coded, notes = encode(photo, "pnm", quality=None)
    found = decode(coded, max_pixels=10**6).frames[0].pixels
    assert notes == ["converted to sRGB: PNM has no place for its ICC profile"]
    assert found.dtype == (np.uint16 if deep else np.uint8)
    expected = 255 * encoded(own / 255) if grey else managed(own, icc, None)
    assert np.abs(found / (257 if deep else 1) - expected).max() < 3


RAMP, IDENTITY = bytes(range(256)), fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
CORNERS = [
    (200 * green + 35 * red + 20 * blue, 128 + 60 * (red - green), 128 + 60 * (green - blue))
    for red in (0, 1) for green in (0, 1) for blue in (0, 1)
]  # fmt: skip


def of_scanner(kind: bytes) -> bytes:
    """A profile with a table from RGB to L*a*b*, of each kind. By the second, without last curves, black is grey."""
    levels = [level for corner in CORNERS for level in corner]
    ramp_16 = np.linspace(0, 65535, 256).astype(">u2").tobytes()
    if kind == b"mft1":
        table = kind + bytes(4) + bytes((3, 3, 2, 0)) + IDENTITY + RAMP * 3 + bytes(levels) + RAMP * 3
        return media.profile(b"scnr", b"RGB ", b"Lab ", {b"A2B0": table})
    if kind == b"mft2":
        levels[0] = 40
        table = kind + bytes(4) + bytes((3, 3, 2, 0)) + IDENTITY + struct.pack(">2H", 256, 0) + ramp_16 * 3
        table += struct.pack(">24H", *(256 * level for level in levels))
        return media.profile(b"scnr", b"RGB ", b"Lab ", {b"A2B1": table})
    line, power = b"para" + bytes(8) + fixed(1), b"para" + bytes(8) + fixed(1.3)
    parts = [
        line * 3,
        IDENTITY + fixed(0, 0, 0),
        line * 3,
        b"\2\2\2" + bytes(13) + b"\1" + bytes(3) + bytes(levels),
        power * 3,
    ]
    places = [32 + sum(map(len, parts[:index])) for index in range(5)]
    table = b"mAB " + bytes(4) + b"\3\3" + bytes(2) + struct.pack(">5I", *places) + b"".join(parts)
    return media.profile(b"scnr", b"RGB ", b"Lab ", {b"A2B0": table})


@pytest.mark.parametrize("kind", [b"mft1", b"mft2", b"mAB "])
def test_a_table_without_a_way_back_keeps_16_bits(kind: bytes) -> None:
    import imagecodecs

    def converted(pixels: Samples, source: bytes) -> Samples:
        options = {"colorspace": "rgb", "outcolorspace": "rgb", "outdtype": "uint16", "intent": 1, "flags": 0x2100}
        found: Samples = imagecodecs.cms_transform(pixels, source, imagecodecs.cms_profile("srgb"), **options)
        return found

    icc = of_scanner(kind)
    deep = media.night(120, 90).astype(np.uint16) * 257 + np.arange(90, dtype=np.uint16)[:, None, None]
    space = working_space(icc, 3)
    assert space is not None and space.conversion is None
    twin = converted(deep, icc)
    assert np.abs(space.srgb(deep).astype(int) - twin)[(twin > 0) & (twin < 65535)].max() < 257 // 2
    work = enhanced(photo_of(deep.copy(), icc))
    assert work.photo is not None and work.photo.metadata.icc is not None
    assert work.outcome.notes[-1:] == ["converted to BT.2020: its ICC profile cannot be inverted exactly"]
    found = work.photo.frames[0].pixels
    assert found.dtype == np.uint16 and len(np.unique(found)) > 1000
    assert_close(converted(found, work.photo.metadata.icc) / 257, result(twin, None)[0] / 257)


def _of_grey(reddish: int) -> bytes:
    """A table from grey to L*a*b*, whose white has this much of a*, of 256."""
    corners = struct.pack(">6H", 0, 32768, 32768, 65280, 32768 + 256 * reddish, 32768)
    curves = struct.pack(">2H", 2, 2) + struct.pack(">2H", 0, 65535)
    return b"mft2" + bytes(4) + bytes((1, 3, 2, 0)) + IDENTITY + curves + corners + struct.pack(">6H", *[0, 65535] * 3)


@pytest.mark.parametrize(("kind", "tag"), [(b"kTRC", b"curv" + bytes(8)), (b"A2B0", _of_grey(reddish=0))])
def test_a_grey_profile_in_lightness_is_inverted(kind: bytes, tag: bytes) -> None:
    icc = media.profile(b"scnr", b"GRAY", b"Lab ", {kind: tag})
    space = working_space(icc, 1)
    assert space is not None and space.conversion is not None
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    srgb, outside = space.working(pixels)
    lightness = pixels / 65535
    light = np.where(lightness > 0.08, ((lightness + 0.16) / 1.16) ** 3, lightness * 100 / 903.3)
    assert np.abs(srgb / 65535 - encoded(light)).max() < 1e-4
    back = pixels.copy()
    space.write_back(srgb, outside, back)
    assert np.abs(back.astype(int) - pixels).max() <= 8


def test_pages_that_a_table_is_not_for_become_srgb_with_the_others() -> None:
    icc = media.profile(b"scnr", b"GRAY", b"Lab ", {b"A2B0": _of_grey(reddish=60)})
    pages = [Frame(pixels=media.night()[..., :count].astype(np.uint16) * 257) for count in (1, 3)]
    work = enhanced(Photo(format="tiff", frames=pages, metadata=Metadata(icc=icc)))
    assert work.photo is not None and work.photo.metadata.icc is None
    assert [frame.pixels.dtype for frame in work.photo.frames] == [np.uint8] * 2
    assert work.outcome.notes[-1:] == ["converted to sRGB with 8 bits: its ICC profile cannot be inverted exactly"]


def test_a_table_without_a_way_back_makes_the_photo_srgb() -> None:
    icc = of_scanner(b"mft1")
    pixels = media.night(120, 90)
    work = enhanced(photo_of(pixels.copy(), icc))
    assert work.photo is not None and work.photo.metadata.icc is None
    assert work.outcome.notes[-1:] == ["converted to sRGB with 8 bits: its ICC profile cannot be inverted exactly"]
    alone = enhanced(photo_of(pixels.copy(), icc), Look(iterations=0))
    assert alone.photo is not None and alone.photo.metadata.icc == icc
    assert (alone.photo.frames[0].pixels == pixels).all()


def test_profiles_that_do_what_srgb_does_are_srgb() -> None:
    parametric = profile_by_gamma(None, (D65, (0.641, 0.33), (0.3, 0.6), (0.15, 0.06)), grey=False)
    few = decoded(np.linspace(0, 1, 26)) * 65535  # as in the smallest of such profiles
    curve = b"curv" + bytes(4) + struct.pack(">I26H", 26, *few.round().astype(int).tolist())
    colorants = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
    tags = {kind + b"TRC": curve for kind in (b"r", b"g", b"b")}
    for kind, xyz in zip((b"r", b"g", b"b"), colorants, strict=True):
        tags[kind + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*xyz)
    small = media.profile(b"mntr", b"RGB ", b"XYZ ", tags)
    assert parametric is None
    assert [working_space(icc, 3) for icc in (media.rgb_profile(), small, b"damaged", None)] == [None] * 4


LINEAR, ORDINARY = (b"gAMA", struct.pack(">I", 100_000)), (b"gAMA", struct.pack(">I", 45_455))
OF_ADOBE = b"cHRM", struct.pack(">8I", *(round(1e5 * number) for point in ADOBE for number in point))


@pytest.mark.parametrize(
    ("chunks", "wide"),
    [
        ([LINEAR], True),
        ([ORDINARY], False),
        ([ORDINARY, OF_ADOBE], True),
        ([LINEAR, (b"sRGB", b"\0")], False),
        ([(b"cICP", bytes((1, 8, 0, 1)))], True),
        ([(b"gAMA", bytes(4)), (b"cHRM", bytes(32))], False),
    ],
)
def test_colour_by_numbers_in_png(chunks: list[tuple[bytes, bytes]], wide: bool) -> None:
    coded = media.with_chunks(media.saved(media.night(), "PNG"), *(media.png_chunk(*chunk) for chunk in chunks))
    photo = decode(coded, max_pixels=10**6)
    assert (working_space(photo.metadata.icc, 3) is not None) == wide
    again, _ = encode(photo, "png", quality=None)
    assert b"iCCP" not in again
    assert decode(again, max_pixels=10**6).metadata == photo.metadata
    with Image.open(BytesIO(encode(photo, "jpeg", quality=None)[0])) as image:
        assert ("icc_profile" in image.info) == wide
