"""Metadata in the segments of a JPEG: EXIF, XMP, ICC, IPTC and others, joined on reading and cut again on writing."""

import struct
from collections.abc import Sequence

from pipeline.images.jpeg.trailers import MPF, Trailer
from pipeline.images.metadata import exif, packet, photoshop, xmp
from pipeline.images.metadata.jpeg_markers import (
    APP0,
    APP1,
    APP2,
    APP11,
    APP13,
    APP14,
    APP15,
    COM,
    MAX_PAYLOAD_BYTES,
    Segment,
    cut,
    packed,
)
from pipeline.images.photo import Metadata
from pipeline.images.pixels import add_note
from pipeline.video.structure.iso_boxes import CREDENTIALS_DROPPED

XMP = b"http://ns.adobe.com/xap/1.0/\x00"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\x00"
EXTENDED_HEAD = len(EXTENDED_XMP) + 32 + 8  # GUID, whole length, offset
ICC = b"ICC_PROFILE\x00"
GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\x00"
WITH_THE_IMAGE = (b"JFIF\x00", b"JFXX\x00", b"AVI1")  # APP0 of the old pixels: their resolution, thumbnail, fields


def joined_xmp(segments: Sequence[Segment]) -> tuple[bytes | None, frozenset[bytes]]:
    """Return the XMP packet, joined with its extension, and the payloads of all segments that went into it."""
    found = next((s.payload for s in segments if s.marker == APP1 and s.payload.startswith(XMP)), None)
    if found is None:
        return None, frozenset()
    standard = found[len(XMP) :]
    guid = packet.extension(standard)
    extensions = [s.payload for s in segments if s.marker == APP1 and s.payload.startswith(EXTENDED_XMP)]
    used = [each for each in extensions if guid and each[len(EXTENDED_XMP) :].startswith(guid)]
    used = [each for each in used if len(each) >= EXTENDED_HEAD]
    parts = {struct.unpack_from(">I", each, EXTENDED_HEAD - 4)[0]: each[EXTENDED_HEAD:] for each in used}
    extended = b"".join(parts[offset] for offset in sorted(parts))
    if not extended:
        standard = packet.without_reference(standard)
    whole = packet.joined(standard, extended) if extended else None
    return (standard, frozenset((found,))) if whole is None else (whole, frozenset((found, *used)))


def metadata_of(segments: Sequence[Segment], trailer: Trailer, notes: list[str]) -> Metadata:
    """Return the metadata of all segments. What is dropped is noted."""
    comment = dpi = None
    blocks: list[bytes] = []
    resources = b""
    profile: dict[int, bytes] = {}
    others: list[tuple[int, bytes]] = []
    whole_xmp, used = joined_xmp(segments)
    for marker, _, payload in segments:
        if marker == APP0 and payload.startswith(b"JFIF\x00") and len(payload) >= 12:
            unit, x, y = struct.unpack_from(">BHH", payload, 7)
            scale = {1: 1.0, 2: 2.54}.get(unit)
            dpi = (x * scale, y * scale) if scale and x and y else None
        elif marker == APP1 and payload.startswith(exif.PREFIX):
            blocks.append(exif.without_prefix(payload))
        elif marker == APP2 and payload.startswith(ICC) and len(payload) > len(ICC) + 2:
            profile[payload[len(ICC)]] = payload[len(ICC) + 2 :]
        elif marker == APP2 and payload.startswith(GAIN_MAP):
            add_note(notes, xmp.GAIN_MAP_DROPPED)
        elif marker == APP11 and payload.startswith(b"JP"):
            add_note(notes, CREDENTIALS_DROPPED)
        elif marker == APP13 and payload.startswith(photoshop.PREFIX):
            resources += payload[len(photoshop.PREFIX) :]
        elif marker == COM and comment is None:
            comment = payload
        elif _is_kept(marker, payload) and not (marker == APP1 and payload in used):
            others.append((marker, payload))
    resources = photoshop.without_previews(resources)
    for stream in trailer.iptc:
        if photoshop.has_iptc(resources):
            add_note(notes, "IPTC behind the image dropped: the photo has other IPTC")
        else:
            resources += photoshop.with_iptc(stream)
    block, further = _joined_exif(blocks)
    others = [*((APP1, exif.PREFIX + each) for each in further), *cut(APP13, photoshop.PREFIX, resources), *others]
    return Metadata(
        exif=block,
        icc=b"".join(profile[index] for index in sorted(profile)) or None,
        xmp=whole_xmp,
        dpi=dpi,
        comment=comment,
        jpeg_segments=tuple(others),
        jpeg_trailer=trailer.kept,
    )


def _is_kept(marker: int, payload: bytes) -> bool:
    """Return whether a segment of no known kind is kept: all but those that describe the pixels or other images."""
    if marker == COM:
        return True
    if marker == APP0:
        return not payload.startswith(WITH_THE_IMAGE)
    return APP0 < marker <= APP15 and marker != APP14 and not (marker == APP2 and payload.startswith(MPF))


def _joined_exif(blocks: list[bytes]) -> tuple[bytes | None, list[bytes]]:
    """Join what continues the first block, as it has no header of its own; return that block and other ones.

    Blocks of more than one segment are cut as ExifTool and libheif do: each part has the prefix `Exif`.
    """
    joined: list[bytes] = []
    for block in blocks:
        if joined and block[:4] not in exif.HEADERS:
            joined[-1] += block
        else:
            joined.append(block)
    return (joined[0] if joined else None), joined[1:]


def written(metadata: Metadata, notes: list[str]) -> list[bytes]:
    """Encode the segments in the order in which readers look for them; parts of one thing stay neighbours."""
    # JFIF requires APP0 to come first, and its extensions with it
    parts = [each for each in metadata.jpeg_segments if each[0] == APP0]
    if metadata.exif is not None:
        block = metadata.exif
        if len(block) > MAX_PAYLOAD_BYTES - len(exif.PREFIX):
            block = exif.without_unused_end(block)
        parts += cut(APP1, exif.PREFIX, block)
    if metadata.xmp is not None:
        parts += _split_xmp(metadata.xmp, notes)
    if metadata.icc is not None:
        size = MAX_PAYLOAD_BYTES - len(ICC) - 2
        pieces = [metadata.icc[at : at + size] for at in range(0, len(metadata.icc), size)]
        if len(pieces) > 255:
            notes.append("ICC profile dropped: it is larger than a JPEG can hold")
        else:
            parts += [(APP2, ICC + bytes((index, len(pieces))) + each) for index, each in enumerate(pieces, 1)]
    parts += [each for each in metadata.jpeg_segments if each[0] != APP0]
    if metadata.comment is not None:
        parts += cut(COM, b"", metadata.comment)
    return [packed(marker, payload) for marker, payload in parts]


def _split_xmp(whole: bytes, notes: list[str]) -> list[tuple[int, bytes]]:
    """Return the standard packet, and the parts of an extended one if the packet is too large for one segment."""
    split = (
        packet.split(whole, MAX_PAYLOAD_BYTES - len(XMP)) if len(whole) > MAX_PAYLOAD_BYTES - len(XMP) else (whole, b"")
    )
    if split is None:
        notes.append(
            f"XMP dropped: {len(whole)} bytes are more than a JPEG segment can hold, and it is not well-formed"
        )
        return []
    standard, extended = split
    head = EXTENDED_XMP + (packet.extension(standard) or b"")
    size = MAX_PAYLOAD_BYTES - EXTENDED_HEAD
    return [
        (APP1, XMP + standard),
        *(
            (APP1, head + struct.pack(">II", len(extended), at) + extended[at : at + size])
            for at in range(0, len(extended), size)
        ),
    ]
