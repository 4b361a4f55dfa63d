"""XMP packets (ISO 16684-1): only what is no longer valid is changed; the rest stays byte for byte."""

import re

from pipeline.images.metadata.elements import Elements
from pipeline.images.pixels import add_note

GAIN_MAP_DROPPED = "gain map dropped: it describes the brightness before enhancement"
FILM_DROPPED = "video of a motion photo dropped"
DEPTH_DROPPED = "depth image dropped"
# How packets begin that are not in UTF-8 (ISO 16684-1 section 7.3.2)
WIDE = {
    "<".encode("utf-32-be"): "utf-32-be",
    "<".encode("utf-32-le"): "utf-32-le",
    "<".encode("utf-16-be"): "utf-16-be",
    "<".encode("utf-16-le"): "utf-16-le",
    b"\xfe\xff": "utf-16",
    b"\xff\xfe": "utf-16",
}
FILMS = frozenset(("MotionPhoto", "MicroVideo"))

GAIN_MAP = Elements(r"(?:hdrgm|HDRGainMap):\w+")
MOTION = Elements(r"\w*Camera:(?:MotionPhoto|MicroVideo|OLivePhotoVersion|VideoLength)\w*")
# The list of what is appended to the image in the same file, and the cameras that took it (Dynamic Depth 1.0)
DEVICE = Elements(r"Device:(?:Container|Cameras|Profiles)")
DIRECTORY = Elements(r"\w+:Directory")
ITEM = re.compile(rb"""<\w+:Item\b.*?(?=<\w+:Item\b|</\w+:Directory)""", re.DOTALL)
SEMANTIC = re.compile(rb"""\w+:(Semantic|DataURI)(?:\s*=\s*["']|>)([^"'<]+)""")
PREVIEWS = Elements(r"\w+:Thumbnails")  # ISO 16684-2 section 5.4


def in_utf8(packet: bytes) -> bytes:
    """Return a packet of UTF-16 or UTF-32, which old programs wrote, in UTF-8; others stay byte for byte."""
    for mark, encoding in WIDE.items():
        if packet.startswith(mark):
            try:
                return packet.decode(encoding).encode()
            except UnicodeDecodeError:
                return packet
    return packet


def has_gain_map(packet: bytes) -> bool:
    return b"hdrgm:Version" in packet


def appended(packet: bytes) -> list[str]:
    """Return the names of the images and films that the packet says are appended to the first image, in their order."""
    names = []
    for directory in DIRECTORY.found(packet):
        for item in ITEM.findall(directory):
            stated = dict(SEMANTIC.findall(item))
            name = stated.get(b"Semantic") or stated.get(b"DataURI") or b"unnamed"
            names.append(name.decode("utf-8", "replace").strip())
    return [name for name in names if name.lower() != "primary"]


def alone(packet: bytes, notes: list[str]) -> bytes:
    """Remove what the packet says about images and films that are dropped, with a note, and previews of the image."""
    for item in appended(packet):
        if item == "GainMap":
            add_note(notes, GAIN_MAP_DROPPED)
        elif item in FILMS:
            add_note(notes, FILM_DROPPED)
        elif "depth" in item.lower():
            add_note(notes, DEPTH_DROPPED)
        else:
            add_note(notes, f"appended image dropped: {item}")
    if has_gain_map(packet):
        add_note(notes, GAIN_MAP_DROPPED)
    if MOTION.are_in(packet):
        add_note(notes, FILM_DROPPED)
    if DIRECTORY.are_in(packet):
        packet = DIRECTORY.removed(DEVICE.removed(packet))
    for claim in (GAIN_MAP, MOTION, PREVIEWS):
        packet = claim.removed(packet)
    return packet
