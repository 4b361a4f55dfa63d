"""Videos whose containers tell players to show a part of each frame."""

import struct
from fractions import Fraction
from io import BytesIO

import av

from pipeline.video.structure import ebml
from tests.support.beside_pixels import with_boxes

ROOM = 80  # bytes


def with_clap(content: bytes, width: float, height: float, right: float = 0, down: float = 0) -> bytes:
    """The same MP4 or MOV, whose index comes last, with a clean aperture in its first track.

    `right`, `down`: of its middle from that of the frame.
    """
    fields = (Fraction(each).limit_denominator(1000) for each in (width, height, right, down))
    box = struct.pack(">I4s8i", 40, b"clap", *(part for each in fields for part in each.as_integer_ratio()))
    return with_boxes(content, box)


def in_matroska(
    content: bytes, top: int, bottom: int, left: int, right: int, display: tuple[int, int] | None = None
) -> bytes:
    """The same video in Matroska, with PixelCrop. `display`: width and height that it is shown with."""
    file = BytesIO()
    with av.open(BytesIO(content)) as source, av.open(file, "w", format="matroska") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.metadata["title"] = ROOM * "."  # makes room for the elements
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    made = file.getvalue()
    elements = list(ebml.tree(file))
    track, video, name = (
        next(each for _, each in elements if each[0] == number) for number in (ebml.TRACK, ebml.VIDEO, ebml.NAME)
    )
    told = dict(zip(ebml.PIXEL_CROPS, (top, bottom, left, right), strict=True))
    if display:
        told |= dict(zip((ebml.DISPLAY_WIDTH, ebml.DISPLAY_HEIGHT), display, strict=True))
    kept = [each for each in ebml.elements(file, video[2], video[3]) if each[0] != ebml.DISPLAY_UNIT]
    shape = b"".join(made[each[1] : each[3]] for each in kept)
    shape += b"".join(ebml.coded(number, value.to_bytes(2)) for number, value in told.items())
    parts = [each for each in ebml.elements(file, track[2], track[3]) if each not in (video, name)]
    new = b"".join(made[each[1] : each[3]] for each in parts) + ebml.coded(ebml.VIDEO, shape)
    new += ebml.coded(ebml.VOID, bytes(track[3] - track[2] - len(new) - 2), 1)
    return made[: track[2]] + new + made[track[3] :]
