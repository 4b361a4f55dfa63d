"""Broken, hostile and foreign files: one clear error each, never another exception, a warning, or output."""

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import Damaged, EmptyFile, MediaError, NotMedia, TooLarge, Unsupported
from pipeline.images import FORMATS, Frame, Metadata, Photo, decode, encode
from tests.support import media, raw_files
from tests.support.odd_files import ODD_ERRORS

MAX_PX = 1_000_000


def every_format() -> dict[str, bytes]:
    """A small file of each format, with metadata in it."""
    scene, alpha = media.night(48, 32), media.soft_alpha(48, 32)
    block, icc, xmp = media.exif_block(6, size=(48, 32)), media.rgb_profile(), media.xmp_packet(6)
    rgba = np.dstack((scene, alpha))
    frames = [Frame(pixels=media.night(24, 16, seed=seed), alpha=None, duration_ms=50) for seed in range(3)]
    moving = Photo(format="png", frames=frames, loop=0)
    found = {
        "jpeg": media.jpeg(scene, exif=b"Exif\x00\x00" + block, icc_profile=icc, xmp=xmp, comment=b"x"),
        "jpeg-progressive": media.jpeg(scene, progressive=True),
        "png": media.with_chunks(
            media.saved(rgba, "PNG", icc_profile=icc, dpi=(72, 72)), media.png_chunk(b"eXIf", block)
        ),
        "png-16": media.png_16(media.night_16()),
        "webp": media.saved(rgba, "WEBP", exif=block, icc_profile=icc, xmp=xmp),
        "webp-lossless": media.saved(rgba, "WEBP", lossless=True),
        "tiff": media.saved(scene, "TIFF", icc_profile=icc, compression="tiff_lzw", tiffinfo={271: "Nightcam"}),
        "tiff-16": media.tiff_16(media.night_16(), order=">"),
        "tiff-strips": media.tiff_16(media.night_16(), planar=True),
        "bmp": media.saved(scene, "BMP"),
        "avif": media.saved(rgba, "AVIF", exif=block, icc_profile=icc, xmp=xmp),
        "pnm": media.saved(scene, "PPM"),
        "raw": raw_files.dng(raw_files.linear(scene), jpeg=media.jpeg(scene), orientation=6, xmp=xmp),
        "pnm-16": b"P6\n40 30\n65535\n" + media.night_16().astype(">u2").tobytes(),
    }
    still = Photo(
        format="png", frames=[Frame(pixels=scene, alpha=alpha)], metadata=Metadata(exif=block, icc=icc, xmp=xmp)
    )
    found["jxl"] = encode(still, "jxl", quality=None)[0]
    found["jxl-lossless"] = encode(still, "jxl", quality=100)[0]
    animated = ("png", "gif", "webp", "avif", "jxl")
    return found | {f"{name}-moving": encode(moving, name, quality=None)[0] for name in animated}


FILES = every_format()


def silent(capfd: pytest.CaptureFixture[str]) -> bool:
    return tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_damaged(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole = FILES[name]
    for part in (0.999, 0.9, 0.6, 0.3, 0.1):
        cut = whole[: int(len(whole) * part)]
        try:
            photo = decode(cut, max_pixels=MAX_PX)
        except (Damaged, NotMedia):
            continue
        # padding or an end mark alone is missing, or metadata behind the pixels, which must be said
        assert part > 0.99 or photo.notes, f"{part} of the file passed as a whole one"
    assert silent(capfd)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_any_broken_bytes_give_a_photo_or_a_media_error(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(name)
    for _ in range(150):
        broken = bytearray(FILES[name])
        for _ in range(rng.choice((1, 1, 3, 20))):
            broken[rng.randrange(len(broken)) if rng.random() < 0.5 else rng.randrange(min(400, len(broken)))] = (
                rng.choice((0, 1, 127, 255, rng.randrange(256)))
            )
        try:
            photo = decode(bytes(broken), max_pixels=MAX_PX)
        except MediaError as error:
            assert str(error).isprintable()
            continue
        assert sum(frame.size[0] * frame.size[1] for frame in photo.frames) <= MAX_PX
        encode(photo, FORMATS[photo.format].written_as, quality=None)
    assert silent(capfd)


def test_nothing_and_text_and_videos_are_named() -> None:
    with pytest.raises(EmptyFile):
        decode(b"", max_pixels=MAX_PX)
    with pytest.raises(NotMedia, match="starts with 'not an image'"):
        decode(b"not an image", max_pixels=MAX_PX)
    with pytest.raises(NotMedia, match="not a photo but a video"):
        decode(b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00mp42" + bytes(50), max_pixels=MAX_PX)
    with pytest.raises(Unsupported, match="JPEG 2000"):
        decode(b"\xff\x4f\xff\x51" + bytes(50), max_pixels=MAX_PX)
    with pytest.raises(Damaged, match="text mode"):
        decode(b"\x89PNG\n\x1a\n" + bytes(50), max_pixels=MAX_PX)


def bombs() -> dict[str, bytes]:
    """Headers that promise 60000x60000 or so, with next to nothing behind."""
    side = 60_000
    png_header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    tiff = bytearray(media.tiff_16(media.night_16()))
    small = struct.pack("<HHII", 256, 4, 1, 40) + struct.pack("<HHII", 257, 4, 1, 30)
    assert small in tiff
    jpeg = bytearray(media.jpeg(media.night()))
    at = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, at + 5, side, side)
    webp = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_000).to_bytes(3, "little") * 2 + FILES["webp"][30:]
    gif = media.saved(Image.fromarray(media.night()[..., 0]), "GIF")
    whole, beyond = (b"\x2c" + struct.pack("<4H", 0, 0, *size) for size in ((96, 64), (60_000, 60_000)))
    assert whole in gif
    bmp = bytearray(FILES["bmp"])
    struct.pack_into("<ii", bmp, 18, 30_000, 30_000)
    return {
        "jpeg": bytes(jpeg),
        "png": b"\x89PNG\r\n\x1a\n"
        + media.png_chunk(b"IHDR", png_header)
        + media.png_chunk(b"IDAT", zlib.compress(bytes(1000)))
        + media.png_chunk(b"IEND", b""),
        "tiff": bytes(
            tiff.replace(small, struct.pack("<HHII", 256, 4, 1, side) + struct.pack("<HHII", 257, 4, 1, side))
        ),
        "webp": b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp,
        "bmp": bytes(bmp),
        "gif": FILES["gif-moving"][:6] + struct.pack("<HH", 65535, 65535) + FILES["gif-moving"][10:],
        "gif-frame": gif.replace(whole, beyond),
        "tiff-tile": tiled_tiff(side),
        "pnm": b"P6\n60000 60000\n255\n" + bytes(100),
        "pnm-16": b"P6\n60000 60000\n65535\n" + bytes(100),
    }


def tiled_tiff(side: int) -> bytes:
    """A picture of 16x16 in one deflated tile, of which the header says how long its sides are."""
    pixels = zlib.compress(bytes(256))
    entries = (
        (256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 8),
        (325, len(pixels)),
    )  # fmt: skip
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return (
        b"II*\x00" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(entries)) + fields + bytes(4)
    )


def test_a_tile_may_be_larger_than_its_picture() -> None:
    assert decode(tiled_tiff(16), max_pixels=MAX_PX).frames[0].size == (16, 16)


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_too_large_before_it_goes_off(name: str) -> None:
    with pytest.raises(TooLarge, match="more than --max-pixels 200000000; raise the limit to read it"):
        decode(bombs()[name], max_pixels=200_000_000)


def test_metadata_bombs_and_endless_scans_are_harmless() -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    scene = media.night()
    coded = media.with_chunks(
        media.saved(scene, "PNG"),
        media.png_chunk(b"iCCP", b"x\x00\x00" + bomb),
        media.png_chunk(b"zTXt", b"Raw profile type exif\x00\x00" + bomb),
    )
    photo = decode(coded, max_pixels=MAX_PX)
    assert photo.notes == ["ICC profile dropped: it is damaged"]
    assert np.array_equal(photo.frames[0].pixels, scene)
    scans = media.jpeg(scene, progressive=True) + b"\xff\xda" * 300
    with pytest.raises(Unsupported, match="scans"):
        decode(scans, max_pixels=MAX_PX)


def test_broken_metadata_fail_no_png() -> None:
    scene = media.night()
    chunk = bytearray(media.png_chunk(b"tEXt", b"Author\x00me"))
    chunk[-1] ^= 1  # its checksum
    coded = media.with_chunks(media.saved(scene, "PNG"), bytes(chunk), media.png_chunk(b"iCCP", b"x\x00\x00junk"))
    photo = decode(coded, max_pixels=MAX_PX)
    assert np.array_equal(photo.frames[0].pixels, scene)
    assert photo.notes == ["ICC profile dropped: it is damaged"]


def test_a_png_of_palette_without_one_is_damaged() -> None:
    coded = media.saved(Image.fromarray(media.night()).quantize(16), "PNG")
    at = coded.index(b"PLTE") - 4
    end = at + 12 + struct.unpack_from(">I", coded, at)[0]
    with pytest.raises(Damaged):
        decode(coded[:at] + coded[end:], max_pixels=MAX_PX)


def test_floating_point_is_refused_with_a_way_out() -> None:
    coded = media.saved(Image.fromarray(media.night()[..., 0].astype(np.float32)), "TIFF")
    with pytest.raises(Unsupported, match="convert it to 8 or 16 bits"):
        decode(coded, max_pixels=MAX_PX)


def test_12_bit_jpeg_says_what_it_is() -> None:
    coded = bytearray(media.jpeg(media.night()))
    at = coded.index(b"\xff\xc0")
    coded[at + 1], coded[at + 4] = 0xC1, 12
    with pytest.raises(Unsupported, match="JPEG of 12 bits"):
        decode(bytes(coded), max_pixels=MAX_PX)


@pytest.mark.parametrize("stray", [b"\x00", b"junk", b"\xff\x00", b"\x00\xff\xff"])
def test_stray_bytes_between_the_segments_of_a_jpeg_are_skipped(stray: bytes) -> None:
    coded = media.jpeg(media.night(), comment=b"by the harbour")
    photo = decode(media.with_segments(coded, stray), max_pixels=MAX_PX)
    whole = decode(coded, max_pixels=MAX_PX)
    assert np.array_equal(photo.frames[0].pixels, whole.frames[0].pixels)
    assert photo.metadata == whole.metadata


@pytest.mark.slow
def test_each_odd_image_becomes_a_photo_or_the_error_it_deserves(
    shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pillow_heif")
    found = {}
    for path in sorted((shared / "data" / "dev" / "odd").iterdir()):
        try:
            photo = decode(path.read_bytes(), max_pixels=100_000_000)
        except MediaError as error:
            found[path.name] = error.code
            continue
        coded, _ = encode(photo, FORMATS[photo.format].written_as, quality=None)
        again = decode(coded, max_pixels=100_000_000)
        assert [frame.size for frame in again.frames] == [frame.size for frame in photo.frames], path.name
        assert [frame.duration_ms for frame in again.frames] == [frame.duration_ms for frame in photo.frames], path.name
        assert again.loop == photo.loop, path.name
        assert again.metadata.icc == photo.metadata.icc, path.name
    assert found == ODD_ERRORS
    assert silent(capfd)
