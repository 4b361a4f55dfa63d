"""Reading and writing of PNG (W3C PNG, third edition) and animated PNG files."""

import struct
import zlib
from collections.abc import Iterable
from io import BytesIO

from PIL import Image

from pipeline.errors import Unsupported, plural
from pipeline.images.color import cicp
from pipeline.images.metadata import exif
from pipeline.images.photo import INCH_M, Compression, Frame, Metadata, Photo, to_8_bits
from pipeline.images.pixels import add_note, check_size, frame_of
from pipeline.images.png.apng import animation
from pipeline.images.png.chunks import SIGNATURE, Chunk, itxt, packed, raw_profile, split, text
from pipeline.images.png.samples import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    Header,
    coded_chunks,
    keyed,
    sixteen_bits,
)
from pipeline.video.structure.iso_boxes import CREDENTIALS_DROPPED

XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_PROFILE_KEYWORDS = (b"Raw profile type exif", b"Raw profile type APP1")
READ_TEXTS = (XMP_KEYWORD, *RAW_PROFILE_KEYWORDS)  # other texts are not decompressed
RGB_MATRIX, FULL_RANGE = 0, 1  # last two fields of cICP (section 11.3.2.6)
MAX_PROFILE_BYTES = 1 << 26  # decompressed; more than any real profile has, to stop decompression bombs

# Chunks that stay valid for other pixels of the same size and colour space (sections 11.3.2 to 11.3.6; PNG extensions,
# version 1.5). Those of no known kind are kept if they are marked as safe to copy (section 5.4).
KEPT = frozenset((b"sRGB", b"cICP", b"gAMA", b"cHRM", b"mDCV", b"tIME", b"sTER", b"sCAL", b"oFFs"))
# These say how pixels or a palette are stored. iDOT: Apple's offsets into the pixel data.
STORAGE = frozenset((b"sBIT", b"hIST", b"sPLT", b"iDOT", b"gIFg", b"gIFx"))
DROPPED = {
    b"bKGD": "background colour dropped: it was chosen for the image before enhancement",
    b"pCAL": "calibration of pixel values dropped: enhancement changes these values",
    b"cLLI": cicp.LIGHT_DROPPED,
    b"caBX": CREDENTIALS_DROPPED,
}
END = b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
SAFE_TO_COPY = 32  # a bit of the last letter
PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT"))


def read(data: bytes, max_pixels: int) -> Photo:
    """Read a PNG, with all frames if it is animated. Raises MediaError, or what Pillow raises on damage."""
    chunks = split(data)
    header = Header(*struct.unpack_from(">IIBB", chunks[0].payload))
    notes: list[str] = []
    metadata, loop = metadata_of(chunks, notes)
    behind = data.partition(END)[2].strip(b"\x00")
    if behind:
        notes.append(f"{plural(len(behind), 'byte')} of unknown data behind the image dropped")
    key = next((chunk.payload for chunk in chunks if chunk.type == b"tRNS"), None)
    # Pillow gets only the pixel chunks, so that broken or enormous metadata cannot get in its way; a transparent
    # colour is compared in `keyed`, with all its bits
    alone = SIGNATURE + b"".join(
        packed(*chunk)
        for chunk in chunks
        if chunk.type in PIXELS and (chunk.type != b"tRNS" or header.colour == PALETTE)
    )
    alone += packed(b"IEND", b"")
    with Image.open(BytesIO(alone), formats=("PNG",)) as image:
        count = int(getattr(image, "n_frames", 1))
        check_size(image.size, count, max_pixels)
        if count > 1:
            if header.bits == 16:
                notes.append("16 bits became 8: animations are read with 8")
            frames = [_animation_frame(image, index, notes) for index in range(count)]
        elif header.bits == 16:
            frames = [sixteen_bits(alone, header)]
        else:
            frames = [frame_of(image, notes)]
    if key is not None and header.colour in (GREY, RGB):
        frames = [keyed(frame, key, header) for frame in frames]
    return Photo(format="png", frames=frames, metadata=metadata, loop=loop if count > 1 else None, notes=notes)


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write the frames as PNG or animated PNG, with all metadata, deflated at the level of `compression`."""
    coded = animation(photo, compression.level) if photo.animated else coded_chunks(photo.frames[0], compression.level)
    chunks = [coded[0], *_written(photo.metadata), *coded[1:]]
    return SIGNATURE + b"".join(packed(*chunk) for chunk in (*chunks, Chunk(b"IEND", b"")))


def metadata_of(chunks: list[Chunk], notes: list[str]) -> tuple[Metadata, int | None]:
    """Return the metadata in a file's chunks, and how often it plays; note what is dropped. Raises Unsupported."""
    block = icc = packet = dpi = loop = numbers = None
    has_alpha = chunks[0].payload[9] in (GREY_ALPHA, RGB_ALPHA) or any(kind == b"tRNS" for kind, _ in chunks)
    others: list[tuple[bytes, bytes]] = []
    for kind, payload in chunks:
        entry = text(kind, payload) if payload.startswith(READ_TEXTS) and kind in (b"tEXt", b"zTXt", b"iTXt") else None
        if kind == b"eXIf":
            block = exif.without_prefix(payload)
        elif entry and entry.keyword in RAW_PROFILE_KEYWORDS:
            found = raw_profile(entry.text)
            if found and found.startswith(exif.PREFIX):
                block = block or exif.without_prefix(found)
        elif entry and entry.keyword == XMP_KEYWORD:
            packet = entry.text
        elif kind == b"iCCP":
            icc = _profile(payload)
            if icc is None:
                notes.append("ICC profile dropped: it is damaged")
        elif kind == b"pHYs" and len(payload) == 9 and payload[8] == 1:
            dpi = (struct.unpack_from(">I", payload)[0] * INCH_M, struct.unpack_from(">I", payload, 4)[0] * INCH_M)
        elif kind == b"pHYs" and len(payload) == 9:
            others.append((kind, payload))  # no unit: only the aspect ratio of pixels
        elif kind in DROPPED:
            if kind != b"bKGD" or has_alpha:  # programs state a background for images that hide it, too
                add_note(notes, DROPPED[kind])
        elif kind == b"acTL" and len(payload) == 8:
            loop = struct.unpack_from(">I", payload, 4)[0]
        elif kind == b"cICP" and len(payload) == 4 and payload[3] == FULL_RANGE:
            numbers = (payload[0], payload[1])
        elif kind in KEPT or (kind not in STORAGE | PIXELS and kind[3] & SAFE_TO_COPY):
            others.append((kind, payload))
        elif kind not in STORAGE | PIXELS:
            add_note(notes, f"PNG chunk {kind.decode('latin-1')!a} dropped: it is not known to fit other pixels")
    if any(kind == b"cICP" and payload[1:2] in (b"\x10", b"\x12") for kind, payload in others):
        raise Unsupported("it is HDR in the limited range of video, which nightlift does not read; convert it first")
    if icc is None:  # for formats that cannot hold the numbers
        grey = chunks[0].payload[9] in (GREY, GREY_ALPHA)
        icc = cicp.profile(*numbers) if numbers is not None else _profile_by_gamma(others, grey=grey)
    return Metadata(exif=block, icc=icc, xmp=packet, dpi=dpi, png_chunks=tuple(others), cicp=numbers), loop


def _profile(payload: bytes) -> bytes | None:
    """Return the profile of an iCCP chunk (section 11.3.2.3: name, zero, method 0, deflated data); None if broken."""
    start = payload.find(b"\x00") + 2
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(payload[start:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflater.eof and profile else None


def _profile_by_gamma(chunks: Iterable[tuple[bytes, bytes]], *, grey: bool) -> bytes | None:
    """Build an ICC profile from gAMA and cHRM (sections 11.3.2.1 and 11.3.2.2); None if they say nothing new."""
    found = dict(chunks)
    gamma, points = found.get(b"gAMA", b""), found.get(b"cHRM", b"")
    if b"sRGB" in found:
        return None
    exponent = int.from_bytes(gamma, "big") / 100_000 if len(gamma) == 4 else None
    x_y = [number / 100_000 for number in struct.unpack(">8I", points)] if len(points) == 32 else []
    return cicp.profile_by_gamma(exponent, tuple(zip(x_y[::2], x_y[1::2], strict=True)) or None, grey=grey)


def turned(chunks: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Swap x and y in chunks that have both, for an image that was turned by a quarter."""
    return tuple((kind, _swapped(kind, payload)) for kind, payload in chunks)


def _swapped(kind: bytes, payload: bytes) -> bytes:
    """Swap x and y of the pixel aspect ratio, the position on a page, or the size of pixels in the scene."""
    if kind in (b"pHYs", b"oFFs"):
        return payload[4:8] + payload[:4] + payload[8:]
    if kind == b"sCAL":
        x, separator, y = payload[1:].partition(b"\x00")
        return payload[:1] + y + separator + x
    return payload


def _written(metadata: Metadata) -> list[Chunk]:
    """Return the metadata chunks, which go between IHDR and the pixels."""
    written: list[Chunk] = []
    if metadata.cicp is not None:
        written.append(Chunk(b"cICP", bytes((*metadata.cicp, RGB_MATRIX, FULL_RANGE))))
    by_numbers = [_profile_by_gamma(metadata.png_chunks, grey=grey) for grey in (False, True)]
    if metadata.cicp is not None:
        by_numbers.append(cicp.profile(*metadata.cicp))
    if metadata.icc is not None and metadata.icc not in by_numbers:
        written.append(Chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(metadata.icc)))
    if metadata.dpi is not None:
        x, y = (round(side / INCH_M) for side in metadata.dpi)
        written.append(Chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if metadata.exif is not None:
        written.append(Chunk(b"eXIf", metadata.exif))
    if metadata.xmp is not None:
        written.append(Chunk(b"iTXt", itxt(XMP_KEYWORD, metadata.xmp)))
    if metadata.comment is not None:
        written.append(Chunk(b"tEXt", b"Comment\x00" + metadata.comment.replace(b"\x00", b" ")))
    return written + [Chunk(kind, payload) for kind, payload in metadata.png_chunks]


def _animation_frame(image: Image.Image, index: int, notes: list[str]) -> Frame:
    image.seek(index)
    # a default image that is not part of the animation has no duration
    frame = frame_of(image, notes, duration_ms=image.info.get("duration"))
    return Frame(pixels=to_8_bits(frame.pixels), alpha=frame.alpha, duration_ms=frame.duration_ms)
