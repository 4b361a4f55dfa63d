"""Curve maps smoothed over time: no flicker, nothing that trails across a cut, no warming up.

The maps of a frame are the weighted mean of the maps around it: weights fall linearly with the distance in frames and
are 0 beyond `radius`; frames of another scene do not count, and the weights of those that are left add up to 1. As the
window is finite, a segment that also sees CONTEXT frames before and after it gets the very same maps as the whole video.
All is a function of ranks and of the frames in the window, and sums are taken in the order of ranks.

Estimating every n-th frame alone is the same filter with fewer samples; a scene's first frame is always one of them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from model import CurveMaps
from pipeline.video.decode import Shot

TINY_PX = 24, 16  # width and height of the copies that scenes are told apart by
NOISE = 1.5  # levels of 8 bits that such a copy may change by between two frames of one scene
ALIKE = 0.6  # correlation below which two frames are of different scenes

Tiny = npt.NDArray[np.float32]  # HxWx3, mean 0 in each channel


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The filter over time."""

    radius: int = 8
    """Frames on either side that count; at least `every`."""
    every: int = 1
    """Estimate the frames whose rank is a multiple of this."""

    @property
    def reach(self) -> int:
        """Frames on either side that count in fact: there must be one that was estimated."""
        return max(self.radius, self.every - 1)

    @property
    def context(self) -> int:
        """Frames that a segment must see before and after its own. The first of them is only compared with."""
        return self.reach + 1


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a frame is in time, and what was estimated for it, if anything."""

    rank: int
    scene: int
    maps: CurveMaps | None


def smoothed(
    shots: Iterable[Shot], estimate: Callable[[Shot], CurveMaps], window: Window, wanted: range
) -> Iterator[tuple[Shot, CurveMaps]]:
    """The shots whose rank is in `wanted`, each with its smoothed maps, in order.

    `shots`: these and `window.context` more on either side, as far as there are any. `estimate`: the network.
    """
    scenes, scene = _Scenes(), 0
    places: deque[_Place] = deque()
    waiting: deque[tuple[Shot, _Place]] = deque()
    for shot in shots:
        begins = scenes.begins(shot)
        scene += begins
        place = _Place(shot.rank, scene, estimate(shot) if begins or shot.rank % window.every == 0 else None)
        places.append(place)
        if shot.rank in wanted:
            waiting.append((shot, place))
        while waiting and waiting[0][0].rank + window.reach <= shot.rank:
            ready, place = waiting.popleft()
            yield ready, _mean(place, places, window)
        while places[0].rank + 2 * window.reach < shot.rank:
            places.popleft()
    for ready, place in waiting:
        yield ready, _mean(place, places, window)


def _mean(place: _Place, places: Iterable[_Place], window: Window) -> CurveMaps:
    """The weighted mean of the maps around one frame."""
    samples = [
        (window.reach + 1 - abs(other.rank - place.rank), other.maps)
        for other in places
        if other.maps is not None and other.scene == place.scene and abs(other.rank - place.rank) <= window.reach
    ]
    total = sum(weight for weight, _ in samples)
    means = []
    for maps in zip(*(maps.passes for _, maps in samples), strict=True):
        mean = torch.zeros_like(maps[0])
        for (weight, _), each in zip(samples, maps, strict=True):
            mean.add_(each, alpha=weight / total)
        means.append(mean)
    return CurveMaps(tuple(means), samples[0][1].factor)


class _Scenes:
    """Tells where a scene begins, from two neighbouring frames alone.

    Two frames are compared as tiny copies by their correlation, which a change of exposure does not touch. NOISE is
    added to both as if it were common to them, so that dark, empty frames are alike.
    """

    def __init__(self) -> None:
        self.reformatter = VideoReformatter()
        self.rank = -1
        self.tiny: Tiny | None = None

    def begins(self, shot: Shot) -> bool:
        """Whether a scene begins with this frame: also after frames that are missing."""
        before, tiny = self.tiny, self._tiny(shot.frame)
        follows = shot.rank == self.rank + 1
        self.rank, self.tiny = shot.rank, tiny
        return before is None or not follows or _correlation(before, tiny) < ALIKE

    def _tiny(self, frame: VideoFrame) -> Tiny:
        width, height = TINY_PX
        small = self.reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=Interpolation.AREA, threads=1
        )
        pixels = small.to_ndarray().astype(np.float32)
        return pixels - pixels.mean(axis=(0, 1))


def _correlation(one: Tiny, other: Tiny) -> float:
    common = NOISE**2
    a, b, both = (float(np.mean(x * y)) + common for x, y in ((one, one), (other, other), (one, other)))
    return both / (a * b) ** 0.5
