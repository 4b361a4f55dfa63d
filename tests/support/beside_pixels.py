"""Videos that carry something beside their pixels, made by code: messages in packets, boxes in MP4."""

import struct
from collections.abc import Sequence
from io import BytesIO

import av

HDR10 = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
T35 = 4  # SEI of what is registered by ITU-T T.35
CAPTION = bytes([0xB5, 0x00, 0x31]) + b"GA94" + bytes([3, 0x41, 0xFF, 0xFC, 0x94, 0x20, 0xFF])  # "resume loading"
HDR10_PLUS = bytes([0xB5, 0x00, 0x3C, 0x00, 0x01, 4, 1, 0b01 << 6]) + bytes(24)  # one window, all its numbers 0
DOLBY_VISION = bytes([62 << 1, 1, 25]) + bytes(range(1, 40))  # a NAL unit of HEVC; what it says is no RPU
ENTRY = ("moov", "trak", "mdia", "minf", "stbl", "stsd")  # where MP4 tells of a coding
EQUIRECTANGULAR = b"".join(
    struct.pack(">I4s", 8 + len(content), name) + content
    for name, content in [
        (b"st3d", bytes([0, 0, 0, 0, 1])),  # the left eye's picture above the right eye's
        (
            b"sv3d",
            struct.pack(">I4sIB", 13, b"svhd", 0, 0)
            + struct.pack(">I4s", 60, b"proj")
            + struct.pack(">I4sIiii", 24, b"prhd", 0, 0, 0, 0)
            + struct.pack(">I4sIIIII", 28, b"equi", 0, 0, 0, 0, 0),
        ),
    ]
)


def sei(content: bytes, codec: str) -> bytes:
    """A NAL unit that registers this content: in front of a picture."""
    head = bytes([6]) if codec == "h264" else bytes([39 << 1, 1])
    body = bytes([T35, len(content)]) + content + b"\x80"
    escaped, zeros = bytearray(), 0
    for byte in body:
        if zeros >= 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return head + bytes(escaped)


def with_units(coded: bytes, container: str, *, before: Sequence[bytes] = (), after: Sequence[bytes] = ()) -> bytes:
    """An MP4 of H.264 or HEVC in another container, every packet of it with more NAL units."""
    file = BytesIO()
    lengthened = [b"".join(struct.pack(">I", len(unit)) + unit for unit in units) for units in (before, after)]
    with av.open(BytesIO(coded)) as source, av.open(file, "w", format=container) as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.codec_context.framerate = source.streams.video[0].average_rate
        for packet in source.demux(video=0):
            if packet.size:
                new = av.Packet(lengthened[0] + bytes(packet) + lengthened[1])
                new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
                new.time_base, new.is_keyframe, new.stream = packet.time_base, packet.is_keyframe, stream
                output.mux(new)
    return file.getvalue()


def with_boxes(coded: bytes, boxes: bytes) -> bytes:
    """An MP4, whose index lies at its end, with more boxes in the entry of its first track."""
    into, at, end = bytearray(coded), 0, len(coded)
    sizes = []
    for name in ENTRY:
        while into[at + 4 : at + 8] != name.encode():
            at += struct.unpack_from(">I", into, at)[0]
            assert at < end, name
        sizes.append(at)
        end = at + struct.unpack_from(">I", into, at)[0]
        at += 16 if name == "stsd" else 8
    sizes.append(at)
    end = at + struct.unpack_from(">I", into, at)[0]
    for place in sizes:
        struct.pack_into(">I", into, place, struct.unpack_from(">I", into, place)[0] + len(boxes))
    return bytes(into[:end] + boxes + into[end:])
