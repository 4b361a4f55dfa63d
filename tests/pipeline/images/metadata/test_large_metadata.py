"""EXIF and XMP of more than a JPEG segment: cut and joined as ExifTool, libheif and Adobe do, never dropped whole."""

import hashlib
import struct
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from pipeline.images import decode, encode
from pipeline.images.metadata import packet
from tests.support import media

MAX_PX = 10_000_000
EXTENDED = b"http://ns.adobe.com/xmp/extension/\x00"


def rewritten(coded: bytes, name: str = "jpeg") -> tuple[bytes, list[str]]:
    photo = decode(coded, max_pixels=MAX_PX)
    written, notes = encode(photo, name, quality=None)
    return written, photo.notes + notes


def app_segments(coded: bytes) -> list[tuple[int, bytes]]:
    at, found = 2, []
    while coded[at + 1] != 0xDA:
        length = struct.unpack_from(">H", coded, at + 2)[0]
        found.append((coded[at + 1], coded[at + 4 : at + 2 + length]))
        at += 2 + length
    return found


def test_large_exif_is_cut_and_joined(shared: Path) -> None:
    source = (shared / "data/dev/reports_photos/07-large-metadata/exif-over-64k.heic").read_bytes()
    before = decode(source, max_pixels=MAX_PX).metadata.exif
    assert before is not None and len(before) > 70_000
    written, notes = rewritten(source)
    parts = [payload for marker, payload in app_segments(written) if payload.startswith(b"Exif\x00\x00")]
    assert b"".join(part[6:] for part in parts) == before
    assert [len(part) for part in parts[:-1]] == [65533] * (len(parts) - 1)
    with Image.open(BytesIO(written)) as image:
        assert image.getexif()[0x010F] == "Maker"
        assert image.getexif().get_ifd(0x8825)[2] == (1.0, 0.0, 0.0)
    assert notes == []
    assert decode(written, max_pixels=MAX_PX).metadata.exif == before


def test_halves_stay_neighbours(shared: Path) -> None:
    name = "data/dev/reports_photos/08-split-exif/two-exif-segments-xmp-icc.jpg"
    written, notes = rewritten((shared / name).read_bytes())
    kinds = [payload[:4] for marker, payload in app_segments(written) if marker in (0xE1, 0xE2)]
    assert kinds == [b"Exif", b"Exif", b"http", b"ICC_"]
    with Image.open(BytesIO(written)) as image:
        assert len(image.getexif().get_ifd(0x8769)[0x9286]) > 65536
        assert 2 in image.getexif().get_ifd(0x8825)
    assert notes == []


def test_thumbnail_and_padding_are_the_first_to_go() -> None:
    block = media.exif_block(1)
    full = block + bytes(70_000)
    written, notes = rewritten(media.saved(media.night(), "WEBP", exif=full))
    (segment,) = [payload for _, payload in app_segments(written) if payload.startswith(b"Exif\x00\x00")]
    assert len(segment) < len(block)  # without its thumbnail, too
    with Image.open(BytesIO(written)) as image:
        assert image.getexif().get_ifd(0x8769)[0x927C] == media.MAKER_NOTE
    assert notes == []


def test_large_xmp_goes_into_extended_xmp(shared: Path) -> None:
    source = (shared / "data/dev/reports_photos/07-large-metadata/xmp-over-64k.png").read_bytes()
    written, notes = rewritten(source)
    parts = [payload for _, payload in app_segments(written) if payload.startswith(EXTENDED)]
    whole = b"".join(part[len(EXTENDED) + 40 :] for part in parts)
    guid = hashlib.md5(whole).hexdigest().upper().encode()
    at = 0
    for part in parts:
        assert part[len(EXTENDED) :][:40] == guid + struct.pack(">II", len(whole), at)
        at += len(part) - len(EXTENDED) - 40
    assert b'xmpNote:HasExtendedXMP="%s"' % guid in written
    assert whole.count(b"long text") > 8000
    assert notes == []
    for name in ("png", "webp", "tiff", "avif", "gif"):
        again, notes = rewritten(written, name)
        assert notes in ([], ["colours reduced to 256 in each frame: GIF holds no more"])
        joined = decode(again, max_pixels=MAX_PX).metadata.xmp
        assert joined is not None and joined.count(b"long text") == whole.count(b"long text")
        assert b"HasExtendedXMP" not in joined


@pytest.mark.parametrize("quote", ['"', "'"])
def test_large_attributes_move_and_come_back(quote: str) -> None:
    large = f"xmlns:GDepth='d' GDepth:Data={quote}{'QUJD' * 30_000}{quote} GDepth:Near={quote}1{quote}"
    whole = media.xmp_packet(extra=f" {large}")
    standard, extended = packet.split(whole, 65_000) or (b"", b"")
    assert len(standard) < 65_000
    assert b"GDepth:Near" in standard
    assert b"QUJDQUJD" not in standard
    joined = packet.joined(standard, extended)
    assert joined is not None and b"QUJD" * 30_000 in joined
    assert packet.structure(joined) is not None


def test_xmp_that_is_no_xml_is_dropped_and_said_only_if_it_does_not_fit() -> None:
    for size, dropped in ((100, False), (70_000, True)):
        broken = b"<x:xmpmeta><rdf:RDF>" + b"a" * size
        written, notes = rewritten(media.saved(media.night(), "WEBP", xmp=broken))
        assert (broken in written) is not dropped
        assert [note.split(":")[0] for note in notes] == ["XMP dropped"] * dropped
