"""Images of the image before enhancement, inside other metadata, go; everything around them stays in place."""

import hashlib
import struct
from io import BytesIO

import pytest
from PIL import Image

from pipeline.images import decode, encode
from tests.support import media

MAX_PX = 10_000_000
PREVIEW = media.jpeg(media.night(32, 24))


def rewritten(coded: bytes) -> bytes:
    photo = decode(coded, max_pixels=MAX_PX)
    written, notes = encode(photo, photo.format, quality=None)
    assert photo.notes + notes == []
    return written


def resource(number: int, content: bytes) -> bytes:
    padded = content + bytes(len(content) & 1)
    return b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + padded


def data_set(number: int, content: bytes, *, long: bool = False) -> bytes:
    length = struct.pack(">HI", 0x8004, len(content)) if long else struct.pack(">H", len(content))
    return bytes((0x1C, 2, number)) + length + content


@pytest.mark.parametrize("broken", [False, True])
def test_previews_in_maker_notes_become_zeros(broken: bool) -> None:
    """Some cameras break the first byte of theirs."""
    preview = (b"\x00" if broken else b"\xff") + PREVIEW[1:]
    block = media.exif_block(1)
    at = len(block)
    count = struct.unpack_from("<H", block, 100)[0]
    entry = 102 + 12 * next(n for n in range(count) if struct.unpack_from("<H", block, 102 + 12 * n)[0] == 0x927C)
    block = bytearray(block + b"NIGHTCAM" + preview + b"behind")
    struct.pack_into("<II", block, entry + 4, 14 + len(preview), at)
    segment = media.jpeg_segment(0xE1, b"Exif\x00\x00" + bytes(block))
    with Image.open(BytesIO(rewritten(media.with_segments(media.jpeg(media.night()), segment)))) as image:
        note = image.getexif().get_ifd(0x8769)[0x927C]
    assert note == b"NIGHTCAM" + bytes(len(preview)) + b"behind"


def test_thumbnails_of_photoshop_and_previews_of_iptc_go() -> None:
    caption, preview = data_set(120, b"lamps"), data_set(202, PREVIEW * 60, long=True)
    iptc = caption + data_set(200, b"\x00\x0b") + data_set(201, b"\x00\x01") + preview + data_set(25, b"night")
    short = caption + data_set(25, b"night")
    dark = resource(0x040C, bytes(28) + PREVIEW) + resource(0x0409, bytes(28) + PREVIEW)
    other = resource(0x03ED, bytes(16))
    block = other + dark + resource(0x0404, iptc) + resource(0x0425, hashlib.md5(iptc).digest())
    parts = [block[at : at + 30_000] for at in range(0, len(block), 30_000)]
    segments = [media.jpeg_segment(0xED, b"Photoshop 3.0\x00" + part) for part in parts]
    written = rewritten(media.with_segments(media.jpeg(media.night()), *segments))
    left = other + resource(0x0404, short) + resource(0x0425, hashlib.md5(short).digest())
    assert media.jpeg_segment(0xED, b"Photoshop 3.0\x00" + left) in written
    assert written.count(b"\xff\xd8\xff") == 1
    tiff = media.saved(media.night(), "TIFF", tiffinfo={34377: block, 33723: iptc, 271: "Nightcam"})
    with Image.open(BytesIO(rewritten(tiff))) as image:
        assert image.tag_v2[34377] == left
        assert image.tag_v2[33723] == short
        assert image.tag_v2[271] == "Nightcam"


def test_a_block_that_is_broken_stays_as_it_is() -> None:
    segment = media.jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x0c\x00\x00\x00\xff\xff\xff")
    assert segment in rewritten(media.with_segments(media.jpeg(media.night()), segment))
