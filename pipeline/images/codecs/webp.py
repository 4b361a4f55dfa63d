"""WebP (RFC 9649), stills and animations: Pillow (libwebp) codes the pixels, the container is written here."""

import struct
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

from pipeline.errors import Damaged
from pipeline.images.metadata import exif
from pipeline.images.photo import Coding, Compression, Frame, Metadata, Photo
from pipeline.images.pixels import check_size, frame_at, image_of
from pipeline.video.structure.iso_boxes import CREDENTIALS_DROPPED

DEFAULT_QUALITY = 90
EFFORT = 75  # without loss, 0 to 100; 90 would take up to three times as long for less than 1 % fewer bytes

# Flags of the VP8X chunk (RFC 9649 section 2.7.1) and of ANMF (section 2.7.1.1)
ICC, ALPHA, EXIF, XMP, ANIMATION = 32, 16, 8, 4, 2
DO_NOT_BLEND = 2
KNOWN = frozenset(b"VP8X VP8L ANIM ANMF ALPH ICCP EXIF C2PA".split()) | {b"VP8 ", b"XMP "}


def read(data: bytes, max_pixels: int) -> Photo:
    """Read all frames of a WebP. Raises MediaError, or what Pillow raises on damage."""
    chunks = list(_chunks(data, 12))
    # check before opening: libwebp allocates the whole canvas when it opens a file
    check_size(_canvas(chunks), 1, max_pixels)
    notes: list[str] = []
    with Image.open(BytesIO(data), formats=("WEBP",)) as image:
        count = int(getattr(image, "n_frames", 1))
        check_size(image.size, count, max_pixels)
        frames = [frame_at(image, index, count, notes) for index in range(count)]
        info = image.info
        metadata = Metadata(
            exif=exif.without_prefix(info["exif"]) if info.get("exif") else None,
            icc=info.get("icc_profile"),
            xmp=info.get("xmp"),
        )
        loop = info.get("loop") if count > 1 else None
    kinds = {kind for kind, _ in chunks}
    kinds |= {inner for kind, payload in chunks if kind == b"ANMF" for inner, _ in _chunks(payload, 16)}
    if b"C2PA" in kinds:
        notes.append(CREDENTIALS_DROPPED)
    unknown = sorted(kind.decode("latin-1") for kind in kinds - KNOWN)
    if unknown:
        notes.append(f"unknown WebP chunks dropped: {', '.join(unknown)}")
    coding = Coding(lossless=b"VP8 " not in kinds, sampling=None if b"VP8 " not in kinds else "4:2:0")
    return Photo(format="webp", frames=frames, metadata=metadata, coding=coding, loop=loop, notes=notes)


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write uint8 RGB frames as WebP, lossless if the source was and no quality is given."""
    lossless = photo.coding.lossless and compression.quality is None
    coded = [_coded(frame, lossless, compression.quality) for frame in photo.frames]
    metadata = photo.metadata
    flags = (ICC if metadata.icc else 0) | (EXIF if metadata.exif else 0) | (XMP if metadata.xmp else 0)
    flags |= (ALPHA if photo.frames[0].alpha is not None else 0) | (ANIMATION if photo.animated else 0)
    width, height = photo.frames[0].size
    chunks = [_packed(b"VP8X", bytes((flags, 0, 0, 0)) + _three(width - 1) + _three(height - 1))]
    if metadata.icc:
        chunks.append(_packed(b"ICCP", metadata.icc))
    if photo.animated:
        chunks.append(_packed(b"ANIM", struct.pack("<IH", 0, 1 if photo.loop is None else photo.loop)))
        for frame, image_chunks in zip(photo.frames, coded, strict=True):
            place = bytes(6) + _three(width - 1) + _three(height - 1) + _three(round(frame.duration_ms or 0))
            chunks.append(_packed(b"ANMF", place + bytes((DO_NOT_BLEND,)) + image_chunks))
    else:
        chunks.append(coded[0])
    if metadata.exif:
        chunks.append(_packed(b"EXIF", metadata.exif))
    if metadata.xmp:
        chunks.append(_packed(b"XMP ", metadata.xmp))
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _coded(frame: Frame, lossless: bool, quality: int | None) -> bytes:
    """Encode one frame as packed image chunks (ALPH, VP8 or VP8L)."""
    buffer = BytesIO()
    chosen = DEFAULT_QUALITY if quality is None else quality
    # exact: keep the colours of fully transparent pixels
    image_of(frame).save(buffer, "WEBP", lossless=lossless, quality=EFFORT if lossless else chosen, exact=True)
    return b"".join(
        _packed(kind, payload)
        for kind, payload in _chunks(buffer.getvalue(), 12)
        if kind in (b"ALPH", b"VP8 ", b"VP8L")
    )


def _chunks(data: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and payload of RIFF chunks; a truncated last one is yielded as far as it goes."""
    at = start
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)


def _canvas(chunks: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Return width and height, from the first chunk (RFC 9649 section 2.5 to 2.7, RFC 6386 section 9.1)."""
    kind, payload = chunks[0] if chunks else (b"", b"")
    if kind == b"VP8X" and len(payload) >= 10:
        return 1 + int.from_bytes(payload[4:7], "little"), 1 + int.from_bytes(payload[7:10], "little")
    if kind == b"VP8L" and len(payload) >= 5 and payload[0] == 0x2F:
        bits = int.from_bytes(payload[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(payload) >= 10 and payload[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", payload, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise Damaged("its WebP header is broken; copy the file again")


def _packed(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + b"\x00" * (len(payload) & 1)


def _three(value: int) -> bytes:
    return min(value, 0xFFFFFF).to_bytes(3, "little")
