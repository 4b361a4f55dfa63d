"""AVIF as it was: depth, chroma sampling, range, crop, shape of pixels, alpha, colour by numbers."""

import struct
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import imagecodecs
import numpy as np
import pytest

from pipeline.errors import Damaged, Unsupported
from pipeline.images import Coding, Frame, Photo, decode, encode
from pipeline.images.codecs import av1
from pipeline.images.color import ycc
from pipeline.images.color.ycc import Levels
from pipeline.images.isobmff.boxes import Box
from pipeline.images.isobmff.reading import items_of
from pipeline.images.isobmff.writing import Item, still
from tests.support import media

MAX_PX = 10_000_000
REPORT = Path("data", "dev", "reports_photos", "12-avif-chroma")


def read(coded: bytes) -> Photo:
    return decode(coded, max_pixels=MAX_PX)


def rewritten(coded: bytes) -> tuple[bytes, list[str]]:
    photo = read(coded)
    written, notes = encode(photo, "avif", quality=None)
    return written, photo.notes + notes


def frame_of(coded: bytes) -> Any:
    """The image as FFmpeg decodes it, whose reader of the container is not ours."""
    with av.open(BytesIO(coded)) as container:
        return next(container.decode(video=0))


def psnr(one: Any, other: Any) -> float:
    one, other = (np.asarray(each, np.float64) / np.iinfo(each.dtype).max for each in (one, other))
    error = float(np.mean((one - other) ** 2))
    return float("inf") if error == 0 else -10 * np.log10(error)


def deep(bits: int, sampling: str, *, alpha: bool = False, grey: bool = False, **colours: int) -> bytes:
    """A night of 10 or 12 bits, by libaom."""
    samples = media.night_16(96, 64) >> 16 - bits
    if grey:
        samples = samples[..., 1]
    if alpha:
        samples = np.dstack(
            (samples, (media.soft_alpha().astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16))
        )
    options = {"primaries": 1, "transfer": 13, "matrix": 6} | colours
    coded = imagecodecs.avif_encode(
        samples, 97, speed=8, bitspersample=bits, pixelformat=sampling.replace(":", ""), **options
    )
    return bytes(coded)


@pytest.fixture(params=[True, False], ids=["libaom", "svt"])
def extra(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether there is the optional package that encodes everything."""
    monkeypatch.setattr(av1, "keeps_all", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize(
    ("name", "layout", "least"),
    [("lossless-444", "yuv444p", 40), ("lossy-444", "yuv444p", 40), ("lossy-422", "yuv422p", 37)],
)
def test_colour_keeps_its_resolution(shared: Path, extra: bool, name: str, layout: str, least: float) -> None:
    source, control = ((shared / REPORT / f"{each}.avif").read_bytes() for each in (name, "lossy-420-control"))
    written, notes = rewritten(source)
    if extra and name.startswith("lossless"):
        assert frame_of(written).format.name == "gbrp"
        assert np.array_equal(read(written).frames[0].pixels, read(source).frames[0].pixels)
    else:
        assert frame_of(written).format.name.replace("yuvj", "yuv") == layout
    assert psnr(read(written).frames[0].pixels, read(source).frames[0].pixels) > least
    plain = rewritten(control)[0]
    assert frame_of(plain).format.name.replace("yuvj", "yuv") == "yuv420p"
    assert psnr(read(plain).frames[0].pixels, read(control).frames[0].pixels) < least
    lossy = name.startswith("lossless") and not extra
    assert notes == ['lossless compression became quality 100: pip install "nightlift[avif]" keeps it'] * lossy


def test_a_crop_is_applied_and_the_shape_of_pixels_kept(shared: Path) -> None:
    whole, cropped, wide = (
        (shared / REPORT / f"{name}.avif").read_bytes() for name in ("lossless-444", "crop-clap", "wide-pixels-pasp")
    )
    photo = read(cropped)
    assert np.array_equal(photo.frames[0].pixels, read(whole).frames[0].pixels[20:120, 40:240])
    assert read(rewritten(cropped)[0]).frames[0].size == (200, 100)
    assert struct.pack(">4sII", b"pasp", 2, 1) in rewritten(wide)[0]
    _, notes = encode(read(wide), "png", quality=None)
    assert notes == ["other AVIF metadata dropped: PNG has no place for it"]


def test_rotation_follows_the_crop() -> None:
    """Boxes as iPhones and `avifenc --irot 1 --crop` write them: first the crop, then a quarter to the left."""
    coded = items_of(deep(10, "4:2:0"))
    clap = struct.pack(">8i", 60, 1, 40, 1, -10, 1, -4, 1)  # 60x40 from x 8 and y 8
    boxes = [Box(b"clap", clap), Box(b"irot", b"\x01"), Box(b"pasp", struct.pack(">II", 2, 1))]
    stored = Item(kind=b"av01", content=coded.contents[1], properties=coded.properties[1])
    turned = replace(stored, properties=[*stored.properties, *boxes])
    photo, whole = read(still([turned])), read(still([stored]))
    assert np.array_equal(photo.frames[0].pixels, np.rot90(whole.frames[0].pixels[8:48, 8:68]))
    assert photo.metadata.avif_boxes == ((b"pasp", struct.pack(">II", 1, 2)),)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0", "4:0:0"])
def test_depth_and_sampling_stay_where_an_encoder_has_them(extra: bool, bits: int, sampling: str) -> None:
    source = deep(bits, sampling, grey=sampling == "4:0:0")
    written, notes = rewritten(source)
    found, name = read(written), frame_of(written).format.name.replace("yuvj", "yuv")
    kept = bits if extra else 10 if sampling == "4:2:0" else 8
    layout = "gray" if sampling == "4:0:0" else f"yuv{sampling.replace(':', '')}p"
    assert name == layout + (f"{kept}le" if kept > 8 else "")
    assert (found.coding.bits, found.coding.sampling) == (kept, sampling)
    assert psnr(found.frames[0].pixels, read(source).frames[0].pixels) > 40 if kept > 8 else True
    assert notes == [f'{bits} bits became {kept}: pip install "nightlift[avif]" keeps more'] * (kept != bits)


def test_alpha_stays_unchanged_with_10_bits(extra: bool) -> None:
    source = read(deep(10, "4:2:0", alpha=True))
    written, notes = encode(source, "avif", quality=None)
    found = read(written).frames[0]
    assert notes == []
    assert source.frames[0].alpha is not None and len(np.unique(source.frames[0].alpha)) > 90
    assert found.alpha is not None and np.array_equal(found.alpha, source.frames[0].alpha)


def test_wide_colour_stays_in_numbers_beside_all_metadata(extra: bool) -> None:
    photo = read(deep(10, "4:2:0", primaries=12))
    exif, xmp = media.exif_block(1), media.xmp_packet()
    photo = replace(photo, metadata=replace(photo.metadata, exif=exif, xmp=xmp))
    written, _ = encode(photo, "avif", quality=None)
    frame, found = frame_of(written), read(written).metadata
    assert (frame.color_primaries, frame.color_trc, frame.colorspace) == (12, 13, 6)
    assert replace(found, exif=None) == replace(photo.metadata, exif=None)
    assert found.exif is not None and all(part in found.exif for part in (media.TAKEN, media.MAKER_NOTE))
    assert b"prof" not in written  # as in the source: the numbers say it all
    icc = media.rgb_profile()
    own, _ = encode(replace(photo, metadata=replace(photo.metadata, icc=icc)), "avif", quality=None)
    assert read(own).metadata.icc == icc


def test_16_bits_become_10(extra: bool) -> None:
    frame = Frame(pixels=media.night_16(96, 64))
    coded, notes = encode(Photo(format="png", frames=[frame], coding=Coding(sampling="4:2:0")), "avif", quality=95)
    assert notes == ["16 bits became 10" + ("" if extra else ': pip install "nightlift[avif]" keeps more')]
    assert read(coded).coding.bits == 10
    assert psnr(read(coded).frames[0].pixels, frame.pixels) > 36


def test_limited_range_stays(extra: bool) -> None:
    photo = read(deep(10, "4:2:0"))
    photo = replace(photo, coding=replace(photo.coding, full=False))
    found = read(encode(photo, "avif", quality=97)[0])
    assert found.coding.full == extra  # libaom by imagecodecs has the full range only; both are tagged
    assert psnr(found.frames[0].pixels, photo.frames[0].pixels) > 45


def test_times_of_an_animation_do_not_drift() -> None:
    frames = [Frame(pixels=media.night(32, 16, seed=seed), duration_ms=100 / 3) for seed in range(6)]
    written, notes = encode(Photo(format="avif", frames=frames, coding=Coding(sampling="4:4:4")), "avif", quality=None)
    found = read(written)
    assert [frame.duration_ms for frame in found.frames] == [33, 34, 33, 33, 34, 33]
    assert found.coding.sampling == "4:4:4"
    assert notes == []


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("size", [(64, 48), (33, 21)])
def test_planes_and_rgb_are_each_others_inverse(full: bool, size: tuple[int, int]) -> None:
    y, x = np.mgrid[: size[1], : size[0]]
    smooth = np.stack((x * 800, y * 1000, (x + y) * 400), -1).astype(np.uint16)
    levels = Levels(12, full)
    again = ycc.rgb(ycc.planes(smooth, levels, 9), levels, 9)
    assert np.abs(again.astype(int) - smooth)[2:-2, 2:-2].max() < 30
    grey = np.full((*size[::-1], 3), 65535, np.uint16)
    assert ycc.rgb(ycc.planes(grey, levels, 6), levels, 6).min() == 65535


@pytest.mark.parametrize(("matrix", "primaries"), [(8, 1), (12, 1), (12, 9), (12, 12)])
def test_rare_matrices_keep_their_bits(matrix: int, primaries: int) -> None:
    photo = read(deep(10, "4:4:4", matrix=matrix, primaries=primaries))
    assert (photo.notes, photo.coding.bits, photo.frames[0].pixels.dtype) == ([], 10, np.uint16)
    assert psnr(photo.frames[0].pixels, media.night_16(96, 64)) > 45


def reversible(rgb: Any, bits: int, matrix: int) -> bytes:
    """YCgCo-Re (H.273, equations 63 to 66) in planes of `bits` bits, stored as if they were green, blue and red."""
    red, green, blue = (rgb[..., channel].astype(int) for channel in range(3))
    orange = red - blue
    rest = blue + (orange >> 1)
    surplus = green - rest
    planes = orange + (1 << bits - 1), rest + (surplus >> 1), surplus + (1 << bits - 1)
    options = {"bitspersample": bits, "pixelformat": "444", "primaries": 1, "transfer": 13, "matrix": 0}
    coded = bytes(imagecodecs.avif_encode(np.dstack(planes).astype(np.uint16), 100, speed=8, **options))
    at = coded.index(b"nclx")
    return coded[: at + 9] + bytes((matrix,)) + coded[at + 10 :]


def test_reversible_colours_are_exact() -> None:
    shallow, night = media.night(96, 64), media.night_16(96, 64)
    photo = read(reversible(shallow, 10, 16))
    assert np.array_equal(photo.frames[0].pixels, shallow)
    assert (photo.coding.bits, photo.coding.lossless, photo.notes) == (8, True, [])
    again, _ = encode(photo, "avif", quality=None)
    assert np.array_equal(imagecodecs.avif_decode(again), shallow)
    for matrix, bits in ((16, 10), (17, 11)):
        deeper = read(reversible(night >> 16 - bits, 12, matrix)).frames[0].pixels
        assert np.abs((deeper >> 16 - bits) - (night >> 16 - bits).astype(int)).max() == 0


@pytest.mark.parametrize(("matrix", "name"), [(10, "BT.2020 of constant luminance"), (14, "ICtCp"), (15, "IPT-C2")])
def test_colours_that_are_not_converted_are_named(matrix: int, name: str) -> None:
    with pytest.raises(Unsupported, match=name):
        read(reversible(media.night(96, 64), 10, matrix))


def test_a_cut_avif_is_damaged() -> None:
    coded = deep(10, "4:2:0")
    for length in (40, 200, len(coded) - 100, len(coded) - 1):
        with pytest.raises(Damaged):
            read(coded[:length])
