"""Photos with gain maps, made and shown by code of their own, after the texts of the formats."""

import re
import struct
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image

from tests.support import media

Floats = npt.NDArray[np.float64]
ISO = b"urn:iso:std:iso:ts:21496:-1\x00"
XMP = b"http://ns.adobe.com/xap/1.0/\x00"
DESCRIBED = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
GOOGLE = "http://ns.google.com/photos/1.0/container/"


def light(samples: npt.NDArray[Any]) -> Floats:
    """Light of sRGB samples of 0 to 255 (IEC 61966-2-1)."""
    x = np.asarray(samples, np.float64) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def packet(attributes: str, content: str = "") -> bytes:
    names = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/"'
    told = f'<rdf:Description rdf:about="" {names} {attributes}>{content}</rdf:Description></rdf:RDF></x:xmpmeta>'
    return (DESCRIBED + told).encode()


def hdrgm(least: float, most: float) -> bytes:
    return packet(
        f'hdrgm:Version="1.0" hdrgm:GainMapMin="{least}" hdrgm:GainMapMax="{most}" hdrgm:Gamma="1" hdrgm:OffsetSDR="'
        f'0.015625" hdrgm:OffsetHDR="0.015625" hdrgm:HDRCapacityMin="0" hdrgm:HDRCapacityMax="{most}"'
    )


def iso(least: float, most: float) -> bytes:
    """The binary form: version, flags, headrooms, and five fractions for all channels."""
    numbers = (0, most, least, most, 1, 1 / 64, 1 / 64)
    return ISO + bytes(4) + b"\x40" + b"".join(struct.pack(">iI", round(each * 4096), 4096) for each in numbers)


def app(marker: int, payload: bytes) -> bytes:
    return media.jpeg_segment(marker, payload)


def ultra_hdr(base: bytes, gain_map: bytes, *, xmp: bytes = b"", iso: bytes = b"") -> bytes:
    """A JPEG with a map behind it, as cameras write it. `xmp`, `iso`: what is said beside the map."""
    told = [app(0xE1, XMP + xmp)] * bool(xmp) + [app(0xE2, iso)] * bool(iso)
    gain_map = media.with_segments(gain_map, *told)
    items = "".join(
        f'<rdf:li rdf:parseType="Resource"><C:Item I:Mime="image/jpeg" I:Semantic="{each}"/></rdf:li>'
        for each in ("Primary", f'GainMap" I:Length="{len(gain_map)}')
    )
    directory = f'<C:Directory xmlns:C="{GOOGLE}" xmlns:I="{GOOGLE}item/"><rdf:Seq>{items}</rdf:Seq></C:Directory>'
    segments = [app(0xE1, XMP + packet('hdrgm:Version="1.0"', directory))] * bool(xmp)
    segments += [app(0xE2, ISO + bytes(4))] * bool(iso)
    before = sum(map(len, segments)) + 4 + struct.unpack_from(">H", base, 4)[0]
    primary = len(base) + sum(map(len, segments)) + 4 + 4 + 82
    index = b"MPF\x00II*\x00" + struct.pack("<IH", 8, 3)
    index += struct.pack("<HHI4s HHII HHII I", 0xB000, 7, 4, b"0100", 0xB001, 4, 1, 2, 0xB002, 7, 32, 50, 0)
    index += struct.pack("<IIIHH IIIHH", 0x030000, primary, 0, 0, 0, 0, len(gain_map), primary - before - 8, 0, 0)
    return media.with_segments(base, *segments, app(0xE2, index)) + gain_map


def apple_exif(headroom: float, gain: float) -> bytes:
    """EXIF with the two numbers of an iPhone's maker note that say how bright its map makes a photo."""
    note = b"Apple iOS\x00\x00\x01MM" + struct.pack(">H", 2)
    note += struct.pack(">HHII HHII I", 0x21, 10, 1, 44, 0x30, 10, 1, 52, 0)
    note += struct.pack(">iiii", round(headroom * 1e6), 1_000_000, round(gain * 1e6), 1_000_000)
    block = b"MM\x00*" + struct.pack(">I HHHII I", 8, 1, 0x8769, 4, 1, 26, 0)
    return block + struct.pack(">H HHII I", 1, 0x927C, 7, len(note), 44, 0) + note


def apple_heic(base: npt.NDArray[Any], values: npt.NDArray[Any], xmp: bytes, exif: bytes) -> bytes:
    """A HEIC with a map of HxW uint8: coded as alpha, then renamed, as libheif writes no other auxiliary images."""
    buffer = BytesIO()
    size = base.shape[1], base.shape[0]
    samples = np.dstack((base, values)).tobytes()
    pillow_heif.encode("RGBA", size, samples, buffer, quality=95, chroma=444, exif=exif, xmp=xmp)
    return _renamed(buffer.getvalue(), b"urn:mpeg:hevc:2015:auxid:1", b"urn:com:apple:photo:2020:aux:hdrgainmap")


def _renamed(coded: bytes, old: bytes, new: bytes) -> bytes:
    """Put another text into a property of a HEIC of libheif's, which moves all that lies behind."""
    assert coded.count(old) == 1
    longer, patched = len(new) - len(old), bytearray(coded.replace(old, new))

    def add(at: int) -> None:
        struct.pack_into(">I", patched, at, struct.unpack_from(">I", patched, at)[0] + longer)

    for kind in (b"meta", b"iprp", b"ipco", b"auxC"):
        add(patched.index(kind) - 4)
    locations = patched.index(b"iloc") + 10
    for item in range(struct.unpack_from(">H", patched, locations)[0]):
        add(locations + 2 + 18 * item + 4)
    return bytes(patched)


def second_image(coded: bytes) -> bytes:
    """The second image by the MPF index (CIPA DC-007), whose length must be that to the end of the file."""
    at = coded.index(b"MPF\x00") + 4
    order = "<" if coded[at : at + 2] == b"II" else ">"
    entries = at + struct.unpack_from(order + "I", coded, at + 10 + 2 * 12 + 8)[0]
    size, offset = struct.unpack_from(order + "II", coded, entries + 16 + 4)
    first = struct.unpack_from(order + "I", coded, entries + 4)[0]
    assert (at + offset, at + offset + size) == (first, len(coded))
    return coded[at + offset :]


def shown(coded: bytes) -> tuple[Floats, Floats]:
    """The light of a photo on an ordinary and on an HDR screen, by the XMP of its map (Ultra HDR 1.1, "Decode")."""
    second = second_image(coded)
    assert f':Length="{len(second)}"'.encode() in coded
    numbers = {name.decode(): float(value) for name, value in re.findall(rb'hdrgm:(\w+)="([-\d.]+)"', second)}
    with Image.open(BytesIO(coded)) as image, Image.open(BytesIO(second)) as gain_map:
        base = light(np.asarray(image.convert("RGB")))
        recovery = np.asarray(gain_map.resize(image.size, Image.Resampling.BILINEAR)) / 255
    recovery = recovery.reshape(*base.shape[:2], -1) ** (1 / numbers["Gamma"])
    boost = numbers["GainMapMin"] * (1 - recovery) + numbers["GainMapMax"] * recovery
    return base, (base + numbers["OffsetSDR"]) * 2**boost - numbers["OffsetHDR"]
