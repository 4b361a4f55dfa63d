"""Averaging of frames over time where nothing moves, as the first step; see `model/full_size/over_time.py`.

A frame depends on RADIUS frames on either side, so a segment that also reads those gets exactly the same frames as the
whole video.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from model import Enhancer, Look
from model.full_size.over_time import RADIUS, Likeness, Still, average, likeness
from model.noise.floor import floor_of_planes
from pipeline.video.enhancing.planes import coding, samples
from pipeline.video.reading.decode import Shot
from pipeline.video.reading.probe import VideoInfo
from pipeline.video.signal.picture import Picture


@dataclass(frozen=True, slots=True)
class _Held:
    """A frame that others may be averaged with."""

    rank: int
    still: Still | None
    """Copy of the decoded frame; None if it cannot be averaged."""
    alike: dict[int, Likeness] = field(default_factory=dict)
    """Likeness to later frames, by their rank."""


def averaged(shots: Iterable[Shot], info: VideoInfo, enhancer: Enhancer) -> Iterator[Shot]:
    """Yield the same shots, in order, with averaged planes.

    Frames stay as they are if the look does not smooth, if their planes are not Y, Cb and Cr, if their chroma has less
    than half the samples across or down, or if they get no enhancement; one that gets a share of it is averaged by it.
    """
    if not enhancer.look.smooths:
        yield from shots
        return
    held: deque[_Held] = deque()
    waiting: deque[tuple[Shot, _Held]] = deque()

    def ready(up_to: float) -> Iterator[Shot]:
        while waiting and waiting[0][1].rank + RADIUS <= up_to:
            shot, own = waiting.popleft()
            _average(shot, own, held, info)
            yield shot

    for shot in shots:
        yield from ready(shot.rank - 1)
        while held and held[0].rank + 2 * RADIUS < shot.rank:
            held.popleft()
        new = _Held(shot.rank, _still(shot, info, enhancer.look) if shot.night else None)
        for each in held:
            if shot.rank - each.rank <= RADIUS and each.still and new.still and each.still.is_like(new.still):
                each.alike[shot.rank] = likeness(each.still, new.still)
        held.append(new)
        waiting.append((shot, new))
        yield from ready(shot.rank)
    yield from ready(float("inf"))


def _still(shot: Shot, info: VideoInfo, look: Look) -> Still | None:
    """Copy the planes of a frame's picture, which later steps write to; None if it cannot be averaged."""
    coded = coding(info.colours, shot.frame.format.name, info.height_px)
    if coded is None:
        return None
    picture = _picture(shot, info)
    part = picture.of(shot.frame) if picture else shot.frame
    seen = zip(samples(part, coded)[:3], part.planes, strict=False)
    planes = tuple(np.array(samples_HS[:, : plane.width], order="C") for samples_HS, plane in seen)
    floor = floor_of_planes(planes, part.width, coded.across, coded.numbers)  # noise of pixels, at any frame size
    return Still(planes, coded, look.cleaned(floor))


def _average(shot: Shot, own: _Held, held: Iterable[_Held], info: VideoInfo) -> None:
    """Write the average with the frames around it to the shot's planes."""
    if own.still is None:
        return
    alike = ((other, own.alike.get(other.rank) or other.alike.get(own.rank)) for other in held)
    near = [(other.still, each) for other, each in alike if other.still and each]
    if near:
        shot.frame.make_writable()  # the decoder may still refer to it
        picture = _picture(shot, info)
        part = picture.of(shot.frame) if picture else shot.frame
        planes = samples(part, own.still.coding)[:3]
        average(own.still, near, planes)
        if shot.night < 1:
            for plane, before in zip(planes, own.still.planes, strict=True):
                seen = plane[:, : before.shape[1]]
                seen[:] = np.rint(before + shot.night * (seen.astype(np.float32) - before))
        if picture:
            picture.put(part, shot.frame)


def _picture(shot: Shot, info: VideoInfo) -> Picture | None:
    """Return the part of a frame to average; None: all of it, also if its size is another than that of the video."""
    return info.picture if (shot.frame.width, shot.frame.height) == info.size else None
