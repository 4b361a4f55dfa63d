"""The structure of XMP packets: adding properties, and moving large ones to a second packet and back.

A JPEG segment holds one packet of 65,502 bytes at most; what is larger is split into a standard and an extended packet
(XMP specification, part 3, section 1.1.3.1). Bytes of properties are moved as they are, never written anew.
"""

import hashlib
import re
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

from pipeline.images.metadata.elements import START_TAG

RDF = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NOTE = b"http://ns.adobe.com/xmp/note/"
NOTE_BYTES = 120  # of the reference to an extended packet
WHOLE = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="' + RDF + b'">%s</rdf:RDF></x:xmpmeta>'

PADDING = re.compile(rb"\s+(?=<\?xpacket end=)")
HAS_EXTENDED = re.compile(rb"""\s\w+:HasExtendedXMP\s*=\s*["']\w*["']|<(\w+):HasExtendedXMP>\w*</\1:HasExtendedXMP>""")
EXTENDED_GUID = re.compile(rb"""\b\w+:HasExtendedXMP(?:\s*=\s*["']|>\s*)(\w{32})""")
# Attributes that are properties: with a prefix, but not that of a namespace, of XML or of the resource described
ATTRIBUTE = re.compile(rb"""\s(?!xmlns:|xml:|[\w.-]+:about\b)[\w.-]+:[\w.-]+\s*=\s*(?:"[^"]*"|'[^']*')""")
XMLNS = re.compile(rb"""\s(xmlns:[\w.-]+)\s*=\s*("[^"]*"|'[^']*')""")
ABOUT = re.compile(rb"""\s[\w.-]+:about\s*=\s*("[^"]*"|'[^']*')""")


class Property(NamedTuple):
    """A top-level property: an element inside rdf:Description, or an attribute of that."""

    start: int
    end: int
    is_element: bool


@dataclass(slots=True)
class Structure:
    properties: list[Property] = field(default_factory=list)
    descriptions: list[tuple[int, int]] = field(default_factory=list)
    """Beginning and end of each start tag of rdf:Description."""
    inner: tuple[int, int] = (0, 0)
    """Beginning and end of what rdf:RDF contains."""
    namespaces: dict[bytes, bytes] = field(default_factory=dict)
    """Declarations of all tags around properties, quotes included; later ones win."""


def structure(packet: bytes) -> Structure | None:
    """Return where the parts of a packet lie; None if it is not well-formed, or not in UTF-8."""
    found, depth, rdf_depth, start = Structure(), 0, 0, 0
    parser = expat.ParserCreate()

    def tag_end(at: int) -> int:
        tag = START_TAG.match(packet, at)
        if tag is None:
            raise ValueError("not in UTF-8")
        return tag.end()

    def begin(name: str, _: object) -> None:
        nonlocal depth, rdf_depth, start
        depth += 1
        at = parser.CurrentByteIndex
        if not rdf_depth or depth == rdf_depth + 1:
            found.namespaces |= dict(XMLNS.findall(packet, at, tag_end(at)))
        if not rdf_depth and name.endswith(":RDF"):
            rdf_depth, found.inner = depth, (tag_end(at), 0)
        elif rdf_depth and depth == rdf_depth + 1:
            found.descriptions.append((at, tag_end(at)))
            found.properties += [
                Property(each.start(), each.end(), is_element=False)
                for each in ATTRIBUTE.finditer(packet, at, tag_end(at))
            ]
        elif rdf_depth and depth == rdf_depth + 2:
            start = at

    def finish(_: str) -> None:
        nonlocal depth
        at = parser.CurrentByteIndex
        if rdf_depth and depth == rdf_depth + 2:
            tag = tag_end(start)
            end = tag if packet[tag - 2 : tag] == b"/>" else tag_end(at)
            found.properties.append(Property(start, end, is_element=True))
        elif rdf_depth and depth == rdf_depth:
            found.inner = (found.inner[0], at)
        depth -= 1

    def refuse(*_: object) -> None:
        raise ValueError("XMP has no document type")

    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = begin, finish, refuse
    try:
        parser.Parse(packet.rstrip(b"\x00"), True)
    except (expat.ExpatError, ValueError, LookupError):
        return None
    return found if found.descriptions and found.inner[1] else None


def extension(standard: bytes) -> bytes | None:
    """Return the GUID by which a packet refers to an extended one; None if it refers to none."""
    found = EXTENDED_GUID.search(standard)
    return found[1] if found else None


def without_reference(standard: bytes) -> bytes:
    """Remove the reference to an extended packet."""
    return HAS_EXTENDED.sub(b"", standard)


def joined(standard: bytes, extended: bytes) -> bytes | None:
    """Return a packet with the properties of both; None if one of them is not well-formed."""
    standard = without_reference(standard)
    into, other = structure(standard), structure(extended)
    if into is None or other is None:
        return None
    parts = [standard[: into.inner[1]]]
    at = other.inner[0]
    for start, end in other.descriptions:
        tag = extended[start:end]
        own = {name for name, _ in XMLNS.findall(tag)}
        missing = {name: uri for name, uri in _used(other.namespaces, extended).items() if name not in own}
        name_end = re.match(rb"<[\w.:-]+", tag).end()  # type: ignore[union-attr]
        parts += [extended[at:start], tag[:name_end], _declarations(missing), tag[name_end:]]
        at = end
    return b"".join((*parts, extended[at : other.inner[1]], standard[into.inner[1] :]))


def split(packet: bytes, most_bytes: int) -> tuple[bytes, bytes] | None:
    """Return a standard packet of at most that many bytes, and an extended one with the largest properties.

    The second is empty if there is no need for it. None if the packet cannot be split.
    """
    packet = PADDING.sub(b"", without_reference(packet))
    if len(packet) <= most_bytes:
        return packet, b""
    found = structure(packet)
    if found is None:
        return None
    excess, moved = len(packet) + NOTE_BYTES - most_bytes, list[Property]()
    for each in sorted(found.properties, key=lambda each: each.start - each.end):
        if excess > 0:
            moved.append(each)
            excess -= each.end - each.start
    if excess > 0:
        return None
    moved.sort()
    attributes, elements = (
        b"".join(packet[each.start : each.end] for each in moved if each.is_element is wanted)
        for wanted in (False, True)
    )
    extended = WHOLE % description(packet, found, attributes, elements)
    guid = hashlib.md5(extended).hexdigest().upper().encode()
    tag_start, tag_end = found.descriptions[0]
    at = re.compile(rb"<[\w.:-]+").match(packet, tag_start).end()  # type: ignore[union-attr]
    declared = b"" if b"xmlns:xmpNote" in packet[tag_start:tag_end] else b' xmlns:xmpNote="%s"' % NOTE
    standard = packet[:at] + declared + b' xmpNote:HasExtendedXMP="%s"' % guid
    for each in moved:
        standard += packet[at : each.start]
        at = each.end
    return standard + packet[at:], extended


def with_description(packet: bytes, found: Structure, elements: bytes) -> bytes:
    """Add an rdf:Description with these elements, which declare their own namespaces."""
    at = found.inner[1]
    return packet[:at] + description(packet, found, b"", elements) + packet[at:]


def description(packet: bytes, found: Structure, attributes: bytes, elements: bytes) -> bytes:
    """Build an rdf:Description about the same thing as the packet's first one."""
    about = ABOUT.search(packet, *found.descriptions[0])
    used = _used(found.namespaces, attributes + elements) | {b"xmlns:rdf": b'"%s"' % RDF}
    start = b"<rdf:Description rdf:about=%s%s%s>" % (about[1] if about else b'""', _declarations(used), attributes)
    return start + elements + b"</rdf:Description>"


def _used(namespaces: dict[bytes, bytes], content: bytes) -> dict[bytes, bytes]:
    """Return the declarations of those prefixes that occur in the content."""
    return {name: uri for name, uri in namespaces.items() if name.removeprefix(b"xmlns:") + b":" in content}


def _declarations(namespaces: dict[bytes, bytes]) -> bytes:
    return b"".join(b" %s=%s" % each for each in sorted(namespaces.items()))
