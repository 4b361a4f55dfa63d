"""What lies behind the end of a JPEG: further images (CIPA DC-007), films, and blocks that programs append.

Each block is kept if it holds for the new pixels, or noted. Previews of the same photo go without a note, like the
thumbnail of EXIF.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pipeline.errors import plural
from pipeline.images.metadata import ifd, jpeg_markers, photoshop, samsung, tags, xmp
from pipeline.images.pixels import add_note

MPF = b"MPF\x00"
MP_THUMBNAILS = 1  # type codes 0x01xxxx: large thumbnails
GAIN_MAPS = re.compile(rb"hdrgm:|HDRGainMap|urn:iso:std:iso:ts:21496:")
ASPECT_TOLERANCE = 0.03
THUMBNAIL_PX = 160
FILM = re.compile(rb"\x00\x00[\x00-\x03].ftyp", re.DOTALL)
BLANK = b"\x00\xff\xd9 \r\n\t"

MOST_BLOCKS = 20
FOTOSTATION, PHOTO_MECHANIC = b"\xa1\xb2\xc3\xd4", b"cbipcbbl"
IPTC, PREVIEWS = (1, b"IPTC"), (3, 4, b"Nail", b"PrVw")  # pieces, by FotoStation's numbers and AFCP's names
AFCP = {b"AXS!": ">", b"AXS*": "<"}
# Blocks that are dropped, by bytes that are found in them
NAMED = {
    b"CANON OPTIONAL DATA": "Canon's editing recipe",
    b"zmie~": "MIE metadata",
    b"QDIOBS": "sound recording",
    b"/NIKON APP": "Nikon's editing data",
    b"8db42d694ccc418790edff439fe026bf": "Insta360's recording data",
}


@dataclass(slots=True)
class Trailer:
    """What was found behind the image and can be kept."""

    kept: bytes = b""
    """Blocks that stay valid, wherever in a file they lie."""
    iptc: list[bytes] = field(default_factory=list)
    """IPTC data sets."""


def read(data: bytes, segments: Sequence[jpeg_markers.Segment], packet: bytes, notes: list[str]) -> Trailer:
    """Read what lies behind the image whose segments these are. `packet`: its XMP, which names what is appended."""
    found = Trailer()
    start = jpeg_markers.end(data, segments[-1])
    end = _before_blocks(data, start, found, notes)
    film = FILM.search(data, start, end)
    if film is not None:
        add_note(notes, xmp.FILM_DROPPED)
        end = film.start()
    images = [(start + first, start + behind) for first, behind in jpeg_markers.streams(data[start:end])]
    for note in _lost_images(data, images, segments, packet):
        add_note(notes, note)
    borders = [start, *(place for image in images for place in image), end]
    unknown = b"".join(data[first:last].strip(BLANK) for first, last in zip(borders[::2], borders[1::2], strict=True))
    names = [name for mark, name in NAMED.items() if mark in unknown]
    if unknown:
        what = ", ".join(names) or f"{plural(len(unknown), 'byte')} of unknown data"
        add_note(notes, f"{what} behind the image dropped")
    return found


def _before_blocks(data: bytes, start: int, found: Trailer, notes: list[str]) -> int:
    """Read the blocks of programs that append theirs at the end of a file; return where they begin."""
    end = len(data)
    for _ in range(MOST_BLOCKS):
        before, last = end, data[max(start, end - 12) : end]
        pieces = samsung.pieces(data[start:end]) if last.endswith(samsung.END) else None
        if pieces is not None:
            found.kept = samsung.kept(pieces[1], notes) + found.kept
            end = start + pieces[0]
        elif last.endswith(PHOTO_MECHANIC) and len(last) == 12:
            end = max(end - 12 - struct.unpack_from(">I", last)[0], start)
            found.kept = data[end:before] + found.kept
        elif last.endswith(FOTOSTATION) and len(last) == 12:
            kind, size = struct.unpack_from(">HI", last, 2)
            end = max(end - max(size, 10), start)
            _take(kind, data[end : before - 10], found, notes)
        elif last[:4] in AFCP:
            end = _afcp(data, start, end, found, notes)
        if end == before:
            break
    return end


def _take(kind: bytes | int, content: bytes, found: Trailer, notes: list[str]) -> None:
    """Keep a piece of FotoStation or AFCP if it is IPTC; previews go, and others are noted."""
    if kind in IPTC:
        found.iptc.append(photoshop.without_iptc_preview(content))
    elif kind not in PREVIEWS and any(content):
        what = {2: "FotoStation's crop and other edits", b"TEXT": "text"}.get(kind, "data of a photo database")
        add_note(notes, f"{what} behind the image dropped")


def _afcp(data: bytes, start: int, end: int, found: Trailer, notes: list[str]) -> int:
    """Read a block of AFCP (AXS File Concatenation Protocol). Its directory comes first; offsets count in the file."""
    order = AFCP[data[end - 12 : end - 8]]
    at: int = struct.unpack_from(order + "I", data, end - 8)[0]
    if not start <= at < end - 12 or data[at : at + 4] != data[end - 12 : end - 8]:
        return end
    first = at
    count = struct.unpack_from(order + "H", data, at + 6)[0]
    for entry in range(at + 12, min(at + 12 + 12 * count, end - 11), 12):
        kind, size, place = struct.unpack_from(order + "4sII", data, entry)
        if start <= place <= place + size <= end:
            _take(kind, data[place : place + size], found, notes)
            first = min(first, place)
    return first


def _lost_images(
    data: bytes, places: list[tuple[int, int]], segments: Sequence[jpeg_markers.Segment], packet: bytes
) -> Iterator[str]:
    """Yield a note for images that are neither named in XMP, which is noted with it, nor previews of the first one."""
    named = len([item for item in xmp.appended(packet) if item not in xmp.FILMS])
    previews = _previews(segments)
    size = jpeg_markers.size(segments)
    others = 0
    for start, end in places[named:]:
        inner = jpeg_markers.segments(b"\xff" + data[start + 1 : end])
        if GAIN_MAPS.search(data, start, start + inner[-1].start):
            yield xmp.GAIN_MAP_DROPPED
        elif start not in previews and not _is_smaller_copy(jpeg_markers.size(inner), size):
            others += 1
    if others:
        yield f"only the primary image of {1 + others} kept"


def _is_smaller_copy(size: tuple[int, int] | None, of: tuple[int, int] | None) -> bool:
    """Return whether an image has about the shape of another, and is no larger than half of it, or is tiny."""
    if size is None or of is None:
        return False
    ratio = size[0] * of[1] / max(size[1] * of[0], 1)
    tiny = max(size) <= THUMBNAIL_PX
    return tiny or (abs(ratio - 1) <= ASPECT_TOLERANCE and size[0] * 2 <= of[0])


def _previews(segments: Sequence[jpeg_markers.Segment]) -> set[int]:
    """Return where the images begin that the MPF index calls thumbnails (CIPA DC-007 section 5.2.3.3)."""
    found = set[int]()
    for segment in segments:
        if segment.marker == jpeg_markers.APP2 and segment.payload.startswith(MPF):
            block = segment.payload[len(MPF) :]
            with suppress(ValueError, struct.error):
                order = ifd.byte_order(block)
                entries = ifd.read(block).fields.get(tags.MP_ENTRIES)
                for attributes, _, offset, _ in struct.iter_unpack(order + "IIII", entries.value if entries else b""):
                    if attributes >> 16 & 0xFF == MP_THUMBNAILS:
                        found.add(segment.start + 4 + len(MPF) + offset)
    return found
