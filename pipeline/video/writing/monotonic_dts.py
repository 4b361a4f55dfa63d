"""Writing of packets to a container with decoding times (dts) that rise in each stream, as muxers demand.

They do not rise if overlapping recordings were concatenated byte by byte, or if a transport stream is damaged.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import av
from av.container import OutputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from pipeline.errors import Damaged
from pipeline.video.reading.opening import is_cover, reason
from pipeline.video.reading.times import DEEPEST

SHARES_TIMES = ("subtitle", "data")  # kinds of streams whose packets may share a time
LONGEST = 1 << 31  # limit of a duration in MP4, in time units; only damaged packets exceed it
NOT_STRICT = cast(int, Flags.ts_nonstrict.value)  # flag of containers in which packets of any stream may share a time


@contextmanager
def taken(container: str, what: str) -> Iterator[None]:
    """Raise Damaged if a container rejects what it is given. Errors of files and memory pass through unchanged."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError | MemoryError):
            raise
        raise Damaged(f"{container} rejects {what} ({reason(error)}); try another --container") from error


class Rising:
    """Writer of packets with rising dts. Counts packets that are moved, and packets that are left out.

    Left out are packets of streams other than the video that the container refuses. `names`: names of the streams for
    messages, by index in the output.
    """

    def __init__(self, output: OutputContainer, video: int, names: Mapping[int, str]) -> None:
        self.output, self.video, self.names = output, video, names
        self.strict = not output.format.flags & NOT_STRICT
        self.last: dict[int, int] = {}  # last dts of each stream, in the stream's units
        self.moved: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        output.start_encoding()  # fixes those units

    def write(self, packet: "Packet[Any]") -> None:
        """Write a packet. Raises Damaged if the container refuses the video, or what came shortly before it."""
        stream = packet.stream
        least = self._least(stream)
        if least is not None and not _is_there(packet, least):
            self._move(packet, least)
        if packet.dts is not None:
            packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
        if packet.duration and packet.duration * packet.time_base / stream.time_base >= LONGEST:
            packet.duration = 0
        try:
            with taken(self.output.format.name, f"{self.names[stream.index]} or what came shortly before it"):
                self.output.mux_one(packet)
        except Damaged:
            if stream.index == self.video:
                raise
            self.refused[stream.index] += 1
        if packet.dts is not None:
            self.last[stream.index] = packet.dts

    def notes(self) -> list[str]:
        return [
            f"{self.names[index]}: {count} packets whose times go backwards are moved behind those before them"
            for index, count in sorted(self.moved.items())
        ] + [
            f"damaged: {self.names[index]}: {count} packets that {self.output.format.name} rejects are left out"
            for index, count in sorted(self.refused.items())
        ]

    def _least(self, stream: Stream) -> int | None:
        last = self.last.get(stream.index)
        return None if last is None else last + (self.strict and stream.type not in SHARES_TIMES)

    def _move(self, packet: "Packet[Any]", least: int) -> None:
        """Move the packet to `least`, in the stream's units."""
        unit = packet.time_base / packet.stream.time_base
        packet.pts = None if packet.pts is None else round(packet.pts * unit)
        packet.duration = round((packet.duration or 0) * unit)
        packet.dts, packet.time_base = least, packet.stream.time_base
        self.moved[packet.stream.index] += 1


def with_dts(packets: "Iterable[Packet[Any]]") -> "Iterator[Packet[Any]]":
    """Yield packets of several streams, each with a dts, if it has a pts.

    The first packets of a video may lack one: Matroska stores only pts, and FFmpeg learns from these packets how far
    frames are reordered. They are held until one has a dts, and get earlier ones.
    """
    held: dict[int, list[Packet[Any]]] = defaultdict(list)
    begun: set[int] = set()
    for packet in packets:
        index = packet.stream_index
        waits = packet.dts is None and _may_reorder(packet.stream) and index not in begun
        if waits and len(held[index]) < DEEPEST:
            held[index].append(packet)
            continue
        begun.add(index)
        yield from _before(held.pop(index, []), packet.dts)
        packet.dts = packet.pts if packet.dts is None else packet.dts
        yield packet
    for waiting in held.values():
        yield from _before(waiting, None)


def _may_reorder(stream: Stream) -> bool:
    return isinstance(stream, VideoStream) and not is_cover(stream)


def _before(packets: "list[Packet[Any]]", dts: int | None) -> "list[Packet[Any]]":
    """Give packets of one stream decoding times that end before `dts`, or with the earliest pts if that is None."""
    earliest = min((packet.pts for packet in packets if packet.pts is not None), default=0)
    step = next((packet.duration for packet in packets if packet.duration), 1)
    last = earliest if dts is None else min(earliest, dts - step)
    for back, packet in enumerate(reversed(packets)):
        packet.dts = last - back * step
    return packets


def _is_there(packet: "Packet[Any]", least: int) -> bool:
    """Return whether the packet's dts, rounded to the units of its stream, is `least` or later."""
    return packet.dts is not None and packet.dts * packet.time_base / packet.stream.time_base > least - 0.5
