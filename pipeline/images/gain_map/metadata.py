"""The numbers beside a gain map, and what a photo says about it: as XMP (Ultra HDR image format 1.1), and in the binary
form of ISO 21496-1 annex C. Readers know one or the other, so both are written."""

import re
import struct
from collections.abc import Iterator, Sequence

from pipeline.images.photo import Gains

PROPERTY = re.compile(
    rb"""\shdrgm:(\w+)\s*=\s*["']([^"']*)["']|<hdrgm:(\w+)\s*>(.*?)</hdrgm:\3\s*>""",
    re.DOTALL,
)
ITEM = re.compile(rb"<rdf:li[^>]*>([^<]*)</rdf:li>")
RDF_END = re.compile(rb"</(\w+):RDF\s*>")

VERSION = bytes(4)  # least version that a reader must know, and version of the writer
MULTICHANNEL, BASE_PRIMARIES, COMMON_DENOMINATOR, BASE_IS_HDR = 0x80, 0x40, 0x08, 0x04
DENOMINATOR = 1 << 24
LIMIT = 64  # of all numbers: no light is so bright

NAMESPACES = b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
WHOLE = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'%s</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
# Primary and map are all that the file holds; a reader finds the map by its length (GContainer, "Item element")
DIRECTORY = (
    b'<rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" rdf:about="" '
    + NAMESPACES
    + b' xmlns:Container="http://ns.google.com/photos/1.0/container/"'
    b' xmlns:Item="http://ns.google.com/photos/1.0/container/item/" hdrgm:Version="1.0">'
    b'<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource">'
    b'<Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li><rdf:li rdf:parseType="Resource">'
    b'<Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="%d"/></rdf:li></rdf:Seq>'
    b"</Container:Directory></rdf:Description>"
)


def of_xmp(packet: bytes) -> Gains | None:
    """Return the numbers in the XMP of a map; None if there are none that hold for a photo with an ordinary base."""
    found: dict[bytes, bytes] = {}
    for attribute, value, element, content in PROPERTY.findall(packet):
        found[attribute or element] = value or content
    if b"GainMapMax" not in found or found.get(b"BaseRenditionIsHDR", b"").strip().lower() == b"true":
        return None

    def numbers(name: bytes, default: float) -> tuple[float, ...]:
        value = found.get(name)
        return (default,) if value is None else tuple(float(each) for each in ITEM.findall(value) or [value])

    try:
        return _checked(
            Gains(
                least=numbers(b"GainMapMin", 0),
                most=numbers(b"GainMapMax", 1),
                gamma=numbers(b"Gamma", 1),
                offset_sdr=numbers(b"OffsetSDR", 1 / 64),
                offset_hdr=numbers(b"OffsetHDR", 1 / 64),
                headroom_min=numbers(b"HDRCapacityMin", 0)[0],
                headroom_max=numbers(b"HDRCapacityMax", 1)[0],
            )
        )
    except ValueError:
        return None


def of_iso(block: bytes) -> Gains | None:
    """Return the numbers in a block of ISO 21496-1, behind its name; None if there are none for an ordinary base."""
    if len(block) < 5 or block[:2] != VERSION[:2]:
        return None
    flags = block[4]
    channels = 3 if flags & MULTICHANNEL else 1
    try:
        values = list(_common(block) if flags & COMMON_DENOMINATOR else _fractions(block))
        base, alternate, *rest = values[: 2 + 5 * channels]
        least, most, gamma, offset_sdr, offset_hdr = (tuple(rest[at::5]) for at in range(5))
    except (ValueError, struct.error, ZeroDivisionError):
        return None
    if flags & BASE_IS_HDR or base > alternate or len(offset_hdr) < channels:
        return None
    return _checked(
        Gains(
            least=least,
            most=most,
            gamma=gamma,
            offset_sdr=offset_sdr,
            offset_hdr=offset_hdr,
            headroom_min=base,
            headroom_max=alternate,
            in_base_primaries=bool(flags & BASE_PRIMARIES),
        )
    )


def _fractions(block: bytes) -> Iterator[float]:
    """Yield all numbers; gains and offsets have a sign, headrooms and gamma have none."""
    for at in range((len(block) - 5) // 8):
        signed = at >= 2 and (at - 2) % 5 != 2
        numerator, denominator = struct.unpack_from(">iI" if signed else ">II", block, 5 + 8 * at)
        yield numerator / denominator


def _common(block: bytes) -> Iterator[float]:
    """Yield all numbers of a block with one denominator for all."""
    (denominator,) = struct.unpack_from(">I", block, 5)
    for at in range((len(block) - 9) // 4):
        yield struct.unpack_from(">i", block, 9 + 4 * at)[0] / denominator


def _checked(gains: Gains) -> Gains | None:
    """Return the gains if they can be computed with, else None."""
    sides = (gains.least, gains.most, gains.gamma, gains.offset_sdr, gains.offset_hdr)
    numbers = [gains.headroom_min, gains.headroom_max, *(number for side in sides for number in side)]
    sound = all(abs(number) < LIMIT for number in numbers) and all(len(side) in (1, 3) for side in sides)
    return gains if sound and min(gains.gamma) > 0 else None


def iso(gains: Gains) -> bytes:
    """Return the block of ISO 21496-1, behind its name."""
    sides = (gains.least, gains.most, gains.gamma, gains.offset_sdr, gains.offset_hdr)
    channels = max(len(side) for side in sides)
    numbers = [gains.headroom_min, gains.headroom_max]
    for channel in range(channels):
        numbers += [side[channel % len(side)] for side in sides]
    flags = MULTICHANNEL * (channels == 3) | BASE_PRIMARIES * gains.in_base_primaries
    return (
        VERSION + bytes((flags,)) + b"".join(struct.pack(">iI", round(n * DENOMINATOR), DENOMINATOR) for n in numbers)
    )


def xmp(gains: Gains) -> bytes:
    """Return the XMP packet of a map."""
    numbers: dict[str, Sequence[float]] = {
        "GainMapMin": gains.least,
        "GainMapMax": gains.most,
        "Gamma": gains.gamma,
        "OffsetSDR": gains.offset_sdr,
        "OffsetHDR": gains.offset_hdr,
        "HDRCapacityMin": (gains.headroom_min,),
        "HDRCapacityMax": (gains.headroom_max,),
    }
    attributes, elements = 'hdrgm:Version="1.0" hdrgm:BaseRenditionIsHDR="False"', ""
    for name, values in numbers.items():
        if len(set(values)) == 1:
            attributes += f' hdrgm:{name}="{values[0]:.6f}"'
        else:
            items = "".join(f"<rdf:li>{value:.6f}</rdf:li>" for value in values)
            elements += f"<hdrgm:{name}><rdf:Seq>{items}</rdf:Seq></hdrgm:{name}>"
    described = b'<rdf:Description rdf:about="" %s %s>%s</rdf:Description>'
    return WHOLE % (described % (NAMESPACES, attributes.encode(), elements.encode()))


def with_directory(packet: bytes | None, map_bytes: int) -> bytes:
    """Return the XMP of a photo with the statement that a map of that many bytes follows the image."""
    ends = list(RDF_END.finditer(packet or b""))
    if packet is None or not ends:
        return WHOLE % (DIRECTORY % map_bytes)
    at = ends[-1].start()
    return packet[:at] + DIRECTORY % map_bytes + packet[at:]
