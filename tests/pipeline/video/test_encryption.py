"""Encrypted videos of each container are called that, and nothing else is."""

import re
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from itertools import pairwise

import av
import pytest

from pipeline.errors import Unsupported
from pipeline.video.reading.probe import probe
from pipeline.video.structure import ebml
from pipeline.video.structure.encryption import OF_ASF, TRIPLET
from tests.support.clips import clip, packets, streets
from tests.support.enhanced import done
from tests.support.recordings import recording

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


def _scrambled_sound(content: bytes) -> bytes:
    changed = bytearray(content)
    for at in range(0, len(content), 188):
        if content[at + 1 : at + 3] in (b"\x01\x01", b"\x41\x01"):  # the second stream
            changed[at + 3] |= 0x80
    return bytes(changed)


def _scrambled_sectors_of_sound(content: bytes) -> bytes:
    return b"".join(
        content[at : at + 6] + bytes([content[at + 6] | 0x10]) + content[at + 7 : end]
        for at, end in pairwise([0, *(found.start() for found in re.finditer(rb"\0\0\x01\xc0", content)), len(content)])
    )


def _protected(content: bytes) -> bytes:
    """A box of the bit rate becomes that of protection (ISO/IEC 14496-12, 8.12)."""
    entry = content.index(b"mp4a\0")
    rate = content.index(b"\0\0\0\x14btrt", entry)
    sinf = bytes.fromhex("00000014") + b"sinf" + bytes.fromhex("0000000c") + b"frmamp4a"
    return content[:entry] + b"enca" + content[entry + 4 : rate] + sinf + content[rate + 20 :]


def _with_encoding(content: bytes) -> bytes:
    """The element of a title becomes that of an encryption (RFC 9559, 5.1.4.1.31)."""
    title = ebml.coded(0x536E, TITLE)
    encryption = ebml.coded(ebml.ENCRYPTION, ebml.coded(0x47E1, b"\5"))
    encoding = ebml.coded(0x6D80, ebml.coded(0x6240, ebml.coded(0x5033, b"\1") + encryption))
    return content.replace(title, encoding + ebml.coded(ebml.VOID, bytes(len(title) - len(encoding) - 2)))


def _titled(content: bytes) -> bytes:
    file = BytesIO()
    with av.open(BytesIO(content)) as source, av.open(file, "w", format="matroska") as output:
        copies = [output.add_stream_from_template(stream) for stream in source.streams]
        copies[1].metadata["title"] = TITLE.decode()
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                output.mux(packet)
    return file.getvalue()


TITLE = b"the sound of a long and quiet night"


@pytest.mark.parametrize(
    ("name", "muxer", "change"),
    [
        ("a.ts", "mpegts", _scrambled_sound),
        ("a.vob", "vob", _scrambled_sectors_of_sound),
        ("a.mp4", "mp4", _protected),
        ("a.mkv", "matroska", _with_encoding),
    ],
)
def test_sound_alone_that_is_encrypted_is_left_out_and_named(
    name: str, muxer: str, change: Callable[[bytes], bytes]
) -> None:
    codecs = ("mpeg2video", "mp2") if muxer == "vob" else ("libx264", "aac")
    content = recording(muxer, *codecs)
    content = _titled(content) if muxer == "matroska" else content
    changed = change(content)
    assert changed != content
    assert len(changed) == len(content)
    target = "a.mkv" if muxer == "vob" else name
    plain, (outcome, written) = done(name, content, target)[1], done(name, changed, target)
    said = [note for note in outcome.notes if "encrypted" in note]
    assert [note.replace(", und", "") for note in said] == [
        f"audio stream 1 ({codecs[1]}) is left out: it is encrypted (DRM)"
    ]
    assert packets(written, "audio") == []
    assert packets(written, "video") == packets(plain, "video")
    assert len(packets(plain, "audio")) == 1


def test_other_files_with_the_byte_of_a_transport_stream_are_not_encrypted() -> None:
    content = bytearray(clip(streets(8), "avi", "mpeg4"))
    content[4] = 0x47  # of the size that is stated, as in files that end early
    assert probe(BytesIO(bytes(content))).frames == 8


def test_of_joined_recordings_only_what_is_encrypted_is_left_out() -> None:
    """A broadcaster may scramble what follows, all of it or the sound alone."""
    clear = recording("mpegts", "libx264", "aac", frames=25, grain=20)  # most of the file
    later = recording("mpegts", "mpeg2video", "aac")
    info = probe(BytesIO(clear + _scrambled_packets(later)))
    assert info.frames == 25
    assert [each.split(";")[0] for each in info.unread] == [
        "recording 2 of 2 is left out: it is encrypted (DRM), which nightlift cannot read"
    ]
    outcome, written = done("a.ts", clear + _scrambled_sound(later))
    assert outcome.frames == 37
    assert any(note.endswith("of recording 2 is left out: it is encrypted (DRM)") for note in outcome.notes)
    assert packets(written, "audio")[0] == packets(clear, "audio")[0]
