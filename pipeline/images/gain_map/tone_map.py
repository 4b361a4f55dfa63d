"""Photos for HDR screens in AVIF: an item `tmap` derives what they show from the image and a gain map.

ISO/IEC 23008-12 section 6.6.2.4 says how the item refers to both, and ISO 21496-1 annex C what it holds.
"""

import struct

from pipeline.images.codecs import av1, avif
from pipeline.images.color import cicp
from pipeline.images.gain_map import metadata
from pipeline.images.gain_map.gains import StoredMap, enhanced
from pipeline.images.isobmff.boxes import Box, Colours, colours_of, content_of
from pipeline.images.isobmff.reading import items_of
from pipeline.images.isobmff.writing import Item, still
from pipeline.images.photo import Compression, Frame, GainMap, Photo, to_8_bits

TMAP = b"tmap"  # kind of item, and brand of files with one
VERSION = b"\x00"
QUALITY = 95  # of a map, which is small and smooth
PQ, MATRIX_BT601 = 16, 6  # of ITU-T H.273
OF_MAP = Colours(cicp.UNSPECIFIED, cicp.UNSPECIFIED, MATRIX_BT601, full=True)


def read(data: bytes, max_pixels: int) -> StoredMap | None:
    """Read the gain map of an AVIF; None if it has none for an ordinary image, the primary one.

    Raises MediaError, or what FFmpeg raises on damage.
    """
    items = items_of(data)
    number = next((number for number, kind in items.kinds.items() if kind == TMAP), None)
    images = items.references.get((b"dimg", number or 0), [])
    if number is None or images[:1] != [items.primary] or len(images) != 2:
        return None
    content, properties = items.contents[number], items.properties[images[1]]
    gains = metadata.of_iso(content[1:]) if content[:1] == VERSION else None
    if gains is None:
        return None
    pixels, _ = avif.samples_of(items, images[1], colours_of(properties), max_pixels)
    return StoredMap(to_8_bits(pixels), gains)


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write an AVIF, with its gain map if it has one."""
    found = photo.metadata.gain_map
    if found is None or photo.animated:
        return avif.write(photo, compression, notes)
    if found.note:
        notes.append(found.note)
    items = avif.items_to_write(photo, compression, notes)
    gain_map = enhanced(found, photo.frames[0])
    derived = len(items) + 2
    items += [_map(gain_map), _derived(items[0], gain_map, derived - 1)]
    return still(items, TMAP, [derived, 1])


def _map(gain_map: GainMap) -> Item:
    grey = gain_map.pixels.shape[2] == 1
    coded = items_of(av1.by_pillow(Frame(pixels=gain_map.pixels), "4:0:0" if grey else "4:4:4", QUALITY, full=True))
    own = colours_of(coded.properties[coded.primary]) or OF_MAP
    item = avif.image_item(coded, coded.primary, [_colour_box(own._replace(primaries=2, transfer=2))])
    return Item(kind=item.kind, content=item.content, properties=item.properties, hidden=True)


def _derived(image: Item, gain_map: GainMap, number: int) -> Item:
    """Return the item of what HDR screens show: as large as the image, as PQ with its primaries."""
    own = colours_of(image.properties)
    colours = Colours(own.primaries if own else cicp.UNSPECIFIED, PQ, MATRIX_BT601, full=True)
    size = content_of(image.properties, b"ispe") or b""
    return Item(
        kind=TMAP,
        content=VERSION + metadata.iso(gain_map.gains),
        properties=[Box(b"ispe", size), Box(b"pixi", bytes((0, 0, 0, 0, 3, 10, 10, 10))), _colour_box(colours)],
        references=[(b"dimg", (1, number))],
    )


def _colour_box(colours: Colours) -> Box:
    primaries, transfer, matrix, full = colours
    return Box(b"colr", b"nclx" + struct.pack(">HHHB", primaries, transfer, matrix, full << 7))
