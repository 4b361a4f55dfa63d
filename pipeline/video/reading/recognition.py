"""Recognition of videos by their first bytes, and of what else may have the name of one."""

import re
from collections.abc import Iterator

HEAD_BYTES = 4096  # of a file, which tell what it is

AUDIO_BRANDS = frozenset((b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "))  # of files without video
OLD_BOXES = frozenset((b"moov", b"mdat", b"wide", b"pnot"))  # that QuickTime files without `ftyp` begin with
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_SOUND = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
ASF_VIDEO = (bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b"), bytes.fromhex("e265fb3aef47f240ac2c70a90d71d343"))
OGG_VIDEO = (b"\x80theora", b"\x01video", b"OVP80", b"BBCD", b"KW-DIRAC")
TS_PACKETS = ((188, 0, ".ts"), (192, 4, ".m2ts"), (204, 0, ".ts"))  # bytes of a packet, place of its 0x47

# ISO/IEC 14496-10 annex B: a start code, then an SPS, or a delimiter; ISO/IEC 23008-2: VPS, SPS or delimiter
H264 = re.compile(rb"\0{2,3}\x01(?:[\x27\x47\x67]|\x09[\x10-\xf0]\0\0|\x06[\s\S]*\0\0\x01[\x27\x47\x67])")
HEVC = re.compile(rb"\0{2,3}\x01[\x40\x42\x46]\x01")

SIGNATURES = (
    (b"\x1a\x45\xdf\xa3", ".mkv"),  # EBML
    (b"FLV\x01", ".flv"),
    (b"YUV4MPEG2 ", ".y4m"),
    (b"DKIF", ".ivf"),
    (b"\x12\0\x0a", ".obu"),  # AV1, 5.3.1: a temporal delimiter, then a sequence header
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", ".mxf"),  # SMPTE ST 377-1, partition pack
    (b"\0\0\0\0\1\xbc", ".gxf"),  # SMPTE ST 360, packet header of a map
    (bytes.fromhex("b7d800203749da11a64e0007e95ead8d"), ".wtv"),
    (b"DHAV", ".dav"),
    (b"nut/multimedia container\0", ".nut"),
    (b"\x1f\x07\0\x3f", ".dv"),
    (b"\x1f\x07\0\xbf", ".dv"),
    (b"\0\0\1\xba", ".mpg"),  # ISO/IEC 13818-1, 2.5: pack header
    (b"IMKH", ".mpg"),  # the same behind the header of some surveillance recorders
    (b"\0\0\1\xb3", ".m2v"),  # ISO/IEC 13818-2: sequence header
    (b"\0\0\1\xb0", ".mp4v"),  # ISO/IEC 14496-2: visual object sequence
)

TEXT, SOUND, MUSIC = ".txt", ".oga", ".xm"
OTHERS = {TEXT: "a text", SOUND: "sound without video", MUSIC: "music of a tracker"}
SOUND_SIGNATURES = (b"ID3", b"fLaC", b".ra\xfd", b"MThd", b"FORM", b"caff", b"#!AMR")
TRACKERS = frozenset((b"M.K.", b"M!K!", b"FLT4", b"FLT8", b"4CHN", b"6CHN", b"8CHN", b"OCTA", b"CD81"))
BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that no text has


def extension_by_content(head: bytes) -> str:
    """Return the extension of a video by its first `HEAD_BYTES`; "" if they are not those of a known container."""
    if head[4:8] == b"ftyp":
        return "" if head[8:12] in AUDIO_BRANDS else ".mov" if head[8:12] == b"qt  " else ".mp4"
    if head[4:8] in OLD_BOXES and CONTROLS.search(head):
        return ".mov"
    if head[:4] == b"RIFF":
        return {b"AVI ": ".avi", b"AMV ": ".amv", b"CDXA": ".mpg"}.get(head[8:12], "")
    for start, extension in ((ASF, ".asf"), (b"OggS", ".ogv"), (b".RMF", ".rm")):
        if head.startswith(start):
            return "" if _is_sound(head) else extension
    for packet_bytes, at, extension in TS_PACKETS:
        if len(head) >= 3 * packet_bytes and set(head[at::packet_bytes]) == {0x47}:
            return extension
    found = next((extension for start, extension in SIGNATURES if head.startswith(start)), "")
    return found or (".265" if HEVC.match(head) else ".264" if H264.match(head) else "")


def other_by_content(head: bytes) -> str:
    """Return an extension for what a file is that has a video's name but is none: a key of OTHERS; "": maybe one."""
    if extension_by_content(head):
        return ""
    if _is_text(head):
        return TEXT
    return SOUND if _is_sound(head) else MUSIC if head[1080:1084] in TRACKERS else ""


def _is_sound(head: bytes) -> bool:
    """Return whether a file holds sound and nothing else, as far as its first bytes show."""
    if head.startswith(ASF):
        is_whole = int.from_bytes(head[16:24], "little") <= len(head)
        return is_whole and ASF_SOUND in head and not any(kind in head for kind in ASF_VIDEO)
    if head.startswith(b"OggS"):
        return not any(each.startswith(OGG_VIDEO) for each in _ogg_streams(head))
    if head.startswith(b".RMF"):
        return b"audio/x-pn-realaudio" in head and b"video/" not in head
    if head[:4] == b"RIFF":
        return head[8:12] == b"WAVE"
    return head.startswith(SOUND_SIGNATURES) or (head[4:8] == b"ftyp" and head[8:12] in AUDIO_BRANDS)


def _ogg_streams(head: bytes) -> Iterator[bytes]:
    """Yield the first packet of each stream: their pages come before all others (RFC 3533, 6)."""
    at = 0
    while head[at : at + 4] == b"OggS" and head[at + 5 : at + 6] and head[at + 5] & 2:
        count = head[at + 26 : at + 27]
        sizes = head[at + 27 : at + 27 + (count[0] if count else 0)]
        content = at + 27 + len(sizes)
        yield head[content : content + 16]
        at = content + sum(sizes)


def _is_text(head: bytes) -> bool:
    """Return whether bytes are those of a text: UTF-8, another code with ASCII in it, or UTF-16 with a mark."""
    if head.startswith(BYTE_ORDER_MARKS):
        return True
    return bool(head) and CONTROLS.search(head) is None
