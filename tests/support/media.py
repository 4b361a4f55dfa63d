"""Photos made by code, and metadata as cameras write them. Nothing here uses the code under test."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Samples = npt.NDArray[Any]

MAKER_NOTE = b"NIGHTCAM\x00\x01" + bytes(range(40))
GPS_LATITUDE = struct.pack("<6I", 52, 1, 31, 1, 12, 1)
TAKEN = b"2024:11:23 21:04:17\x00"


def night(width: int = 96, height: int = 64, *, seed: int = 0) -> Samples:
    """A dim street, HxWx3 uint8: dark sky, darker ground, three lamps, noise. No symmetry of any kind."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / np.array((height, width)).reshape(2, 1, 1)
    scene = np.stack((10 + 14 * x, 12 + 10 * x, 22 + 24 * (1 - y)), axis=-1)
    scene[y > 0.65] *= 0.6
    for at_x, at_y, colour in ((0.15, 0.3, (250, 180, 90)), (0.55, 0.45, (200, 210, 255)), (0.85, 0.2, (255, 90, 60))):
        glow = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 0.004)
        scene += glow[..., None] * np.array(colour)
    return (scene + rng.normal(0, 1.5, scene.shape)).clip(0, 255).round().astype(np.uint8)


def landscape(width: int = 120, height: int = 90, *, seed: int = 0) -> Samples:
    """A light sky over darker, textured ground, HxWx3 uint8: what a network is trained on."""
    rng = np.random.default_rng(seed)
    y = np.linspace(0, 1, height)[:, None, None]
    scene = np.where(y < rng.uniform(0.3, 0.6), 190 + 50 * y, 90 + 30 * rng.standard_normal((height, width, 3)))
    return (scene * rng.uniform(0.8, 1.05, 3)).clip(0, 255).astype(np.uint8)


def night_16(width: int = 40, height: int = 30, *, seed: int = 0) -> Samples:
    """The same with 16 bits, HxWx3 uint16, all of them in use."""
    fine = np.random.default_rng(seed).integers(0, 257, (height, width, 3))
    return (night(width, height, seed=seed).astype(np.uint32) * 256 + fine).clip(0, 65535).astype(np.uint16)


def soft_alpha(width: int = 96, height: int = 64) -> Samples:
    """HxW uint8, from transparent on the left to opaque on the right."""
    return np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))


def stored(shown: Samples, orientation: int) -> Samples:
    """How a camera that writes `orientation` stores what is shown (EXIF 2.32, tag Orientation), row 0 first."""
    ways = {
        1: shown,
        2: shown[:, ::-1],  # row 0 top, column 0 right
        3: shown[::-1, ::-1],  # bottom, right
        4: shown[::-1],  # bottom, left
        5: np.swapaxes(shown, 0, 1),  # left, top
        6: np.swapaxes(shown, 0, 1)[::-1],  # right, top: rows are the columns from the right
        7: np.swapaxes(shown, 0, 1)[::-1, ::-1],  # right, bottom
        8: np.swapaxes(shown, 0, 1)[:, ::-1],  # left, bottom
    }
    return np.ascontiguousarray(ways[orientation])


def exif_block(orientation: int, *, size: tuple[int, int] = (96, 64), order: str = "<") -> bytes:
    """EXIF as a camera writes it: date, GPS, MakerNote, dimensions, and a thumbnail in a second directory.

    `size`: width and height as stored.
    """
    thumbnail = jpeg(night(16, 12))
    exif_at, gps_at, second_at, values_at = 100, 200, 260, 320
    taken_at, note_at, latitude_at, thumbnail_at = values_at, values_at + 20, values_at + 80, values_at + 110

    def directory(at: int, entries: list[tuple[int, int, int, int]], next_at: int) -> None:
        struct.pack_into(order + "H", block, at, len(entries))
        for index, (tag, kind, count, value) in enumerate(entries):
            place = at + 2 + 12 * index
            struct.pack_into(order + "HHI", block, place, tag, kind, count)
            struct.pack_into(
                order + ("HH" if kind == 3 else "I"), block, place + 8, *((value, 0) if kind == 3 else (value,))
            )
        struct.pack_into(order + "I", block, at + 2 + 12 * len(entries), next_at)

    block = bytearray(thumbnail_at + len(thumbnail))
    block[:2] = b"II" if order == "<" else b"MM"
    struct.pack_into(order + "HI", block, 2, 42, 8)
    directory(8, [(0x0112, 3, 1, orientation), (0x8769, 4, 1, exif_at), (0x8825, 4, 1, gps_at)], second_at)
    directory(
        exif_at,
        [
            (0x9003, 2, 20, taken_at),
            (0x927C, 7, len(MAKER_NOTE), note_at),
            (0xA002, 4, 1, size[0]),
            (0xA003, 4, 1, size[1]),
        ],
        0,
    )
    directory(gps_at, [(2, 5, 3, latitude_at)], 0)
    directory(second_at, [(0x0103, 3, 1, 6), (0x0201, 4, 1, thumbnail_at), (0x0202, 4, 1, len(thumbnail))], 0)
    latitude = struct.pack(order + "6I", *struct.unpack("<6I", GPS_LATITUDE))
    for at, content in ((taken_at, TAKEN), (note_at, MAKER_NOTE), (latitude_at, latitude), (thumbnail_at, thumbnail)):
        block[at : at + len(content)] = content
    return bytes(block)


def xmp_packet(orientation: int = 1, extra: str = "") -> bytes:
    """`extra`: further attributes."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
        f' tiff:Orientation="{orientation}" tiff:Make="Nachtkamera é"{extra}/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def rgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def cmyk_profile() -> bytes:
    """A printer profile (ICC.1:2022) whose 16 corners say that the inks are a bit dirty: lut8Type to Lab."""
    corners = bytearray()
    for inks in range(16):
        c, m, y, k = (inks >> 3 & 1, inks >> 2 & 1, inks >> 1 & 1, inks & 1)
        lightness = 255 * (1 - 0.35 * c) * (1 - 0.45 * m) * (1 - 0.1 * y) * (1 - 0.95 * k)
        a, b = 128 + (1 - k) * (-35 * c + 70 * m - 5 * y), 128 + (1 - k) * (-45 * c - 5 * m + 80 * y)
        corners += bytes(int(min(max(level, 0), 255)) for level in (lightness, a, b))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + ramp * 4 + bytes(corners) + ramp * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def grey_profile() -> bytes:
    """Grey whose tones are linear in light: far brighter than sRGB takes the same numbers for."""
    return profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": b"curv" + bytes(8)})


def profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Header and tag table of ICC.1 version 2, with the tags that every profile has."""
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"Test\x00" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061),
        b"cprt": b"text" + bytes(4) + b"free\x00",
        **tags,
    }
    start, index, body = 132 + 12 * len(tags), b"", b""
    for signature, content in tags.items():
        index += struct.pack(">4sII", signature, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = bytearray(128)
    struct.pack_into(">I4sI4s4s4s", header, 0, start + len(body), b"", 0x02100000, kind, space, connection)
    header[36:40] = b"acsp"
    struct.pack_into(">3i", header, 68, 63190, 65536, 54061)
    return bytes(header) + struct.pack(">I", len(tags)) + index + body


def saved(pixels: Samples | Image.Image, name: str, **options: Any) -> bytes:
    """Coded by Pillow. `pixels`: an image, or HxWx3, HxWx4 or HxW uint8."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def jpeg(pixels: Samples | Image.Image, **options: Any) -> bytes:
    return saved(pixels, "JPEG", **options)


def jpeg_segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def with_segments(coded: bytes, *segments: bytes) -> bytes:
    """A JPEG with further segments behind its JFIF header."""
    at = 4 + struct.unpack_from(">H", coded, 4)[0]
    return coded[:at] + b"".join(segments) + coded[at:]


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def with_chunks(coded: bytes, *chunks: bytes) -> bytes:
    """A PNG with further chunks behind its header."""
    return coded[:33] + b"".join(chunks) + coded[33:]


def png_16(samples: Samples) -> bytes:
    """HxWxC uint16, C of 1 to 4, as an unfiltered PNG."""
    height, width, channels = samples.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    raw = np.hstack((np.zeros((height, 1), np.uint8), rows)).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def tiff_16(samples: Samples, *, order: str = "<", planar: bool = False, alpha: int = 2) -> bytes:
    """HxWxC uint16 as an uncompressed TIFF, in one strip or one a plane. `alpha`: 1 multiplied in, 2 not."""
    height, width, channels = samples.shape
    planes = [samples[..., index] for index in range(channels)] if planar else [samples]
    strips = [plane.astype(order + "u2").tobytes() for plane in planes]
    offsets = [8 + sum(map(len, strips[:index])) for index in range(len(strips))]
    entries = {
        256: [width], 257: [height], 258: [16] * channels, 259: [1], 262: [2 if channels >= 3 else 1],
        273: offsets, 277: [channels], 278: [height], 279: [*map(len, strips)], 284: [2 if planar else 1],
    }  # fmt: skip
    if channels in (2, 4):
        entries[338] = [alpha]
    return tiff(b"".join(strips), entries, order=order)


def tiff(strips: bytes, entries: dict[int, list[int]], *, order: str = "<") -> bytes:
    """A TIFF of one page: its pixels from offset 8 on, then its fields, all of them LONG."""
    at = 8 + len(strips)
    packed, behind = struct.pack(order + "H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        packed += struct.pack(order + "HHI", tag, 4, len(values))
        if len(values) == 1:
            packed += struct.pack(order + "I", values[0])
        else:
            packed += struct.pack(order + "I", at + 2 + 12 * len(entries) + 4 + len(behind))
            behind += struct.pack(f"{order}{len(values)}I", *values)
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    return mark + struct.pack(order + "I", at) + strips + packed + bytes(4) + behind
