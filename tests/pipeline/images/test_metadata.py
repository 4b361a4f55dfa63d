"""What a file says about its picture survives, and nothing false is left: orientation, EXIF, ICC, XMP, resolution."""

import struct
import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.images import Photo, decode, encode
from pipeline.images.color.cicp import profile
from pipeline.images.metadata import ifd
from tests.support import media

MAX_PX = 10_000_000
ORIENTATIONS = range(1, 9)


def opened(coded: bytes) -> Image.Image:
    return Image.open(BytesIO(coded))


def round_trip(coded: bytes, name: str | None = None) -> tuple[Photo, bytes]:
    photo = decode(coded, max_pixels=MAX_PX)
    return photo, encode(photo, name or photo.format, quality=None)[0]


def oriented(name: str, orientation: int) -> bytes:
    """The night scene as a camera stores it, in a container of the given name."""
    pixels = media.stored(media.night(), orientation)
    block = media.exif_block(orientation, size=(pixels.shape[1], pixels.shape[0]))
    xmp = media.xmp_packet(orientation)
    if name == "JPEG":
        exif_segment = media.jpeg_segment(0xE1, b"Exif\x00\x00" + block)
        xmp_segment = media.jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + xmp)
        return media.with_segments(media.jpeg(pixels, quality=95, subsampling=0), exif_segment, xmp_segment)
    if name == "PNG":
        return media.with_chunks(
            media.saved(pixels, "PNG"),
            media.png_chunk(b"eXIf", block),
            media.png_chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + xmp),
        )
    if name == "ImageMagick":
        digits = (b"Exif\x00\x00" + block).hex()
        lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        text = f"Raw profile type exif\0\nexif\n{len(digits) // 2:8}\n{lines}\n".encode()
        return media.with_chunks(media.saved(pixels, "PNG"), media.png_chunk(b"tEXt", text))
    if name == "WEBP":
        return media.saved(pixels, "WEBP", lossless=True, exif=block, xmp=xmp)
    if name == "TIFF":
        return media.saved(pixels, "TIFF", tiffinfo={274: orientation, 700: xmp})
    return media.saved(pixels, "AVIF", quality=98, subsampling="4:4:4", exif=block, xmp=xmp)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "ImageMagick", "WEBP", "TIFF", "AVIF"])
def test_pixels_come_out_upright_once_and_orientation_becomes_1(name: str, orientation: int) -> None:
    photo, coded = round_trip(oriented(name, orientation))
    shown = media.night()
    lossy = name in ("JPEG", "AVIF")
    assert photo.frames[0].pixels.shape == shown.shape
    assert np.abs(photo.frames[0].pixels.astype(int) - shown).mean() <= (1.5 if lossy else 0)
    with opened(coded) as written:
        assert written.size == (96, 64)
        assert written.getexif().get(0x0112, 1) == 1
        assert b'tiff:Orientation="1"' in written.info.get("xmp", b'tiff:Orientation="1"')
        assert np.abs(np.asarray(written.convert("RGB")).astype(int) - shown).mean() <= (3 if lossy else 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_exif_stays_byte_for_byte_but_for_what_became_false(name: str, order: str) -> None:
    pixels = media.stored(media.night(), 6)
    block = media.exif_block(6, size=(64, 96), order=order)
    segment = media.jpeg_segment(0xE1, b"Exif\x00\x00" + block)
    _, coded = round_trip(media.with_segments(media.jpeg(pixels), segment), name)
    with opened(coded) as written:
        found = written.info["exif"].removeprefix(b"Exif\x00\x00")
        exif = written.getexif()
    thumbnail_at = block.index(b"\xff\xd8\xff")
    changed = [at for at in range(thumbnail_at) if block[at] != found[at]]
    assert len(found) == len(block)
    assert not any(found[thumbnail_at:])
    assert len(changed) <= 2 + 1 + 2  # orientation, link to the thumbnail, the two sides
    assert found.index(media.MAKER_NOTE) == block.index(media.MAKER_NOTE)
    camera = exif.get_ifd(0x8769)
    assert (camera[0xA002], camera[0xA003]) == (96, 64)
    assert camera[0x9003] == "2024:11:23 21:04:17"
    assert camera[0x927C] == media.MAKER_NOTE
    assert [float(part) for part in exif.get_ifd(0x8825)[2]] == [52, 31, 12]
    assert not exif.get_ifd(0x0201)
    first = struct.unpack_from(order + "H", found, 8)[0]
    assert struct.unpack_from(order + "I", found, 10 + 12 * first)[0] == 0  # no second directory


@pytest.mark.parametrize("name", ["tiff", "avif"])
def test_exif_survives_where_the_container_has_its_own_orientation(name: str) -> None:
    segment = media.jpeg_segment(0xE1, b"Exif\x00\x00" + media.exif_block(8, size=(64, 96)))
    _, coded = round_trip(media.with_segments(media.jpeg(media.stored(media.night(), 8)), segment), name)
    with opened(coded) as written:
        exif = written.getexif()
        camera, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    assert exif.get(0x0112, 1) == 1
    assert (camera[0xA002], camera[0xA003], camera[0x927C]) == (96, 64, media.MAKER_NOTE)
    assert [float(part) for part in place[2]] == [52, 31, 12]
    again = decode(coded, max_pixels=MAX_PX)
    _, jpeg = round_trip(encode(again, "jpeg", quality=None)[0])
    with opened(jpeg) as written:
        assert written.getexif().get_ifd(0x8769)[0x927C] == media.MAKER_NOTE


@pytest.mark.parametrize(
    "block",
    [
        b"\xff\xff\xff\xff\x00\x00\x00\x08",
        b"II*\x00",
        b"II*\x00\xff\xff\xff\xff" + bytes(20),
        media.exif_block(6)[:30],
        b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(40),
    ],
)
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif"])
def test_broken_exif_fails_no_photo(block: bytes, name: str) -> None:
    coded = media.with_segments(media.jpeg(media.night()), media.jpeg_segment(0xE1, b"Exif\x00\x00" + block))
    _, written = round_trip(coded, name)
    assert decode(written, max_pixels=MAX_PX).frames[0].size in ((96, 64), (64, 96))


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("icc", [media.rgb_profile(), profile(12, 13), media.rgb_profile() + bytes(150_000)])
def test_icc_profile_stays_byte_for_byte(name: str, icc: bytes) -> None:
    photo, coded = round_trip(media.saved(media.night(), "WEBP", icc_profile=icc), name)
    assert photo.metadata.icc == icc
    with opened(coded) as written:
        assert written.info["icc_profile"] == icc


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif"])
def test_xmp_stays_byte_for_byte(name: str) -> None:
    packet = media.xmp_packet()
    _, coded = round_trip(oriented("WEBP", 1), name)
    with opened(coded) as written:
        assert written.info["xmp"] == packet


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "bmp"])
def test_resolution_is_kept_and_turns_with_the_picture(name: str) -> None:
    segment = media.jpeg_segment(0xE1, b"Exif\x00\x00" + media.exif_block(6, size=(64, 96)))
    _, coded = round_trip(
        media.with_segments(media.jpeg(media.stored(media.night(), 6), dpi=(300, 150)), segment), name
    )
    with opened(coded) as written:
        assert written.info["dpi"] == pytest.approx((150, 300), abs=0.02)


def test_jpeg_comment_iptc_and_further_segments_stay() -> None:
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0a\x1c\x02\x78\x00\x05lamps"
    coded = media.with_segments(
        media.jpeg(media.night(), comment=b"by the harbour"),
        media.jpeg_segment(0xED, iptc),
        media.jpeg_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\x00" + b"F" * 80),
    )
    _, written = round_trip(coded)
    with opened(written) as image:
        assert image.info["comment"] == b"by the harbour"
    assert written.count(iptc) == 1
    assert written.count(b"F" * 80) == 1


def test_png_text_time_and_colour_chunks_stay() -> None:
    chunks = {
        b"gAMA": struct.pack(">I", 45455),
        b"tIME": bytes((7, 232, 11, 23, 21, 4, 17)),
        b"tEXt": b"Author\x00somebody",
        b"zTXt": b"Story\x00\x00" + zlib.compress(b"a long one"),
        b"pHYs": struct.pack(">IIB", 11811, 5906, 1),
    }
    coded = media.with_chunks(media.saved(media.night(), "PNG"), *(media.png_chunk(*chunk) for chunk in chunks.items()))
    _, written = round_trip(coded)
    for kind, payload in chunks.items():
        assert media.png_chunk(kind, payload) in written


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_shape_of_pixels_stays_with_the_picture(orientation: int) -> None:
    chunks = (b"pHYs", struct.pack(">IIB", 2, 1, 0)), (b"eXIf", media.exif_block(orientation))
    coded = media.with_chunks(media.saved(media.night(), "PNG"), *(media.png_chunk(*chunk) for chunk in chunks))
    _, written = round_trip(coded)
    shape = (2, 1) if orientation == 1 else (1, 2)
    assert media.png_chunk(b"pHYs", struct.pack(">IIB", *shape, 0)) in written
    assert written.count(b"pHYs") == 1


def test_a_background_chosen_for_the_dark_picture_is_dropped_and_said() -> None:
    for pixels, notes in (
        (media.night(), []),  # nothing shows it
        (
            np.dstack((media.night(), media.soft_alpha())),
            ["background colour dropped: it was chosen for the image before enhancement"],
        ),
    ):
        coded = media.with_chunks(media.saved(pixels, "PNG"), media.png_chunk(b"bKGD", bytes(6)))
        photo, written = round_trip(coded)
        assert photo.notes == notes
        assert b"bKGD" not in written


def test_gain_map_and_motion_photo_leave_no_false_claim() -> None:
    extra = ' hdrgm:Version="1.0" GCamera:MotionPhoto="1" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
    packet = media.xmp_packet(extra=extra)
    index = b"MPF\x00II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHII", 0xB001, 4, 1, 2) + bytes(4)
    coded = media.with_segments(
        media.jpeg(media.night()),
        media.jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + packet),
        media.jpeg_segment(0xE2, index),
        media.jpeg_segment(0xEB, b"JP\x00\x01 signed"),
    ) + media.jpeg(media.night(48, 32))
    photo, written = round_trip(coded)
    assert photo.frames[0].size == (96, 64)
    assert photo.notes == [
        "content credentials dropped: they certify the image before enhancement",
        "gain map dropped: it describes the brightness before enhancement",
        "video of a motion photo dropped",
    ]
    for gone in (b"hdrgm:Version", b"MotionPhoto", b"MPF\x00", b"signed"):
        assert gone not in written
    with opened(written) as image:
        assert "Nachtkamera é".encode() in image.info["xmp"]


def test_tiff_fields_stay_and_old_reduced_copies_go() -> None:
    small = Image.fromarray(media.night(24, 16))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    info = {271: "Nightcam", 272: "N1", 305: "firmware 3", 33432: "(c) nobody", 33723: b"\x1c\x02\x78\x00\x05lamps"}
    coded = media.saved(
        media.night(),
        "TIFF",
        tiffinfo=info,
        save_all=True,
        append_images=[small],
        compression="tiff_lzw",
        dpi=(300, 300),
    )
    photo, written = round_trip(coded)
    assert len(photo.frames) == 1
    assert photo.notes == ["1 reduced copies dropped: they show the image before enhancement"]
    with opened(written) as image:
        assert {tag: image.tag_v2[tag] for tag in info} == info
        assert image.info["dpi"] == (300, 300)
    _, jpeg = round_trip(written, "jpeg")
    with opened(jpeg) as image:
        assert (image.getexif()[271], image.info["dpi"]) == ("Nightcam", (300, 300))


def test_what_a_format_has_no_place_for_is_said() -> None:
    photo = decode(oriented("JPEG", 1), max_pixels=MAX_PX)
    photo = replace(photo, metadata=replace(photo.metadata, icc=media.rgb_profile(), comment=b"hello"))
    _, notes = encode(photo, "bmp", quality=None)
    assert notes == [
        "EXIF dropped: BMP has no place for it",
        "XMP dropped: BMP has no place for it",
        "comment dropped: BMP has no place for it",
    ]


@pytest.mark.parametrize("others", [b"", b"8BIM\x04\x0c\x03odd\x00\x00\x00\x03abc\x00"])
def test_iptc_goes_from_jpeg_into_tiff_and_back(others: bytes) -> None:
    lamps = b"\x1c\x02\x78\x00\x05lamps"
    resources = others + b"8BIM\x04\x04\x00\x00\x00\x00\x00\x0a" + lamps
    payload = b"Photoshop 3.0\x00" + resources
    coded = media.with_segments(media.jpeg(media.night()), media.jpeg_segment(0xED, payload))
    photo, written = round_trip(coded, "tiff")
    with opened(written) as image:
        assert image.tag_v2[33723] == lamps
        assert image.tag_v2.get(34377, resources) == resources
    again, jpeg = round_trip(written, "jpeg")
    assert decode(jpeg, max_pixels=MAX_PX).metadata.jpeg_segments == photo.metadata.jpeg_segments
    assert again.notes == []
    kept, copy = round_trip(written)
    assert kept.metadata.exif is not None and lamps in copy


def test_iptc_that_a_tiff_states_as_long_numbers_is_turned_round_for_jpeg() -> None:
    lamps = b"\x1c\x02\x78\x00\x05lamps\x00\x00"
    turned = struct.pack("<3I", *struct.unpack(">3I", lamps))
    first = ifd.Directory(fields={33723: ifd.Field(ifd.LONG, 3, turned)})
    photo = decode(media.saved(media.night(), "TIFF"), max_pixels=MAX_PX)
    photo = replace(photo, metadata=replace(photo.metadata, exif=ifd.block(first, "<")))
    jpeg, _ = encode(photo, "jpeg", quality=None)
    assert b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0a" + lamps[:10] in jpeg
