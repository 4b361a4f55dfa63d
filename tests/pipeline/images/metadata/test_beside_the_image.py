"""What a file holds beside its image and the usual metadata: kept where it holds, else named, and never claimed."""

import struct
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from pipeline.images import decode, encode
from pipeline.images.isobmff import heif_items
from tests.support import media

MAX_PX = 10_000_000
GAIN_MAP = "gain map dropped: it describes the brightness before enhancement"
FILM = "video of a motion photo dropped"
DEPTH = "depth image dropped"
SAMPLES = "data/dev/reports_photos"


def rewritten(coded: bytes, name: str | None = None) -> tuple[bytes, list[str]]:
    photo = decode(coded, max_pixels=MAX_PX)
    target = name or ("jpeg" if photo.format == "heif" else photo.format)
    written, notes = encode(photo, target, quality=None)
    return written, photo.notes + notes


def samsung(*pieces: tuple[int, bytes, bytes]) -> bytes:
    """A trailer of kind, name and content, as phones write it."""
    blocks = [struct.pack("<xxHI", kind, len(name)) + name + content for kind, name, content in pieces]
    directory = struct.pack("<4sII", b"SEFH", 107, len(blocks))
    for index, (kind, _, _) in enumerate(pieces):
        directory += struct.pack("<xxHII", kind, len(b"".join(blocks[index:])), len(blocks[index]))
    return b"".join(blocks) + directory + struct.pack("<I", len(directory)) + b"SEFT"


def multi_picture(coded: bytes, *others: tuple[int, bytes]) -> bytes:
    """A JPEG with an MPF index, and images of the given types behind it (CIPA DC-007)."""
    head = 2 + 4 + struct.unpack_from(">H", coded, 4)[0] - 2
    size = 4 + 8 + 2 + 2 * 12 + 4 + 16 * (1 + len(others))
    behind, entries = len(coded) + 4 + size, struct.pack("<IIII", 0x030000, len(coded), 0, 0)
    for kind, image in others:
        entries += struct.pack("<IIII", kind, len(image), behind - (head + 8), 0)
        behind += len(image)
    index = b"II*\x00\x08\x00\x00\x00\x02\x00" + struct.pack("<HHII", 0xB001, 4, 1, 1 + len(others))
    index += struct.pack("<HHII", 0xB002, 7, len(entries), 38) + bytes(4) + entries
    assert len(index) + 4 == size
    return media.with_segments(coded, media.jpeg_segment(0xE2, b"MPF\x00" + index)) + b"".join(i for _, i in others)


@pytest.mark.parametrize(
    ("name", "notes", "gone"),
    [
        ("09-silent-loss/film-behind-jpeg.jpg", [FILM], b"SEFT"),
        ("09-silent-loss/depth-behind-jpeg.jpg", [DEPTH], b"SEFT"),
        ("09-silent-loss/dynamic-depth.jpg", [DEPTH], b"Device:Container>"),
        ("10-heic-xmp-claims/film-inside.heic", [FILM], b"MotionPhoto"),
        ("22-notes/mpf-of-one.jpg", [], b"MPF\x00"),
        ("22-notes/profile-of-7-bytes.jpg", ["ICC profile dropped: it is damaged"], b"ICC_PROFILE"),
        ("11-old-previews/xmp-thumbnail.jpg", [], b"Thumbnails"),
        ("11-old-previews/photoshop-thumbnail.jpg", [], b"8BIM\x04\x0c"),
        ("11-old-previews/photoshop-thumbnail.tif", [], b"8BIM\x04\x0c"),
    ],
)
def test_what_goes_is_named_and_no_longer_claimed(shared: Path, name: str, notes: list[str], gone: bytes) -> None:
    source = (shared / SAMPLES / name).read_bytes()
    assert gone in source
    written, found = rewritten(source)
    assert found == notes
    assert gone not in written


def test_metadata_in_unusual_places_stay(shared: Path) -> None:
    folder = shared / SAMPLES / "09-silent-loss"
    gif = (folder / "xmp-and-icc.gif").read_bytes()
    written, notes = rewritten(gif)
    packet = gif[gif.index(b"XMP DataXMP") : gif.index(b"\x01\xff\xfe") + 258]
    assert b"kept only here" in packet
    assert b"\x21\xff\x0b" + packet in written
    png, _ = rewritten(written, "png")
    with Image.open(BytesIO(png)) as image:
        assert image.info["icc_profile"] == (folder / "profile-inside.bmp").read_bytes()[-18604:]
    bmp = (folder / "profile-inside.bmp").read_bytes()
    written, more = rewritten(bmp)
    at, size = struct.unpack_from("<II", written, 14 + 112)
    assert written[14 + at : 14 + at + size] == bmp[-18604:]
    with Image.open(BytesIO(written)) as image, Image.open(BytesIO(bmp)) as before:
        assert image.tobytes() == before.tobytes()
    assert notes + more == []
    written, notes = rewritten((folder / "iptc-behind-jpeg.jpg").read_bytes())
    with Image.open(BytesIO(written)) as image:
        assert b"caption kept only here" in image.info["photoshop"][0x0404]
    assert notes == []


def test_data_of_a_phone_stay_behind_the_image_and_films_go() -> None:
    film = (0x0A30, b"MotionPhoto_Data", bytes(4) + b"ftypmp42" + bytes(99))
    coded = media.jpeg(media.night()) + samsung((0x0A01, b"Image_UTC_Data", b"1700000000"), film)
    written, notes = rewritten(coded)
    assert written.endswith(samsung((0x0A01, b"Image_UTC_Data", b"1700000000")))
    assert notes == [FILM]
    assert rewritten(written)[1] == []
    assert rewritten(written, "png")[1] == ["data of the camera behind the image dropped: PNG has no place for it"]


def test_images_behind_a_jpeg_are_named_by_what_they_are() -> None:
    primary = media.jpeg(media.night(400, 300))
    preview = media.jpeg(media.night(200, 150))
    wide = media.jpeg(media.night(300, 300))
    mark = media.jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + b'<x hdrgm:Version="1.0"/>')
    assert rewritten(multi_picture(primary, (0, preview)))[1] == []
    assert rewritten(multi_picture(primary, (0x010002, wide)))[1] == []
    assert rewritten(multi_picture(primary, (0x020002, primary)))[1] == ["only the primary image of 2 kept"]
    assert rewritten(multi_picture(primary, (0, media.with_segments(preview, mark))))[1] == [GAIN_MAP]
    assert rewritten(primary + b"what is this")[1] == ["12 bytes of unknown data behind the image dropped"]
    assert rewritten(primary + bytes(5000))[1] == []


def test_other_segments_named_app0_stay_and_thumbnails_go() -> None:
    ciff = media.jpeg_segment(0xE0, b"II\x1a\x00\x00\x00HEAPJPGM" + bytes(30))
    thumbnail = media.jpeg_segment(0xE0, b"JFXX\x00\x10" + media.jpeg(media.night(16, 12)))
    written, notes = rewritten(media.with_segments(media.jpeg(media.night()), ciff, thumbnail))
    assert ciff in written
    assert b"JFXX" not in written
    assert notes == []


def test_chunks_of_png_stay_if_they_hold_for_new_pixels() -> None:
    kept = {b"sTER": b"\x01", b"sCAL": b"\x010.5\x000.25", b"oFFs": struct.pack(">iiB", 3, 4, 0), b"abCd": b"safe"}
    lost = {b"pCAL": b"x\x00" + bytes(11), b"abCD": b"unsafe", b"sBIT": b"\x05\x05\x05"}
    chunks = [media.png_chunk(*chunk) for chunk in (kept | lost).items()]
    written, notes = rewritten(media.with_chunks(media.saved(media.night(), "PNG"), *chunks) + b"behind")
    assert [kind for kind, payload in kept.items() if media.png_chunk(kind, payload) not in written] == []
    assert [kind for kind in lost if kind in written] == []
    assert notes == [
        "calibration of pixel values dropped: enhancement changes these values",
        "PNG chunk 'abCD' dropped: it is not known to fit other pixels",
        "6 bytes of unknown data behind the image dropped",
    ]
    turned = media.png_chunk(b"eXIf", media.exif_block(6))
    written, _ = rewritten(media.with_chunks(media.saved(media.night(), "PNG"), turned, *chunks))
    assert media.png_chunk(b"sCAL", b"\x010.25\x000.5") in written


def test_items_of_avif_are_named() -> None:
    coded = media.saved(media.night(), "AVIF")
    assert rewritten(coded)[1] == []
    film = struct.pack(">I", 8 + 40) + b"mpvd" + bytes(40)
    assert rewritten(coded + film)[1] == [FILM]
    item = struct.pack(">I4sIHH4sB", 21, b"infe", 2 << 24, 9, 0, b"tmap", 0)
    at = coded.index(b"iinf") - 4
    size, count = struct.unpack_from(">I", coded, at)[0], struct.unpack_from(">H", coded, at + 12)[0]
    inside = coded.index(b"meta") - 4
    longer = bytearray(coded)
    struct.pack_into(">I", longer, at, size + len(item))
    struct.pack_into(">H", longer, at + 12, count + 1)
    longer[at + size : at + size] = item
    struct.pack_into(">I", longer, inside, struct.unpack_from(">I", coded, inside)[0] + len(item))
    assert list(heif_items.lost(bytes(longer))) == [GAIN_MAP]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_claims_go_whatever_the_format(name: str, encoding: str) -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:GCamera="g" xmlns:C="c" xmlns:I="i" xmlns:dc="d">'
        "<GCamera:MotionPhoto>1</GCamera:MotionPhoto><dc:source>stays</dc:source><C:Directory><rdf:Seq>"
        '<rdf:li rdf:parseType="Resource"><C:Item I:Semantic="Primary"/></rdf:li>'
        '<rdf:li rdf:parseType="Resource"><C:Item><I:Semantic>GainMap</I:Semantic></C:Item></rdf:li>'
        "</rdf:Seq></C:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    options = {"tiffinfo": {700: packet.encode(encoding)}} if name == "TIFF" else {"xmp": packet.encode(encoding)}
    if name == "PNG":
        itxt = b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + packet.encode(encoding)
        coded = media.with_chunks(media.saved(media.night(), name), media.png_chunk(b"iTXt", itxt))
    else:
        coded = media.saved(media.night(), name, **options)
    written, notes = rewritten(coded)
    assert sorted(notes) == [GAIN_MAP, FILM]
    assert b"MotionPhoto" not in written
    assert b"Directory" not in written
    assert b"stays" in written


def test_blocks_of_photo_databases_are_taken_apart() -> None:
    iptc, other = b"\x1c\x02\x78\x00\x05lamps", b"\x1c\x02\x78\x00\x05night"
    primary = media.jpeg(media.night())

    def station(kind: int, content: bytes) -> bytes:
        return content + struct.pack(">HI", kind, len(content) + 10) + b"\xa1\xb2\xc3\xd4"

    mechanic = b"\x1c\x02\xdd\x00\x04\x00\x00\x00\x01" + struct.pack(">I", 9) + b"cbipcbbl"
    preview = media.jpeg(media.night(16, 12))
    written, notes = rewritten(primary + station(1, iptc) + station(2, b"crop") + station(4, preview) + mechanic)
    assert written.endswith(mechanic)
    assert iptc in written
    assert written.count(b"\xff\xd8\xff") == 1
    assert notes == ["FotoStation's crop and other edits behind the image dropped"]
    resources = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00" + struct.pack(">I", len(other)) + other
    _, notes = rewritten(media.with_segments(primary, media.jpeg_segment(0xED, resources)) + station(1, iptc))
    assert notes == ["IPTC behind the image dropped: the photo has other IPTC"]
    _, notes = rewritten(primary + b"CANON OPTIONAL DATA\x00" + bytes(40))
    assert notes == ["Canon's editing recipe behind the image dropped"]
