"""Pixels in, pixels out, in every format: which bits survive, and what is said where they do not."""

import pickle
import struct
from dataclasses import replace
from io import BytesIO
from typing import Any

import av
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.errors import Damaged, TooLarge, Unsupported
from pipeline.images import FORMATS, Coding, Frame, Metadata, Photo, decode, encode, format_of
from tests.support import media

MAX_PX = 10_000_000
WRITABLE = [known.name for known in FORMATS.values() if known.writable and known.name != "heif"]  # see test_heif.py
CODERS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "avif": "AVIF", "pnm": "PPM"}


def read(coded: bytes) -> Photo:
    return decode(coded, max_pixels=MAX_PX)


def rewritten(coded: bytes, name: str | None = None, quality: int | None = None) -> bytes:
    photo = read(coded)
    return encode(photo, name or photo.format, quality=quality)[0]


def opened(coded: bytes) -> Image.Image:
    if imagecodecs.jpegxl_check(coded):
        return Image.fromarray(imagecodecs.jpegxl_decode(coded).squeeze())
    return Image.open(BytesIO(coded))


def psnr(one: Any, other: Any) -> float:
    error = np.mean((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def photo_of(pixels: Any, alpha: Any = None) -> Photo:
    return Photo(format="png", frames=[Frame(pixels=pixels, alpha=alpha)])


@pytest.mark.parametrize(
    "extension", ["jpg", "JPEG", "jpe", "jfif", "png", "apng", "webp", "tif", "TIFF", "bmp", "dib"]
)
def test_names_stand_for_formats(extension: str) -> None:
    found = format_of(f"s3://bucket/a.b/night é.{extension}")
    assert found is not None
    assert f".{extension.lower()}" in found.extensions


def test_names_of_other_things_stand_for_none() -> None:
    assert [format_of(name) for name in ("clip.mp4", "jpg", "notes.txt", "")] == [None] * 4
    heif = format_of("IMG_1.HEIC")
    assert heif is not None and heif.writable and heif.written_as == "jpeg"


@pytest.mark.parametrize("name", CODERS)
def test_content_decides_and_the_picture_survives(name: str) -> None:
    scene = media.night()
    photo = read(media.saved(scene, CODERS[name], **({"quality": 95} if name in ("jpeg", "webp", "avif") else {})))
    coded, notes = encode(photo, name, quality=None)
    assert photo.format == name
    assert notes == photo.notes == []
    assert photo.frames[0].pixels.flags.c_contiguous
    with opened(coded) as image:
        least = 33 if name in ("jpeg", "webp", "avif") else float("inf")
        assert psnr(image.convert("RGB"), scene) >= least
        assert image.format == CODERS[name]


@pytest.mark.parametrize("name", WRITABLE)
def test_grey_stays_grey(name: str) -> None:
    grey = media.night()[..., 1]
    coded, notes = encode(read(media.saved(grey, "PNG")), name, quality=95)
    with opened(coded) as image:
        assert psnr(image.convert("L"), grey) > 38
        assert (image.mode == "L") == FORMATS[name].grey
    assert notes == []


@pytest.mark.parametrize("name", [name for name in WRITABLE if FORMATS[name].alpha])
def test_alpha_stays_unchanged(name: str) -> None:
    alpha = media.soft_alpha()
    if name == "gif":
        alpha = np.where(alpha < 128, 0, 255).astype(np.uint8)  # all that GIF knows
    coded = media.saved(np.dstack((media.night(), alpha)), "PNG")
    written, _ = encode(read(coded), name, quality=None)
    with opened(written) as image:
        assert np.array_equal(np.asarray(image.convert("RGBA"))[..., 3], alpha)
    again = read(written).frames[0].alpha
    assert again is not None and np.array_equal(again, alpha)


def test_alpha_that_a_format_has_no_place_for_is_laid_over_white_and_said() -> None:
    pixels = np.zeros((4, 3, 3), np.uint8)
    alpha = np.array([[0, 128, 255]] * 4, np.uint8)
    coded, notes = encode(photo_of(pixels, alpha), "pnm", quality=None)
    assert np.asarray(opened(coded))[0, :, 0].tolist() == [255, 127, 0]
    assert notes == ["alpha dropped: PNM has none; the image is placed on white"]
    assert encode(photo_of(pixels, np.full((4, 3), 255, np.uint8)), "pnm", quality=None)[1] == []


@pytest.mark.parametrize(
    ("kind", "note"), [("1", "1 bit became 8"), ("P", "palette became RGB"), ("PA", "palette became RGB")]
)
def test_other_kinds_of_pixels_become_plain_ones(kind: str, note: str) -> None:
    source = Image.fromarray(media.night()).convert("RGB" if kind != "1" else "L")
    image = source.convert("P").convert(kind) if kind == "PA" else source.convert(kind)
    photo = read(media.saved(image, "TIFF" if kind == "PA" else "PNG"))
    assert photo.notes == [note]
    assert np.array_equal(photo.frames[0].pixels.squeeze(), np.asarray(image.convert("L" if kind == "1" else "RGB")))


def test_transparent_colours_of_png_become_alpha() -> None:
    grey = np.array([[10, 20], [30, 20]], np.uint8)
    coded = media.with_chunks(media.saved(grey, "PNG"), media.png_chunk(b"tRNS", b"\x00\x14"))
    alpha = read(coded).frames[0].alpha
    assert alpha is not None and alpha.tolist() == [[255, 0], [255, 0]]
    deep = np.zeros((1, 3, 3), np.uint16)
    deep[0] = ((1, 2, 3), (1, 2, 4), (257, 2, 3))  # alike but for single bits
    coded = media.with_chunks(media.png_16(deep), media.png_chunk(b"tRNS", bytes((0, 1, 0, 2, 0, 3))))
    frame = read(coded).frames[0]
    assert frame.alpha is not None and frame.alpha.tolist() == [[0, 65535, 65535]]
    palette = Image.fromarray(media.night()).quantize(8)
    photo = read(media.saved(palette, "PNG", transparency=bytes(range(0, 240, 30))))
    found = photo.frames[0].alpha
    assert found is not None and np.array_equal(found, np.asarray(palette) * 30)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("source", ["png", "tiff", "tiff-big-endian", "tiff-planar"])
@pytest.mark.parametrize("name", ["png", "tiff"])
def test_all_16_bits_survive(channels: int, source: str, name: str) -> None:
    scene = media.night_16()
    samples = np.dstack((scene, 65535 - scene[..., :1]))[
        ..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    ]
    if source == "png":
        coded = media.png_16(samples)
    else:
        coded = media.tiff_16(
            samples, order=">" if "big" in source else "<", planar="planar" in source and channels > 1
        )
    photo = read(coded)
    written, notes = encode(photo, name, quality=None)
    again = read(written).frames[0]
    for frame in (photo.frames[0], again):
        assert frame.pixels.dtype == np.uint16
        whole = frame.pixels if frame.alpha is None else np.dstack((frame.pixels, frame.alpha))
        assert np.array_equal(whole, samples)
    assert photo.notes == notes == []


@pytest.mark.parametrize("noise", [0, 200])
def test_another_decoder_reads_our_16_bit_tiff_alike(noise: int) -> None:
    """Noise is packed in another way than what repeats."""
    scene = (np.arange(90)[:, None, None] * 300 + np.arange(3 * 120).reshape(120, 3) * 60).astype(np.uint16)
    scene += np.random.default_rng(0).integers(0, noise + 1, scene.shape, np.uint16)
    written = rewritten(media.png_16(scene), "tiff")
    assert np.array_equal(tifffile.imread(BytesIO(written)), scene)
    assert len(written) < scene.nbytes * (0.95 if noise else 0.1)


def test_all_pages_are_read_of_a_tiff_of_16_bits_with_alpha() -> None:
    scene = media.night_16()
    first = read(media.tiff_16(np.dstack((scene[..., :1], 65535 - scene[..., :1]))))
    pages = [first.frames[0], replace(first.frames[0], pixels=first.frames[0].pixels[::-1].copy())]
    written, _ = encode(replace(first, frames=pages), "tiff", quality=None)
    photo = read(written)
    assert len(photo.frames) == 2
    assert all(np.array_equal(page.pixels, frame.pixels) for page, frame in zip(pages, photo.frames, strict=True))
    other, _ = encode(replace(first, frames=[pages[0], read(media.tiff_16(scene)).frames[0]]), "tiff", quality=None)
    photo = read(other)
    assert len(photo.frames) + sum("pages dropped" in note for note in photo.notes) == 2


@pytest.mark.parametrize(("channels", "layout"), [(1, "gray16be"), (2, "ya16be"), (3, "rgb48be"), (4, "rgba64be")])
def test_another_decoder_reads_our_16_bit_png_alike(channels: int, layout: str) -> None:
    scene = media.night_16()
    samples = np.dstack((scene, scene[::-1, :, :1]))[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    coded = rewritten(media.png_16(samples))
    with av.open(BytesIO(coded), format="png_pipe") as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == layout
    plane = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(frame.height, -1)
    found = plane[:, : frame.width * channels * 2].copy().view(">u2").reshape(samples.shape)
    assert np.array_equal(found, samples)


@pytest.mark.parametrize(("channels", "kind"), [(1, "u1"), (3, "u1"), (4, "u2")])
def test_png_is_written_with_more_pixels_than_ffmpeg_takes(channels: int, kind: str) -> None:
    """FFmpeg's limit includes a margin, so that a single row can be beyond it."""
    width = (1 << 28) // 129
    samples = (np.arange(width * channels) * 977).astype(kind).reshape(1, width, channels)
    alpha = samples[..., 3] if channels == 4 else None
    photo = Photo(format="png", frames=[Frame(pixels=np.ascontiguousarray(samples[..., :3]), alpha=alpha)])
    frame = read(encode(photo, "png", quality=None)[0]).frames[0]
    assert np.array_equal(frame.pixels, photo.frames[0].pixels)
    assert alpha is None or (frame.alpha is not None and np.array_equal(frame.alpha, alpha))


@pytest.mark.parametrize("name", ["png", "tiff"])
def test_a_higher_level_makes_smaller_files_of_the_same_pixels(name: str) -> None:
    photo = read(media.saved(media.night(), "PNG"))
    files = [encode(photo, name, quality=None, level=level)[0] for level in (1, 9)]
    assert len(files[0]) > len(files[1])
    for coded in files:
        assert np.array_equal(read(coded).frames[0].pixels, photo.frames[0].pixels)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", None])
def test_tiff_is_read_however_it_is_packed_and_stays_without_loss(compression: str | None) -> None:
    scene = media.night()
    photo = read(media.saved(scene, "TIFF", compression=compression))
    coded, _ = encode(photo, "tiff", quality=None)
    with opened(coded) as image:
        assert np.array_equal(np.asarray(image), scene)
        assert image.info["compression"] == ("tiff_adobe_deflate" if compression else "raw")


def test_16_bit_tiff_with_alpha_multiplied_in_is_divided_by_it() -> None:
    alpha = np.array([[0, 32768, 65535, 16384]], np.uint16)
    straight = np.array([[[0, 0, 0], [60000, 1000, 3], [65535, 7, 0], [40000, 400, 4]]], np.uint16)
    mixed = (straight.astype(np.uint32) * alpha[..., None] / 65535).round().astype(np.uint16)
    frame = read(media.tiff_16(np.dstack((mixed, alpha)), alpha=1)).frames[0]
    assert frame.alpha is not None and np.array_equal(frame.alpha, alpha)
    assert np.abs(frame.pixels.astype(int) - straight).max() <= 4


def test_12_bit_samples_fill_the_range() -> None:
    text = b"P6\n# by hand\n2 1\n4095\n" + np.array([0, 4095, 2048, 1, 4094, 4095], ">u2").tobytes()
    assert read(text).frames[0].pixels.ravel().tolist() == [0, 65535, 32776, 16, 65519, 65535]


def test_16_bits_are_rounded_where_a_format_has_8() -> None:
    samples = np.array([[[0, 128, 129], [32896, 65406, 65535]]], np.uint16)
    coded, notes = encode(photo_of(samples), "bmp", quality=None)
    assert np.asarray(opened(coded)).tolist() == [[[0, 0, 1], [128, 254, 255]]]
    assert notes == ["more than 8 bits rounded to 8: BMP holds no more"]


def test_16_bit_pnm_goes_round() -> None:
    scene = media.night_16()
    for samples in (scene, scene[..., :1]):
        coded, _ = encode(photo_of(samples), "pnm", quality=None)
        assert np.array_equal(read(coded).frames[0].pixels, samples)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [35, 90])
def test_jpeg_is_written_as_its_source_was(subsampling: str, progressive: bool, quality: int) -> None:
    coded = media.jpeg(media.night(), quality=quality, subsampling=subsampling, progressive=progressive)
    with opened(coded) as source, opened(rewritten(coded)) as written:
        assert written.quantization == source.quantization  # type: ignore[attr-defined]
        assert written.info.get("progressive") == source.info.get("progressive")
        factors = [[part[1:3] for part in image.layer] for image in (source, written)]  # type: ignore[attr-defined]
        assert factors[0] == factors[1]


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:2:0", "progressive": True},
        {"subsampling": "4:2:0", "restart_marker_rows": 1},
        {"keep_rgb": True},
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_gives_the_pixels_that_pillow_gives(options: dict[str, Any], mode: str) -> None:
    coded = media.jpeg(Image.fromarray(media.landscape(119, 87)).convert(mode), **options)
    np.testing.assert_array_equal(read(coded).frames[0].pixels.squeeze(), np.asarray(opened(coded)))


def test_quality_overrides_the_source() -> None:
    coded = media.jpeg(media.night(200, 150), quality=60)
    sizes = [len(rewritten(coded, quality=quality)) for quality in (20, None, 95)]
    assert sizes[0] < sizes[1] < sizes[2]
    with pytest.raises(ValueError, match="between 1 and 100"):
        rewritten(coded, quality=101)


def test_noise_at_the_finest_quality_fits_jpeg() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    photo = replace(photo_of(noise), coding=Coding(progressive=True))
    coded, _ = encode(photo, "jpeg", quality=100)
    assert psnr(opened(coded), noise) > 38
    assert psnr(opened(rewritten(coded)), noise) > 38


def test_lossless_webp_stays_lossless() -> None:
    scene = media.night()
    assert np.array_equal(np.asarray(opened(rewritten(media.saved(scene, "WEBP", lossless=True)))), scene)
    assert b"VP8 " in rewritten(media.saved(scene, "WEBP", quality=80))
    assert b"VP8 " in rewritten(media.saved(scene, "WEBP", lossless=True), quality=80)


@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (16, (0xF800, 0x07E0, 0x001F)),
        (16, (0x7C00, 0x03E0, 0x001F, 0x8000)),
        (16, (0x0F00, 0x00F0, 0x000F, 0xF000)),
        (32, (0x000000FF, 0x0000FF00, 0x00FF0000)),
        (32, (0x00000FF0, 0x000FF000, 0x0FF00000)),
        (32, (0x3FF00000, 0x000FFC00, 0x000003FF, 0xC0000000)),
    ],
)
@pytest.mark.parametrize("upwards", [True, False])
def test_bmp_is_read_wherever_its_fields_of_bits_are(bits: int, masks: tuple[int, ...], upwards: bool) -> None:
    rng = np.random.default_rng(bits)
    whites = [mask >> (mask & -mask).bit_length() - 1 for mask in masks]
    fields = [rng.integers(0, white + 1, (30, 37)) for white in whites]
    words = sum(field * (mask & -mask) for field, mask in zip(fields, masks, strict=True))
    rows = np.zeros((30, 38), np.int64)  # a row ends at four bytes
    rows[:, :37] = words
    coded = rows[:: -1 if upwards else 1].astype(f"<u{bits // 8}").tobytes() if bits == 16 else b""
    coded = coded or rows[:: -1 if upwards else 1, :37].astype("<u4").tobytes()
    header = struct.pack("<IiiHHIIiiII", 108, 37, 30 if upwards else -30, 1, bits, 3, len(coded), 0, 0, 0, 0)
    header += struct.pack("<4I", *masks, *[0] * (4 - len(masks))) + bytes(52)
    file = struct.pack("<2sIHHI", b"BM", 122 + len(coded), 0, 0, 122) + header + coded
    frame = read(file).frames[0]
    whole = 65535 if max(whites) > 255 else 255
    assert frame.pixels.dtype == (np.uint16 if whole > 255 else np.uint8)
    found = [*np.moveaxis(frame.pixels, 2, 0), *([] if frame.alpha is None else [frame.alpha])]
    for one, field, white in zip(found, fields, whites, strict=True):
        assert np.abs(one - field * (whole / white)).max() <= 0.51
    with pytest.raises(Damaged, match="ends after"):
        read(file[:-100])


def test_a_jpeg_with_an_empty_header_segment_is_read() -> None:
    coded = media.jpeg(media.night())
    for segment in (media.jpeg_segment(0xE0, b"JFIF\x00"), media.jpeg_segment(0xEE, b"Adobe")):
        odd = media.with_segments(coded, segment)
        assert np.array_equal(read(odd).frames[0].pixels, read(coded).frames[0].pixels)


def test_pages_stay_pages_of_any_size() -> None:
    pages = [media.night(), media.night(31, 47, seed=1), media.night(8, 8, seed=2)[..., 0]]
    first, *others = map(Image.fromarray, pages)
    photo = read(media.saved(first, "TIFF", save_all=True, append_images=others))
    coded, _ = encode(photo, "tiff", quality=None)
    again = read(coded)
    assert not photo.animated
    for one, frame in zip(pages, again.frames, strict=True):
        assert np.array_equal(frame.pixels.squeeze(), one)
    assert encode(photo, "jpeg", quality=None)[1] == ["only the first of 3 pages kept"]
    with pytest.raises(TooLarge):
        decode(coded, max_pixels=96 * 64 + 100)


def test_a_photo_travels_between_processes() -> None:
    photo = read(media.jpeg(media.night(), comment=b"x"))
    copy = pickle.loads(pickle.dumps(photo))
    assert encode(copy, "jpeg", quality=None) == encode(photo, "jpeg", quality=None)


def test_a_picture_too_long_for_a_format_is_refused_with_a_way_out() -> None:
    long = replace(photo_of(np.zeros((1, 20_000, 3), np.uint8)))
    with pytest.raises(Unsupported, match="20000 pixels, but WEBP allows at most 16383; write it as PNG or TIFF"):
        encode(long, "webp", quality=None)


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "bmp"])
@pytest.mark.parametrize("dpi", [(5e9, 96.0), (1e12, 1.0), (-72.0, 72.0)])
def test_a_resolution_that_a_format_cannot_hold_is_dropped_and_said(name: str, dpi: tuple[float, float]) -> None:
    photo = Photo(format="png", frames=[Frame(pixels=media.night(48, 32))], metadata=Metadata(dpi=dpi))
    coded, notes = encode(photo, name, quality=None)
    assert notes == [f"resolution dropped: {name.upper()} cannot hold {dpi[0]:g} x {dpi[1]:g} dpi"]
    assert decode(coded, max_pixels=10_000).metadata.dpi is None


def test_the_resolution_of_a_microscope_stays() -> None:
    photo = Photo(format="tiff", frames=[Frame(pixels=media.night(48, 32))], metadata=Metadata(dpi=(5e6, 2.5e7)))
    for name in ("tiff", "png"):
        coded, notes = encode(photo, name, quality=None)
        assert notes == [] and decode(coded, max_pixels=10_000).metadata.dpi == pytest.approx((5e6, 2.5e7))
