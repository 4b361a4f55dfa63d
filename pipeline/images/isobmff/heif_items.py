"""What HEIF and AVIF files (ISO/IEC 14496-12, 23008-12) hold beside the image that is read."""

import struct
from collections.abc import Iterator
from io import BytesIO

from pipeline.images.isobmff.reading import Items, described
from pipeline.images.metadata import samsung, xmp
from pipeline.images.pixels import add_note
from pipeline.video.structure import iso_boxes
from pipeline.video.structure.iso_boxes import CREDENTIALS, CREDENTIALS_DROPPED

GAIN_MAPS, DEPTHS, ALPHAS = ("hdrgainmap", "21496"), ("depth", "auxid:2"), ("alpha", "auxid:1")
CODED = frozenset((b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"avc1", b"jpeg", b"unci", b"j2k1", b"tmap"))
KNOWN = {kind.decode() for kind in CODED} | {"Exif", "mime", "uri "}  # mime: XMP


def lost(data: bytes) -> Iterator[str]:
    """Yield a note for each thing in the file that is neither its image nor its metadata, except thumbnails."""
    for kind, start, end in _boxes(data):
        if kind == b"mpvd":
            yield xmp.FILM_DROPPED
        elif kind == b"uuid" and data[start : start + 16] == CREDENTIALS:
            yield CREDENTIALS_DROPPED
        elif kind == b"sefd":
            notes: list[str] = []
            found = samsung.pieces(data[start:end])
            samsung.kept(found[1] if found else [], notes)
            yield from notes
        elif kind == b"meta":
            try:
                yield from _lost_items(described(data[start:end]))
            except (struct.error, IndexError):
                continue


def sequence(data: bytes) -> bool:
    """Return whether the file holds an image sequence beside or instead of a still image."""
    return any(kind == b"moov" for kind, _, _ in _boxes(data))


def samsung_data(data: bytes) -> bytes:
    """Return the data of a Samsung phone that hold for new pixels, in the form in which they follow a JPEG."""
    for kind, start, end in _boxes(data):
        found = samsung.pieces(data[start:end]) if kind == b"sefd" else None
        if found:
            return samsung.kept(found[1], [])
    return b""


def _lost_items(items: Items) -> Iterator[str]:
    """Yield a note for each kind of item that is lost."""
    notes: list[str] = []
    not_shown, mattes = set(items.hidden), 0
    for (kind, from_item), to_items in items.references.items():
        if kind == b"dimg":
            not_shown.update(to_items)  # parts of a grid, or what a gain map is applied to
        if kind in (b"thmb", b"auxl"):
            not_shown.add(from_item)
    for stated in (items.auxiliary_type(number) for number in items.properties if number in items.kinds):
        if not stated or any(name in stated for name in ALPHAS):
            continue
        if any(name in stated for name in GAIN_MAPS):
            add_note(notes, xmp.GAIN_MAP_DROPPED)
        elif any(name in stated for name in DEPTHS):
            add_note(notes, xmp.DEPTH_DROPPED)
        else:
            mattes += 1
    if b"tmap" in items.kinds.values():  # ISO 21496-1: an image derived by a gain map
        add_note(notes, xmp.GAIN_MAP_DROPPED)
    if mattes:
        notes.append(f"{mattes} auxiliary images dropped, such as masks of persons or sky")
    shown = {item for item, kind in items.kinds.items() if kind in CODED - {b"tmap"}} - not_shown
    if len(shown | {items.primary}) > 1:
        notes.append(f"only the primary image of {len(shown | {items.primary})} kept")
    unknown = sorted({kind.decode("latin-1") for kind in items.kinds.values()} - KNOWN)
    if unknown:
        notes.append(f"items of other kinds dropped: {', '.join(unknown)}")
    yield from notes


def _boxes(data: bytes) -> Iterator[iso_boxes.Box]:
    return iso_boxes.boxes(BytesIO(data), 0, len(data))
