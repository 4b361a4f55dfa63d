"""Maker notes stay at their offsets, from which what they point to inside is counted, in TIFF and out of it."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.images import decode, encode
from pipeline.images.metadata import exif, ifd, tags
from tests.support import media

MAX_PX = 1_000_000


def read(coded: bytes) -> Any:
    return decode(coded, max_pixels=MAX_PX)


def note_of(block: bytes) -> tuple[int, bytes]:
    """Return offset and bytes of the maker note in a TIFF or an EXIF block."""
    field = ifd.read(block).nested[tags.EXIF_IFD].fields[tags.MAKER_NOTE]
    return field.place, field.value


def exif_of_jpeg(coded: bytes) -> bytes:
    at = coded.index(exif.PREFIX) + len(exif.PREFIX)
    return coded[at : at - len(exif.PREFIX) - 2 + struct.unpack_from(">H", coded, at - len(exif.PREFIX) - 2)[0]]


@pytest.mark.parametrize("maker", ["Minolta", "Nikon"])
def test_notes_of_a_tiff_stay_where_their_offsets_hold(shared: Path, maker: str) -> None:
    source = (shared / "data/dev/reports_photos/14-tiff-makernotes" / f"{maker}.tif").read_bytes()
    photo = read(source)
    written, notes = encode(photo, "tiff", quality=None)
    jpeg, more_notes = encode(photo, "jpeg", quality=None)
    assert photo.notes == notes == more_notes == []
    assert note_of(written) == note_of(exif_of_jpeg(jpeg)) == note_of(source)
    again, _ = encode(read(encode(read(jpeg), "tiff", quality=None)[0]), "tiff", quality=None)
    assert note_of(again) == note_of(source)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_moves_into_a_tiff_as_a_whole(order: str) -> None:
    block = media.exif_block(6, size=(64, 96), order=order)
    segment = media.jpeg_segment(0xE1, exif.PREFIX + block)
    photo = read(media.with_segments(media.jpeg(media.stored(media.night(), 6)), segment))
    written, _ = encode(photo, "tiff", quality=None)
    assert note_of(written) == (block.index(media.MAKER_NOTE), media.MAKER_NOTE)
    assert written[8 : len(block)] == photo.metadata.exif[8:]
    camera = ifd.read(written).nested[tags.EXIF_IFD]
    assert camera.fields == ifd.read(photo.metadata.exif).nested[tags.EXIF_IFD].fields
    assert note_of(exif_of_jpeg(encode(read(written), "jpeg", quality=None)[0])) == note_of(written)


def test_a_note_too_far_behind_is_left_out_and_named() -> None:
    camera = {0x9003: ifd.Field(ifd.ASCII, 20, b"2024:11:23 21:04:17\0")}
    for note, movable in ((b"Sanyo\0..offsets..", False), (b"FUJIFILM\x0c\0\0\0....", True)):
        inner = ifd.Directory(fields=camera | {tags.MAKER_NOTE: ifd.Field(ifd.UNDEFINED, len(note), note)})
        first = ifd.Directory(fields={271: ifd.Field(ifd.ASCII, 6, b"Lamps\0")}, nested={tags.EXIF_IFD: inner})
        coded, _ = encode(replace(read(media.jpeg(media.night())), format="tiff"), "tiff", quality=None)
        page = ifd.read(coded)
        first.fields |= page.fields
        far = coded + bytes(ifd.MOST_BYTES)
        far = far[:4] + struct.pack("<I", len(far)) + far[8:] + ifd.written(first, "<", len(far))
        photo = read(far)
        assert any("maker note (of Lamps) dropped" in text for text in photo.notes) != movable
        found = ifd.read(encode(photo, "tiff", quality=None)[0]).nested[tags.EXIF_IFD].fields
        assert found[0x9003].value == camera[0x9003].value
        assert (found[tags.MAKER_NOTE].value if movable else None) == (note if movable else found.get(tags.MAKER_NOTE))
