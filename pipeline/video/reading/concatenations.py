"""Recordings concatenated byte by byte (`cat a.ts b.ts`), so that all times restart within the file.

What follows a join is moved by one offset, the same for all streams, so that the video continues where it ended.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from typing import Any

from av.packet import Packet

SURE = 4  # packets on either side that confirm a join; fewer may be damage
NEAR = 16  # packets on either side among which the last and the first frame are


Told = tuple[int, int | None, int]
"""Dts, pts and byte offset of a packet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Join:
    """A join between two packets of the video."""

    ends_at: int
    """Byte offset of the last packet before the join."""
    begins_at: int
    """Byte offset of the first packet after the join."""
    ends_s: Fraction
    """Decoding time of the last packet before the join, as stored in the file."""
    begins_s: Fraction
    offset_s: Fraction
    """Added to all times after the join."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Offsets to add to the times of packets."""

    joins: tuple[Join, ...] = ()

    def through(self, packets: "Iterable[Packet[Any]]") -> "Iterator[Packet[Any]]":
        """Yield packets of one or several streams, moved. If there are joins, the first must be the file's first."""
        positions: dict[int, int] = {}
        for packet in packets:
            at = packet.pts if packet.dts is None else packet.dts
            if self.joins and at is not None:
                index = packet.stream_index
                positions[index] = position(packet, positions.get(index, 0))
                offset = round(self.offset_s(positions[index], at * packet.time_base) / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts + offset
                packet.dts = None if packet.dts is None else packet.dts + offset
            yield packet

    def offset_s(self, at: int, time_s: Fraction) -> Fraction:
        """Return the offset of a packet of any stream that lies at byte `at`.

        Near a join, packets of both sides are interleaved: a packet there belongs to the side that is nearer in time.
        """
        offset_s = Fraction()
        for join in self.joins:
            near = at < join.begins_at and abs(time_s - join.ends_s) < abs(time_s - join.begins_s)
            if at <= join.ends_at or near:
                break
            offset_s = join.offset_s
        return offset_s


def position(packet: "Packet[Any]", last: int) -> int:
    """Return a packet's byte offset. `last`: that of the packet before it in its stream, used if it has none itself."""
    return last if packet.pos is None else packet.pos


def shift(
    dts: Sequence[int | None], pts: Sequence[int | None], positions: Sequence[int], time_base: Fraction, step: int
) -> Shift:
    """Find the shift that makes the video's times continue where they fall back for good.

    `pts`: None for all where FFmpeg may have guessed them. `step`: between frames.
    """
    told = [(at, own, place) for at, own, place in zip(dts, pts, positions, strict=True) if at is not None]
    joins: list[Join] = []
    offset = begun = 0
    for number in range(SURE, len(told) - SURE + 1):
        (last, _, ends_at), (first, _, begins_at) = told[number - 1], told[number]
        before, after = told[max(begun, number - NEAR) : number], told[number : number + NEAR]
        if first < last and max(at for at, *_ in after[:SURE]) < min(at for at, *_ in told[number - SURE : number]):
            offset += _moved(before, after, step)
            begun = number
            joins.append(
                Join(
                    ends_at=ends_at,
                    begins_at=begins_at,
                    ends_s=last * time_base,
                    begins_s=first * time_base,
                    offset_s=offset * time_base,
                )
            )
    return Shift(tuple(joins))


def _moved(before: Sequence[Told], after: Sequence[Told], step: int) -> int:
    """Return by how much a recording has to move so that its first frame follows the last one of the one before it.

    Two recordings may hold back different numbers of frames, so that only pts tell where these are shown.
    """
    following = list(takewhile(lambda packet: packet[0] >= after[0][0], after))
    near = [*before, *following]
    if all(pts is not None and dts <= pts <= dts + 2 * NEAR * step for dts, pts, _ in near):
        *_, last_but_one, last = sorted(pts or 0 for _, pts, _ in before)
        return 2 * last - last_but_one - min(pts or 0 for _, pts, _ in following)
    return before[-1][0] + step - after[0][0]
