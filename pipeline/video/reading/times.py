"""Times of frames whose packets have none, share one, or have an impossible one.

Only decoding shows which frames come before and after such a packet, so the video is decoded from the keyframe before
it to the one after it, and nowhere else. The packet then gets a time between those of its neighbours.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from typing import Any, BinaryIO, cast

import numpy as np
from av.format import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from pipeline.video.reading.concatenations import Shift, shift
from pipeline.video.reading.fields import Shows
from pipeline.video.reading.opening import decoder, entered, frames

DEEPEST = 16  # most frames that an H.264 decoder may hold back
LATEST = 1 << 62
PLAUSIBLE = Fraction(1, 10), Fraction(1000)  # frames per second that a stream without times may state
WITHOUT_AVERAGE = frozenset({"dv", "gxf"})  # formats for which FFmpeg states units per second as the average rate
ASSUMED = Fraction(25)  # frames per second of one that states none, as FFmpeg assumes
TIMELESS = cast(int, Flags.no_timestamps.value)  # flag of streams without a container

Place = tuple[int | None, int]
"""Key of a packet that its pts does not identify: the last identifying pts before it, and the packets since then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mended:
    """Times that replace those of packets."""

    doubted: frozenset[int] = frozenset()
    """Pts that do not identify a packet."""
    times: dict[Place, int] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.times)

    def tells(self, pts: int | None) -> bool:
        """Return whether this pts identifies its packet."""
        return pts is not None and pts not in self.doubted

    def through(self, packets: "Iterable[Packet[Any]]", context: VideoCodecContext) -> "Iterator[Packet[Any]]":
        """Yield the packets, each with its time. The first must be the file's first, or identified by its pts."""
        shows, last, since = Shows(context), None, 0
        for packet in packets:
            if shows(packet):
                last, since = (packet.pts, 0) if self.tells(packet.pts) else (last, since + 1)
                packet.pts = self.times.get((last, since)) if since else packet.pts
            yield packet


@dataclass(kw_only=True, slots=True)
class Listed:
    """Times of all packets that show a frame, in decoding order."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    keyframes: list[bool] = field(default_factory=list)
    """Whether each is a keyframe that can be sought."""
    positions: list[int] = field(default_factory=list)
    """Byte offset of each in the file."""
    durations: list[int] = field(default_factory=list)
    shift: Shift = field(default_factory=Shift)
    misplaced: bool = False
    """Whether frames come out of the decoder in another order than that of the pts of their packets."""

    def join(self, container: str, time_base: Fraction, step: int) -> None:
        """Make times continue where they restart within the file. Keyframes can then no longer be found by time."""
        pts = self.pts if container == "mpegts" else [None] * len(self.pts)  # others give times to some frames only
        self.shift = shift(self.dts, pts, self.positions, time_base, step)
        if self.shift.joins:
            offsets = [round(self.shift.offset_s(each, Fraction()) / time_base) for each in self.positions]
            for times in (self.pts, self.dts):
                times[:] = [None if at is None else at + more for at, more in zip(times, offsets, strict=True)]
            self.keyframes = [False] * len(self.keyframes)

    def mended(self, file: BinaryIO, stream: VideoStream, step: int) -> tuple[list[int], Mended]:
        """Compute distinct times for all packets. `step`: time units between frames. Reads `file` only if needed."""
        claims = Counter(self.pts)
        own = [at is not None and claims[at] == 1 for at in self.pts]
        untold = self._is_untold(stream)
        if untold:
            own = [False] * len(own)
        elif all(own):
            return [at for at in self.pts if at is not None], Mended()
        order = _Order(self, own).found(file, stream.index)
        given = [0] * len(order)
        known = self._delayed(order, stream) if untold else self._own(order, own) or self._delayed(order, stream)
        spread = _spread(known, len(order), step)
        start = spread[0] if has_no_times(stream) else 0
        for number, at in zip(order, spread, strict=True):
            given[number] = at - start
        doubted = frozenset(
            at
            for at, new, alone in zip(self.pts, given, own, strict=True)
            if at is not None and (at != new or not alone)
        )
        return given, self._mended(given, doubted)

    def _is_untold(self, stream: VideoStream) -> bool:
        """Return whether the only times are those of decoding, as in AVI and ASF, which FFmpeg may report as pts."""
        pts = [at for at in self.pts if at is not None]
        reorders = stream.codec_context.reorder_depth > 0
        if has_no_times(stream) or stream.container.format.name == "gxf":
            return reorders
        return reorders and pts == sorted(pts) and (stream.container.format.name == "avi" or self.misplaced)

    def _own(self, order: list[int], own: list[bool]) -> dict[int, int]:
        """Return times by place in display order: each packet's own time, if it fits between the others."""
        at = [self.pts[number] for number in order]
        sure = [self.pts[number] if own[number] else None for number in order]
        after = list(accumulate((LATEST if each is None else each for each in reversed(sure[1:])), min, initial=LATEST))
        known, last = {}, -LATEST
        for place, (each, limit) in enumerate(zip(at, reversed(after), strict=True)):
            if each is None or not last < each < limit:
                continue
            if each in at[place + 1 : place + 2] and each - last > limit - each:
                continue  # the next one has the same time, and there is more room before this one than after
            known[place] = last = each
        return known

    def _delayed(self, order: list[int], stream: VideoStream) -> dict[int, int]:
        """Return times by place in display order, taken from decoding times and delayed by the decoder's reordering.

        MXF counts edit units, the first of which is shown at once (SMPTE ST 377-1).
        """
        is_counted = stream.container.format.name == "mxf"
        late = 0 if is_counted else max(reordering(order), stream.codec_context.reorder_depth)
        dts = self.dts[late:]
        return {place: each for place, each in enumerate(dts) if each is not None}

    def _mended(self, given: list[int], doubted: frozenset[int]) -> Mended:
        mended, last, since = Mended(doubted=doubted), None, 0
        for at, new in zip(self.pts, given, strict=True):
            last, since = (at, 0) if mended.tells(at) else (last, since + 1)
            if since:
                mended.times[last, since] = new
        return mended


class _Order:
    """Display order of packets, some without a time of their own. A packet is identified by its number."""

    def __init__(self, listed: Listed, own: list[bool]) -> None:
        self.own, self.shift = own, listed.shift
        self.numbers = {at: number for number, at in enumerate(listed.pts) if own[number]}
        self.lost = [number for number, known in enumerate(own) if not known]
        self.entries = [number for number, is_key in enumerate(listed.keyframes) if is_key and own[number]]
        self.starts = frozenset(self.entries)
        self.keyframes = [at for at in (listed.pts[number] for number in self.entries) if at is not None]

    def found(self, file: BinaryIO, index: int) -> list[int]:
        followers: dict[int | None, list[int]] = defaultdict(list)  # packet with its own time -> those shown next
        placed: set[int] = set()
        done = 0
        for number in self.lost:
            if number >= done:
                done = self._seek(file, index, number, followers, placed)
        order = list(followers[None])
        for _, number in sorted((at, number) for at, number in self.numbers.items() if at is not None):
            order += [number, *followers[number]]
        for number in self.lost:
            if number not in placed:  # cannot be decoded: placed after the packet before it
                order.insert(order.index(number - 1) + 1 if number else 0, number)
        return order

    def _seek(
        self, file: BinaryIO, index: int, wanted: int, followers: dict[int | None, list[int]], placed: set[int]
    ) -> int:
        """Place `wanted` and the lost packets near it. Returns where the next search begins.

        Starts two keyframes back: frames shown before the last keyframe may need the one before it to be decoded.
        """
        at = bisect_right(self.entries, wanted) - 2
        last: int | None = None
        for number in self._decoded(file, index, at):
            if not self.own[number]:
                if number not in placed and (last is not None or at < 0):
                    followers[last].append(number)
                    placed.add(number)
                continue
            last = number
            if number > wanted and number in self.starts and not self._lost_near(number):
                return number
        return len(self.own)

    def _lost_near(self, entry: int) -> bool:
        """Return whether a packet is lost between this keyframe and the next."""
        at = bisect_right(self.entries, entry)
        end = self.entries[at] if at < len(self.entries) else len(self.own)
        place = bisect_right(self.lost, entry)
        return place < len(self.lost) and self.lost[place] < end

    def _decoded(self, file: BinaryIO, index: int, at: int) -> Iterator[int]:
        """Yield the numbers of packets whose frames can be decoded, in display order, from a keyframe on."""
        with entered(file, index, self.keyframes, at) as (stream, packets):
            context = decoder(stream)
            if context.codec.canonical_name == "h264":
                context.reorder_depth = DEEPEST
            for frame in frames(self._numbered(self.shift.through(packets), stream), context):
                if frame.pts is not None and frame.pts < len(self.own):
                    yield frame.pts

    def _numbered(self, packets: "Iterator[Packet[Any]]", stream: VideoStream) -> "Iterator[Packet[Any]]":
        shows, number = Shows(stream.codec_context), -1
        for packet in packets:
            if shows(packet):
                number = self.numbers.get(packet.pts, number + 1)
                packet.pts = number
            yield packet


def has_no_times(stream: VideoStream) -> bool:
    """Return whether a stream comes without a container (H.264, MPEG-2), so that FFmpeg makes up its times."""
    return bool(stream.container.format.flags & TIMELESS)


def stated_rate(stream: VideoStream) -> Fraction | None:
    """Return the frames per second that a stream without times states; None: nothing that may be true."""
    context, rate = stream.codec_context, stream.guessed_rate
    coded = context.framerate  # without it, FFmpeg makes up the rate
    stated = (rate, rate if coded and context.codec.canonical_name == "mpeg4" else coded)  # MPEG-4's unit of time
    return rate if all(each and PLAUSIBLE[0] <= each <= PLAUSIBLE[1] for each in stated) else None


def rate_of(stream: VideoStream, listed: Listed) -> tuple[Fraction, bool]:
    """Return the frames per second of a video, and whether the file states them."""
    guessed = stream.guessed_rate
    if has_no_times(stream) or not any(at is not None for at in (*listed.pts, *listed.dts)):
        stated = stated_rate(stream)
        return stated or ASSUMED, stated is not None
    average = None if stream.container.format.name in WITHOUT_AVERAGE else stream.average_rate
    return next(filter(None, (average, guessed, stream.base_rate)), ASSUMED), True


def reordering(order: Sequence[int]) -> int:
    """Return how many frames a decoder holds back. `order`: decoding places of the packets, in display order."""
    return int((np.array(order) - np.arange(len(order))).max(initial=0))


def _spread(known: dict[int, int], count: int, step: int) -> list[int]:
    """Return ascending times for all places: the known ones, others evenly spread between them or `step` apart."""
    places = list(known) or [0]
    times = list(known.values()) or [0]
    before = [times[0] - step * (places[0] - place) for place in range(places[0])]
    between = np.floor(np.interp(np.arange(places[0], places[-1] + 1), places, times)).astype(np.int64).tolist()
    beyond = [times[-1] + step * (place - places[-1]) for place in range(places[-1] + 1, count)]
    return list(accumulate([*before, *between, *beyond], lambda last, at: max(at, last + 1)))
