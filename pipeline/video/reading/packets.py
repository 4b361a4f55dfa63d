"""Collection of what packets tell on the way through a file: their times, and what some of the frames look like."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.video.reading.concatenations import position
from pipeline.video.reading.fields import Shows
from pipeline.video.reading.times import Listed
from pipeline.video.signal.bars import Bars
from pipeline.video.signal.levels import Shares, shares_beyond
from pipeline.video.signal.picture import Cutter, Picture
from pipeline.video.signal.side_data import kinds
from pipeline.video.structure.facts import crop_of

MOST_IN_ORDER = 300  # frames decoded at the beginning while there may be bars, and more if no keyframe comes
MOST_AT_END = 300  # frames from the last keyframe on that are decoded then
EVERY_AT_END = 6  # of which one is looked at


class Packets:
    """Collector of what is kept of the packets: their times, and what a few later keyframes look like."""

    def __init__(self, stream: VideoStream) -> None:
        self.shows = Shows(stream.codec_context)
        self.listed = Listed()
        self.end_s = Fraction(0)  # latest end of any stream
        self.later = 0  # keyframes after the first frames
        self.interlaced = False  # whether one of these is
        self.levels: list[Shares] = []  # of these
        self.later_kinds: frozenset[str] = frozenset()  # of side data of these
        self.aspect: Fraction | None = None  # that the first frames' coding states
        self.problem: Exception | None = None
        self.has_mvc = False
        self.crop = crop_of(stream)
        self.shown = Cutter(self.crop)
        self.bars = Bars()
        self.is_in_order = True  # whether all frames up to here were decoded
        self.latest: list[VideoFrame] = []  # the last frame of these
        self.tail: list[Packet[Any]] = []  # packets from the last keyframe on, while frames are not decoded in order

    @property
    def count(self) -> int:
        return len(self.listed.pts)

    def note_end(self, packet: "Packet[Any]") -> None:
        if packet.pts is not None and packet.time_base is not None:
            self.end_s = max(self.end_s, (packet.pts + (packet.duration or 0)) * packet.time_base)

    def add(self, packet: "Packet[Any]") -> None:
        if not self.shows(packet):
            return
        self.has_mvc = self.has_mvc or (not self.count and self.shows.has_second_view(packet))
        self.listed.pts.append(packet.pts)
        self.listed.dts.append(packet.dts)
        self.listed.keyframes.append(packet.is_keyframe)
        self.listed.positions.append(position(packet, self.listed.positions[-1] if self.listed.positions else 0))
        self.listed.durations.append(packet.duration or 0)

    def look(self, packet: "Packet[Any]", context: VideoCodecContext) -> list[VideoFrame]:
        """Decode the next packet, and look for bars in its frames, which are returned."""
        found = _decoded(packet, self, context)
        self.bars.look(found, self.count)
        self.latest = found[-1:] or self.latest
        return found

    def look_on(self, packet: "Packet[Any]", context: VideoCodecContext) -> None:
        """Check what a keyframe after the first frames looks like: the 1st, 2nd, 4th, 8th, ..., and some for bars.

        Keyframes are decoded alone. But while there may be bars, frames are decoded in order, up to the first keyframe
        after MOST_IN_ORDER.
        """
        if not packet.size and packet.dts is None:
            self.look_at_end(packet, context)
            return
        self.later += packet.is_keyframe
        is_checked = packet.is_keyframe and not self.later & (self.later - 1)
        goes_on = self.bars.is_open and (self.count <= MOST_IN_ORDER or not packet.is_keyframe)
        self.is_in_order = self.is_in_order and goes_on
        if self.is_in_order:
            found = self.look(packet, context)
        elif is_checked or (packet.is_keyframe and self.bars.is_due(self.count)):
            context.flush_buffers()
            found = [frame for each in (packet, None) for frame in _decoded(each, self, context)]
            self.bars.look(found, self.count)
        if packet.is_keyframe or not self.bars.is_open:
            self.tail.clear()
        if self.bars.is_open and not self.is_in_order and len(self.tail) < MOST_AT_END:
            self.tail.append(packet)
        if is_checked:
            self.interlaced |= any(frame.interlaced_frame for frame in found)
            self.levels += levels(found, self.bars.picture())
            self.later_kinds |= kinds(found)

    def look_at_end(self, flush: "Packet[Any]", context: VideoCodecContext) -> None:
        """Find out whether the last frames have bars: those that are held back, or those from the last keyframe on."""
        if not self.bars.is_open:
            return
        if self.tail:
            context.flush_buffers()
        found = [frame for each in (*self.tail, flush) for frame in _decoded(each, self, context)]
        if self.tail and self.tail[0].pts is not None:  # frames before the keyframe may be broken
            found = [frame for frame in found if frame.pts is None or frame.pts >= self.tail[0].pts]
        for frame in [*self.latest, *found[::-EVERY_AT_END]]:
            self.bars.look_at(frame)


def levels(frames: Iterable[VideoFrame], picture: Picture | None) -> list[Shares]:
    parts = (picture.of(frame) if picture and picture.fits(frame) else frame for frame in frames)
    return [found for found in map(shares_beyond, parts) if found is not None]


def _decoded(packet: "Packet[Any] | None", packets: Packets, context: VideoCodecContext) -> list[VideoFrame]:
    try:
        return list(map(packets.shown, context.decode(packet)))
    except MemoryError:  # not a damaged file
        raise
    except av.FFmpegError as error:
        packets.problem = error
        return []
