"""EXIF and XMP of camera raw files, as far as they stay valid for a developed image."""

import struct

from pipeline.images.isobmff.boxes import sound_boxes
from pipeline.images.metadata import exif, ifd, regions, tags
from pipeline.images.photo import Metadata
from pipeline.images.pixels import add_note
from pipeline.images.raw.recognition import CANON_CR3, PANASONIC, as_tiff

SRGB = 1  # of the field ColorSpace
# All else in the first directory describes the sensor or the layout of the raw file.
KEPT = {tags.DESCRIPTION, tags.MAKE, tags.MODEL, tags.X_RESOLUTION, tags.Y_RESOLUTION, tags.RESOLUTION_UNIT}
KEPT |= {tags.SOFTWARE, tags.DATE, tags.ARTIST, tags.RATING, tags.RATING_PERCENT, tags.COPYRIGHT, tags.IPTC}
# Canon CR3: boxes of ISO/IEC 14496-12 that each hold a TIFF block
CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
CR3_IFDS = {b"CMT2": tags.EXIF_IFD, b"CMT4": tags.GPS_IFD}
EXIF_SEGMENT = b"\xff\xd8\xff\xe1"


def metadata_of(data: bytes, preview: bytes | None, notes: list[str]) -> Metadata:
    """Return EXIF without orientation, and XMP; what is lost is added to `notes`.

    They come from the raw file's own directories or, failing that, from its JPEG preview.
    """
    try:
        found = _directory_of_cr3(data) if data[4:12] == CANON_CR3 else _directory(data)
    except (ValueError, struct.error):
        found = None
    if found is None:
        return Metadata(exif=_exif_of_jpeg(preview, notes))
    directory, order = found
    packet = directory.fields.get(tags.XMP)
    kept = {tag: value for tag, value in directory.fields.items() if tag in KEPT}
    nested = {}
    if tags.EXIF_IFD in directory.nested:
        fields = directory.nested[tags.EXIF_IFD].fields
        if tags.MAKER_NOTE in fields:
            add_note(notes, "maker note dropped: it is valid only inside the raw file")
        outdated = (tags.MAKER_NOTE, tags.PIXEL_WIDTH, tags.PIXEL_HEIGHT)
        left = {tag: value for tag, value in fields.items() if tag not in outdated}
        left[tags.COLOR_SPACE] = ifd.field_of(order, ifd.SHORT, SRGB)
        nested[tags.EXIF_IFD] = ifd.Directory(fields=left)
    if tags.GPS_IFD in directory.nested:
        nested[tags.GPS_IFD] = directory.nested[tags.GPS_IFD]
    block = ifd.block(ifd.Directory(fields=kept, nested=nested), order) if kept or nested else None
    return Metadata(exif=block, xmp=_kept_xmp(packet.value, notes) if packet else None)


def _directory(data: bytes) -> tuple[ifd.Directory, str] | None:
    """Return the first directory of a raw file that is a TIFF; None for others."""
    tiff = None if data.startswith(PANASONIC) else as_tiff(data)  # that lacks much that its JPEG has
    return (ifd.read(tiff), ifd.byte_order(tiff)) if tiff else None


def _directory_of_cr3(data: bytes) -> tuple[ifd.Directory, str] | None:
    """Return the blocks of a CR3 joined to one directory; None if there are none."""
    for kind, movie in sound_boxes(data):
        for inner, content in sound_boxes(movie) if kind == b"moov" else ():
            if inner == b"uuid" and content.startswith(CANON_UUID):
                blocks = dict(sound_boxes(content[len(CANON_UUID) :]))
                first = ifd.read(blocks.get(b"CMT1", b""))
                for name, tag in CR3_IFDS.items():
                    if blocks.get(name, b"")[:4] == blocks[b"CMT1"][:4]:  # the same byte order
                        first.nested[tag] = ifd.read(blocks[name])
                return first, ifd.byte_order(blocks[b"CMT1"])
    return None


def _exif_of_jpeg(preview: bytes | None, notes: list[str]) -> bytes | None:
    """Return the EXIF of a JPEG that begins with it, as all do that LibRaw passes on."""
    if preview is None or not preview.startswith(EXIF_SEGMENT) or preview[6:12] != exif.PREFIX:
        notes.append("EXIF dropped: nightlift does not read it from this kind of raw file")
        return None
    try:
        return exif.without_orientation(preview[12 : 4 + int.from_bytes(preview[4:6], "big")])
    except ValueError:
        notes.append("EXIF dropped: that of the embedded JPEG is damaged")
        return None


def _kept_xmp(packet: bytes, notes: list[str]) -> bytes | None:
    """Return the XMP packet; None if it asks programs to develop the photo, which would then happen twice."""
    if b"crs:" in packet:
        notes.append("XMP dropped: it holds settings to develop the raw file, which a program would apply again")
        return None
    return regions.ORIENTATION.sub(rb"\g<1>1", packet)
