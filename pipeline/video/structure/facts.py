"""Facts that a file's own bytes tell, and PyAV does not: where chroma lies, what no muxer writes."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any, BinaryIO, cast

import av
import av.logging
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from pipeline.video.signal.picture import Crop
from pipeline.video.structure import ebml, iso_boxes
from pipeline.video.structure.iso_boxes import CREDENTIALS, CREDENTIALS_DROPPED, Box

OF_MOOV = frozenset(b"mvhd trak udta mvex iods meta free skip cmov ctab prfl mdra pssh".split())
OF_UDTA = frozenset(  # boxes of moov/udta that FFmpeg reads or writes, or that hold only padding
    b"meta loci name titl dscp cprt perf auth gnre albm yrrc rtng clsf kywd coll thmb chpl hnti hinf free skip "
    b"Xtra WLOC LOOP SelO AllF ptv date".split()
)
OF_FILE = frozenset(b"ftyp styp pdin moov moof mfra mdat wide pnot sidx ssix prft emsg".split())
PADDING = frozenset({b"free", b"skip", b""})  # boxes, and what follows the last one, that may be blank
MOST_BYTES = 1 << 24  # of a box in the index that is kept
READ_BYTES = 1 << 20
SITINGS = {(1, 1): "topleft", (2, 1): "top", (2, 2): "center"}  # of Horz and Vert; (1, 2) is usual
SITING_HORZ, SITING_VERT = b"\x55\xb7\x81", b"\x55\xb8\x81"


@dataclass(frozen=True, slots=True)
class PrivateBox:
    """A box that a camera wrote for itself, or what it wrote behind the last box."""

    above: tuple[bytes, ...]
    """Types of the boxes around it."""
    kind: bytes
    """Nothing: what follows the last box."""
    begins_at: int
    """Where its content begins and ends in the file."""
    ends_at: int

    def __str__(self) -> str:
        return (
            "/".join(part.decode("latin-1").strip() for part in (*self.above, self.kind)) or "what follows the last box"
        )

    @property
    def size_bytes(self) -> int:
        return self.ends_at - self.begins_at

    def content(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield what it holds, in pieces."""
        for at in range(self.begins_at, self.ends_at, READ_BYTES):
            file.seek(at)
            yield file.read(min(READ_BYTES, self.ends_at - at))


def chroma_location(stream: Stream) -> str | None:
    """Return where chroma samples lie, by FFmpeg's name; None: as usual. A Matroska header is made, which tells it."""
    header = BytesIO()
    try:
        with av.open(header, "w", format="matroska") as output:
            output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
    except (av.FFmpegError, ValueError):
        return None
    told = header.getvalue()
    across, down = (told.partition(key)[2][:1] for key in (SITING_HORZ, SITING_VERT))
    return SITINGS.get((across[0], down[0])) if across and down else None


def is_fast_start(file: BinaryIO) -> bool:
    """Return whether the index of an MP4 or MOV comes before its media, so that players can begin at once."""
    kinds = [kind for kind, _, _ in iso_boxes.boxes(file, 0, file.seek(0, io.SEEK_END))]
    return b"moov" in kinds and b"mdat" in kinds and kinds.index(b"moov") < kinds.index(b"mdat")


def private_boxes(file: BinaryIO) -> list[PrivateBox]:
    """Find what cameras write for themselves and no muxer knows, in the order of the file. Goes back to its beginning.

    Boxes for padding count if they hold anything.
    """
    found = []
    size = file.seek(0, io.SEEK_END)
    end = iso_boxes.end_of_boxes(file, size) if iso_boxes.is_iso(file) else 0
    for above, (kind, at, behind) in iso_boxes.tree(file, 0, end):
        private = (
            (not above and kind not in OF_FILE)
            or (above == (b"moov",) and kind not in OF_MOOV)
            or (above == (b"moov", b"udta") and kind not in OF_UDTA and not kind.startswith(b"\xa9"))
        )
        if private and any(kind):
            found.append(PrivateBox(above, kind, at, behind))
    if end:
        found.append(PrivateBox((), b"", end, size))
    found = [box for box in found if _is_told(file, box)]
    file.seek(0)
    return found


def has_mv_hevc(file: BinaryIO) -> bool:
    """Return whether a video has a second view in HEVC (ISO/IEC 14496-15, 9.5). Goes back to the file's beginning."""
    boxes = iso_boxes.tree(file, 0, file.seek(0, io.SEEK_END) if iso_boxes.is_iso(file) else 0)
    found = any(kind == b"lhvC" for above, (kind, _, _) in boxes if b"stsd" in above)
    file.seek(0)
    return found


def _is_told(file: BinaryIO, box: PrivateBox) -> bool:
    """Return whether a box holds anything, and no credentials, which are told of elsewhere."""
    if box.kind == b"uuid":
        file.seek(box.begins_at)
        return file.read(len(CREDENTIALS)) != CREDENTIALS
    return box.size_bytes > 0 and (box.kind not in PADDING or any(any(piece) for piece in box.content(file)))


def unwritten(file: BinaryIO) -> list[str]:
    """Return what the source holds that is not written, in sentences. Goes back to the beginning of the file."""
    notes = list(_of_iso(file) if iso_boxes.is_iso(file) else _of_matroska(file) if ebml.is_matroska(file) else ())
    file.seek(0)
    return notes


def programmes(container: InputContainer) -> int:
    """Return how many programmes a transport stream holds. PyAV tells it only in FFmpeg's log."""
    return len(re.findall(r"^  Program \d+", _described(container), re.MULTILINE))


def streams_in(container: InputContainer) -> int:
    """Return how many streams were found in what was read so far. PyAV itself knows only those found on opening."""
    return len(set(re.findall(r"^  Stream #\d+:(\d+)", _described(container), re.MULTILINE)))


def crop_of(stream: VideoStream) -> Crop | None:
    """Return what the container hides of a video, as FFmpeg reads it: `clap` of MP4, `PixelCrop` of Matroska.

    None: nothing. One that is damaged may be as large as the frame.
    """
    streams = re.split(r"^  Stream #\d+:(\d+)", _described(cast(InputContainer, stream.container)), flags=re.MULTILINE)
    told = dict(zip(map(int, streams[1::2]), streams[2::2], strict=True)).get(stream.index, "")
    found = re.search(r"^ +Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)", told, re.MULTILINE)
    if found is None:
        return None
    left, right, top, bottom = map(int, found.groups())
    return Crop(top, bottom, left, right)


def _described(container: InputContainer) -> str:
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        return str(cast(Any, container).dumps_format())
    finally:
        av.logging.set_level(level)


def _of_iso(file: BinaryIO) -> Iterator[str]:
    boxes = list(iso_boxes.tree(file, 0, file.seek(0, io.SEEK_END)))
    for _, (_, at, _) in (each for each in boxes if not each[0] and each[1][0] == b"uuid"):
        file.seek(at)
        if file.read(len(CREDENTIALS)) == CREDENTIALS:
            yield CREDENTIALS_DROPPED
    if any(_is_beyond(crop, size) for crop, size in _apertures(file, boxes)):
        yield "its crop (clap) is damaged and does not count: the whole frame shows"


def _of_matroska(file: BinaryIO) -> Iterator[str]:
    found = list(ebml.tree(file))
    chapters = [(above, element) for above, element in found if ebml.CHAPTERS in above]
    if sum(element[0] == ebml.EDITION for _, element in chapters) > 1:
        yield "chapters: only one of its editions is kept"
    if any(element[0] == ebml.ATOM and ebml.ATOM in above for above, element in chapters):
        yield "chapters: those within others are lost"
    if any(element[0] == ebml.HIDDEN and ebml.number_in(file, element) for _, element in chapters):
        yield "chapters: hidden ones show now"
    if _repeats(chapters, ebml.DISPLAY, within=ebml.ATOM):
        yield "chapters: only one of the languages of their titles is kept"
    levels = {ebml.number_in(file, element) for _, element in found if element[0] == ebml.LEVEL} - {ebml.USUAL_LEVEL}
    if levels:
        yield f"tags of level {', '.join(map(str, sorted(levels)))} become tags of the whole file, in place of its own"
    regional = {ebml.text_in(file, element) for _, element in found if element[0] == ebml.LANGUAGE}
    for language in sorted(name for name in regional if "-" in name):
        yield f"language {language} loses what is behind its dash"


def hides_all(file: BinaryIO) -> bool:
    """Return whether the crop of a video in Matroska leaves nothing of it, which FFmpeg does not open."""
    for track in (each for _, each in ebml.tree(file) if each[0] == ebml.VIDEO) if ebml.is_matroska(file) else ():
        told = {each[0]: ebml.number_in(file, each) for each in ebml.elements(file, track[2], track[3])}
        top, bottom, left, right = (told.get(number, 0) for number in ebml.PIXEL_CROPS)
        if left + right >= told.get(ebml.PIXEL_WIDTH, 1) or top + bottom >= told.get(ebml.PIXEL_HEIGHT, 1):
            return True
    return False


def _apertures(
    file: BinaryIO, found: list[tuple[tuple[bytes, ...], Box]]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield the eight numbers of each crop (ISO/IEC 14496-12, 12.1.4.1), with width and height of the frames."""
    size: tuple[int, ...] = 0, 0
    for above, (kind, at, _) in found:
        if above[-1:] == (b"stsd",):
            size = iso_boxes.fields(file, at + iso_boxes.SIZE_AT, ">HH")
        elif kind == b"clap" and b"stsd" in above:
            yield iso_boxes.fields(file, at, ">IIIIiIiI"), size


def _is_beyond(crop: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Return whether a crop is not a part of the frame, by a pixel or more."""
    if not all(crop[1::2]):
        return True
    *shown, across, down = (Fraction(*crop[at : at + 2]) for at in range(0, 8, 2))
    sides = zip(shown, (across, down), size, strict=True)
    return any(not 0 < length <= whole or abs(off) + (length - whole) / 2 >= 1 for length, off, whole in sides)


def _repeats(found: list[tuple[tuple[int, ...], ebml.Element]], number: int, *, within: int) -> bool:
    """Return whether an element comes twice in a row within another."""
    last = 0
    for above, element in found:
        if element[0] == number and above[-1:] == (within,):
            if last:
                return True
            last = number
        elif element[0] == within:
            last = 0
    return False
