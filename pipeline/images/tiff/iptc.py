"""IPTC and Photoshop's image resources: two fields of a TIFF, segments APP13 of a JPEG."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from pipeline.images.metadata import ifd, photoshop, tags
from pipeline.images.metadata.jpeg_markers import APP13, cut
from pipeline.images.metadata.photoshop import PREFIX
from pipeline.images.photo import Metadata

TAG = b"\x1c"  # begins each data set of IPTC


def as_segments(metadata: Metadata) -> Metadata:
    """Move IPTC and image resources from fields of the EXIF block, as TIFF has them, into segments for a JPEG."""
    try:
        order, first = ifd.byte_order(metadata.exif or b""), ifd.read(metadata.exif or b"")
    except ValueError:
        return metadata
    resources, iptc = (first.fields.pop(tag, None) for tag in (tags.PHOTOSHOP, tags.IPTC))
    if resources is None and iptc is None:
        return metadata
    block = resources.value if resources else b""
    if iptc and not any(number == photoshop.IPTC for number, _ in _resources(block)):
        block += photoshop.with_iptc(_in_order(iptc))
    exif = ifd.block(first, order) if first.fields or first.nested else None
    return replace(metadata, exif=exif, jpeg_segments=(*metadata.jpeg_segments, *cut(APP13, PREFIX, block)))


def as_fields(segments: tuple[tuple[int, bytes], ...]) -> tuple[dict[int, ifd.Field], int]:
    """Return the fields for IPTC and image resources in a JPEG's segments, and how many of these have no place."""
    ours = [payload for marker, payload in segments if marker == APP13 and payload.startswith(PREFIX)]
    block = b"".join(payload[len(PREFIX) :] for payload in ours)
    found = dict(reversed([*_resources(block)]))  # the first one of a number
    fields = {}
    if photoshop.IPTC in found:
        content = found.pop(photoshop.IPTC)
        fields[tags.IPTC] = ifd.Field(ifd.UNDEFINED, len(content), content)
    if found:
        fields[tags.PHOTOSHOP] = ifd.Field(ifd.BYTE, len(block), block)
    fields = {tag: field for tag, field in fields.items() if field.value}
    return fields, len(segments) - len(ours)


def _in_order(field: ifd.Field) -> bytes:
    """Return the data sets. Some writers declare them LONG, so that others turned each four bytes round."""
    content = field.value
    if field.kind == ifd.LONG and content[:1] != TAG and content[3:4] == TAG:
        content = struct.pack(f"<{field.length}I", *struct.unpack(f">{field.length}I", content))
    return content.rstrip(b"\x00") if field.kind == ifd.LONG else content


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and data of each resource, up to the first broken one."""
    with suppress(ValueError, struct.error):
        for each in photoshop.resources(block):
            yield each.number, each.data
