"""The mark that a photo was edited: an entry in the history of XMP, and EXIF's Software where nothing is stated there.

It contains no time, so that the same photo and settings always give the same bytes.
"""

import re
import struct
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from xml.sax.saxutils import quoteattr

from pipeline.images.metadata import exif, packet
from pipeline.images.metadata.ifd import ASCII, MOST_BYTES
from pipeline.images.metadata.tags import SOFTWARE
from pipeline.images.photo import Metadata

STEVT, XMPMM = b"http://ns.adobe.com/xap/1.0/sType/ResourceEvent#", b"http://ns.adobe.com/xap/1.0/mm/"
EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    + packet.WHOLE % b'<rdf:Description rdf:about=""/>'
    + b'<?xpacket end="w"?>'
)
HISTORY = re.compile(rb"<xmpMM:History\b")
END_OF_LIST = re.compile(rb"</([\w.-]+):Seq\s*>\s*</xmpMM:History\s*>$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What is written about an edit."""

    agent: str
    """Name and version of the program."""
    parameters: str
    """Its settings."""


def agent() -> str:
    """Return the name and version of nightlift, the latter only where it is installed."""
    try:
        return f"nightlift {version('nightlift')}"
    except PackageNotFoundError:
        return "nightlift"


def marked(metadata: Metadata, mark: Mark) -> Metadata:
    """Add the mark to XMP, in a new packet if there is none, and to EXIF if there is some that names no software."""
    block = metadata.exif and _with_software(metadata.exif, mark.agent)
    return replace(metadata, exif=block, xmp=_with_event(metadata.xmp or EMPTY, mark))


def _with_event(whole: bytes, mark: Mark) -> bytes:
    """Add an event to the history (ISO 16684-2 section 6.10; ResourceEvent). A broken packet stays as it is."""
    found = packet.structure(whole)
    if found is None:
        return whole
    values = {"action": "edited", "softwareAgent": mark.agent, "parameters": mark.parameters}
    attributes = "".join(f" stEvt:{name}={quoteattr(value)}" for name, value in values.items()).encode()
    event = b'<%s:li xmlns:stEvt="%s"%s/>'
    for start, end, _ in found.properties:
        if HISTORY.match(whole, start):
            place = END_OF_LIST.search(whole[start:end])
            if place is None:
                return whole
            at = start + place.start()
            return whole[:at] + event % (place[1], STEVT, attributes) + whole[at:]
    event %= b"rdf", STEVT, attributes
    history = b'<xmpMM:History xmlns:xmpMM="%s"><rdf:Seq>%s</rdf:Seq></xmpMM:History>' % (XMPMM, event)
    return packet.with_description(whole, found, history)


def _with_software(block: bytes, name: str) -> bytes:
    """Add the field Software, if there is none: the first directory moves to the end, and all else stays in place.

    Larger blocks stay as they are: there the end would not be in the first segment of a JPEG.
    """
    try:
        order, _, found = exif.first_directory(block)
    except ValueError:
        return block
    fields = {tag: block[entry.at : entry.at + exif.ENTRY_BYTES] for tag, entry in found.items()}
    if SOFTWARE in fields or len(block) > MOST_BYTES or not fields:
        return block
    text = name.encode("ascii", "replace") + b"\x00"
    block += bytes(len(block) & 1)
    text_at = len(block) + 2 + (len(fields) + 1) * exif.ENTRY_BYTES + 4
    fields[SOFTWARE] = struct.pack(order + "HHII", SOFTWARE, ASCII, len(text), text_at)
    directory = struct.pack(order + "H", len(fields)) + b"".join(fields[tag] for tag in sorted(fields)) + bytes(4)
    return block[:4] + struct.pack(order + "I", len(block)) + block[8:] + directory + text
