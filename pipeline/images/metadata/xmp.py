"""XMP packets (ISO 16684-1): only what is no longer valid is changed; the rest stays byte for byte."""

import re

GAIN_MAP_DROPPED = "gain map dropped: it describes the brightness before enhancement"

ORIENTATION = re.compile(rb"""(<tiff:Orientation>\s*|\btiff:Orientation\s*=\s*["'])[1-8]""")
GAIN_MAP = re.compile(
    rb"""\shdrgm:\w+\s*=\s*("[^"]*"|'[^']*')"""
    rb"""|<hdrgm:(\w+)[^>]*?(/>|>.*?</hdrgm:\2>)""",
    re.DOTALL,
)
# The list of what is appended to the image in the same file: a gain map, the video of a motion photo.
DIRECTORY = re.compile(rb"<(\w+):Directory\b[^>]*>.*?</\1:Directory>", re.DOTALL)
MOTION = re.compile(rb"""\sGCamera:(MotionPhoto|MicroVideo)\w*\s*=\s*("[^"]*"|'[^']*')""")


def upright(packet: bytes) -> bytes:
    """Set the orientation to 1, for pixels that have been turned upright."""
    return ORIENTATION.sub(rb"\g<1>1", packet)


def has_gain_map(packet: bytes) -> bool:
    return b"hdrgm:Version" in packet


def has_motion_photo(packet: bytes) -> bool:
    return MOTION.search(packet) is not None


def alone(packet: bytes) -> bytes:
    """Remove what the packet says about an appended gain map or video."""
    return DIRECTORY.sub(b"", MOTION.sub(b"", GAIN_MAP.sub(b"", packet)))
