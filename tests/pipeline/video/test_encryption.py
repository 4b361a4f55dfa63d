"""Encrypted videos of each container are called that, and nothing else is."""

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO

import pytest

from pipeline.errors import Unsupported
from pipeline.video.reading.probe import probe
from pipeline.video.structure.encryption import OF_ASF, TRIPLET
from tests.support.clips import Sound, clip, streets

CODEC_LIST = bytes.fromhex("4052d1861d31d011a3a400a0c90348f6")  # an object of ASF, whose place another one takes


def _scrambled_packets(content: bytes) -> bytes:
    """Set transport_scrambling_control of all packets above the tables."""
    changed = bytearray(content)
    for at in range(0, len(content), 188):
        if content[at + 1] & 0x1F or content[at + 2] >= 0x20:
            changed[at + 3] |= 0x80
    return bytes(changed)


def _behind_times(content: bytes) -> bytes:
    """Put four bytes before each packet, as Blu-ray and AVCHD do."""
    return b"".join(bytes(4) + content[at : at + 188] for at in range(0, len(content), 188))


def _cut(content: bytes) -> bytes:
    return content[77:]


def _aacs(content: bytes) -> bytes:
    """Encrypt all but the first 16 bytes of each 6144."""
    changed = bytearray(_behind_times(content * 8))
    for at in range(len(changed)):
        changed[at] ^= 0xC0 if at % 6144 == 0 else 0 if at % 6144 < 16 else 0x5A
    return bytes(changed)


def _scrambled_sectors(content: bytes) -> bytes:
    """Set PES_scrambling_control of the packets of the video."""
    changed, at = bytearray(content), content.find(b"\0\0\1\xe0")
    while at >= 0:
        changed[at + 6] |= 0x10
        at = content.find(b"\0\0\1\xe0", at + 4)
    return bytes(changed)


@pytest.mark.parametrize(
    ("container", "codec", "change"),
    [
        ("mpegts", "libx264", _scrambled_packets),
        ("mpegts", "libx264", lambda content: _behind_times(_scrambled_packets(content))),
        ("mpegts", "libx264", lambda content: _cut(_scrambled_packets(content))),
        ("mpegts", "libx264", _aacs),
        ("vob", "mpeg2video", _scrambled_sectors),
        *(("asf", "wmv2", lambda content, kind=kind: content.replace(CODEC_LIST, kind)) for kind in OF_ASF),
        ("mxf", "mpeg2video", lambda content: content.replace(bytes.fromhex("0d01030115010500"), TRIPLET)),
    ],
)
def test_encrypted_videos_are_refused_as_such(container: str, codec: str, change: Callable[[bytes], bytes]) -> None:
    content = clip(streets(8), container, codec, time_base=Fraction(1, 25))
    assert probe(BytesIO(content)).frames == 8
    changed = change(content)
    assert changed != content
    with pytest.raises(Unsupported, match="it is encrypted"):
        probe(BytesIO(changed))


def test_sound_alone_may_be_scrambled() -> None:
    content = clip(streets(8), "mpegts", extras=Sound())
    changed = bytearray(content)
    for at in range(0, len(content), 188):
        if content[at + 1 : at + 3] in (b"\x01\x01", b"\x41\x01"):  # the second stream
            changed[at + 3] |= 0x80
    assert changed != content
    assert probe(BytesIO(bytes(changed))).frames == 8


def test_other_files_with_the_byte_of_a_transport_stream_are_not_encrypted() -> None:
    content = bytearray(clip(streets(8), "avi", "mpeg4"))
    content[4] = 0x47  # of the size that is stated, as in files that end early
    assert probe(BytesIO(bytes(content))).frames == 8
