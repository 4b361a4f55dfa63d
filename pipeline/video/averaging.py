"""Frames averaged over time where nothing moves, before all else is done to them; see `model/over_time.py`.

A frame depends on RADIUS frames on either side, so a segment that also reads those gets the very same frames as the
whole video.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from model import Enhancer
from model.over_time import RADIUS, Likeness, Still, average, likeness
from pipeline.video.decode import Shot
from pipeline.video.planes import coding, samples
from pipeline.video.probe import VideoInfo


@dataclass(frozen=True, slots=True)
class _Held:
    """A frame that others may be averaged with."""

    shot: Shot
    still: Still | None
    """As it was decoded; None where its planes are not Y, Cb and Cr."""
    alike: dict[int, Likeness] = field(default_factory=dict)
    """By rank of a later frame."""


def averaged(shots: Iterable[Shot], info: VideoInfo, enhancer: Enhancer) -> Iterator[Shot]:
    """The same shots, in order, their planes written anew. Those that are not of Y, Cb and Cr stay as they are."""
    if not enhancer.look.smooths:
        yield from shots
        return
    held: deque[_Held] = deque()
    waiting: deque[_Held] = deque()
    for shot in shots:
        while waiting and waiting[0].shot.rank + RADIUS < shot.rank:
            yield _written(waiting.popleft(), held)
        while held and held[0].shot.rank + 2 * RADIUS < shot.rank:
            held.popleft()
        new = _Held(shot, _still(shot, info, enhancer))
        for each in held:
            if shot.rank - each.shot.rank <= RADIUS and each.still and new.still and each.still.is_like(new.still):
                each.alike[shot.rank] = likeness(each.still, new.still)
        held.append(new)
        waiting.append(new)
    for each in waiting:
        yield _written(each, held)


def _still(shot: Shot, info: VideoInfo, enhancer: Enhancer) -> Still | None:
    """A copy: what follows writes to the frame."""
    coded = coding(info.colours, shot.frame.format.name, info.height_px)
    if coded is None:
        return None
    planes = tuple(np.array(plane, order="C") for plane in samples(shot.frame, coded)[:3])
    floor = enhancer.floor_of_planes(planes, shot.frame.width, coded)
    return Still(planes, shot.frame.width, coded, floor) if floor else None


def _written(one: _Held, held: Iterable[_Held]) -> Shot:
    """The shot, with the mean in its planes."""
    if one.still is not None:
        near = []
        for other in held:
            alike = one.alike.get(other.shot.rank) or other.alike.get(one.shot.rank)
            if alike is not None and other.still is not None:
                near.append((other.still, alike))
        one.shot.frame.make_writable()
        average(one.still, near, samples(one.shot.frame, one.still.coding)[:3])
    return one.shot
