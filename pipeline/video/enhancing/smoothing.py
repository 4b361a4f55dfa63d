"""Smoothing of curve maps over time: no flicker, no trailing across a cut, no warm-up.

Two filters run one after the other. Both are weighted means over frames on either side, with weights that fall linearly
with the distance; frames of another scene do not count, and the remaining weights add up to 1.

1. The maps and the noise floor of a frame become the mean of those around it.
2. With these, the mean luma of each frame is computed from a small copy. If it differs from that of the frames around
   it (automatic exposure, mains lighting), all maps of the frame are scaled so that most of the difference goes.

Both windows are finite: a segment that also sees `Window.context` frames before and after it gets exactly the same maps
as the whole video. Results depend only on ranks and on the frames in the window; sums are taken in the order of ranks.

Estimating only every n-th frame is the same filter with fewer samples; a scene's first frame is always one of them.
Frames of daylight, which get no enhancement, are estimated only where a frame near them needs it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import exp, log
from typing import Any, Protocol, TypeVar

import torch

from model import CurveMaps, mean_floor
from pipeline.luma import mean_luma
from pipeline.video.enhancing.scenes import Copy, Scenes

ESTIMATE_EVERY = 2  # default, in frames: flickers no more than estimating every frame
LARGEST_STEP = 0.1  # largest correction of luma, as a share of it: larger changes belong to the scene
GAINS = 0.6, 1.6  # limits of the factor that maps are scaled by
LEAST_STEP = 1e-6  # smallest change of luma that counts
DARK = 1e-3  # lower bound of luma in ratios
UNTOUCHED = CurveMaps((), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Settings of the two filters over time."""

    radius: int = 8
    """Frames on either side whose maps are averaged; `every` - 1 if that is more."""
    every: int = 1
    """Interval of the frames that are estimated: those whose rank is a multiple of this."""
    light_radius: int = 16
    """Frames on either side whose luma is averaged."""
    steadiness: float = 0.9
    """Share of a quick change of luma that is removed, from 0 (none) to 1."""

    def __post_init__(self) -> None:
        if self.radius < 0 or self.light_radius < 0 or self.every < 1:
            raise ValueError("radius and light_radius must be 0 or more, and every must be 1 or more")
        if not 0 <= self.steadiness <= 1:
            raise ValueError(f"steadiness is {self.steadiness}; it must be between 0 and 1")

    @property
    def reach(self) -> int:
        """Return how many frames on either side are averaged in fact: at least one of them must be estimated."""
        return max(self.radius, self.every - 1)

    @property
    def light_reach(self) -> int:
        return self.light_radius if self.steadiness else 0

    @property
    def context(self) -> int:
        """Return how many frames a segment must see before and after its own. The first serves only as a comparison."""
        return self.reach + self.light_reach + 1


class Ranked(Protocol):
    """A frame of a film."""

    @property
    def rank(self) -> int:
        """Return its place, counted from 0, with those that are missing."""
        ...

    @property
    def night(self) -> float:
        """Return the share of the enhancement that it gets, 0 to 1."""
        ...


Shot = TypeVar("Shot", bound=Ranked)
OfEstimator = TypeVar("OfEstimator", bound=Ranked, contravariant=True)


class Estimator(Protocol[OfEstimator]):
    """Source of estimates for single frames."""

    def follows(self, shot: OfEstimator, before: OfEstimator) -> bool:
        """Return whether a frame may be of the same scene as the one before it, whatever they show."""
        ...

    def estimate(self, shot: OfEstimator) -> CurveMaps:
        """Return the network's maps for a frame. Those of a scene have one size."""
        ...

    def copy(self, shot: OfEstimator) -> Copy:
        """Return a small copy of a frame."""
        ...

    def luma(self, copy: Copy, maps: CurveMaps) -> float:
        """Return the mean luma of the copy enhanced with maps of its own size."""
        ...


@dataclass(slots=True)
class _Place:
    """A frame and, once it is needed, its estimate."""

    rank: int
    scene: int
    copy: Copy
    night: float
    shot: Any
    """Frame to estimate; None once that is done, or if it is not one of those estimated."""
    estimated: CurveMaps | None = None

    def maps(self, estimator: Estimator[Any]) -> CurveMaps | None:
        """Return the estimate; None if the frame is not one of those estimated."""
        if self.shot is not None:
            self.estimated, self.shot = estimator.estimate(self.shot), None
        return self.estimated


@dataclass(frozen=True, slots=True)
class _Mean:
    """A frame without its full-size pixels, and the mean of the maps around it."""

    rank: int
    scene: int
    copy: Copy
    maps: CurveMaps
    fitted: CurveMaps
    """The same maps, at the size of the copy."""
    luma: float
    """Mean luma of the copy enhanced with these maps."""


class _Timed(Protocol):
    @property
    def rank(self) -> int: ...
    @property
    def scene(self) -> int: ...


T = TypeVar("T", bound=_Timed)


def smoothed(
    shots: Iterable[Shot], estimator: Estimator[Shot], window: Window, wanted: range
) -> Iterator[tuple[Shot, CurveMaps]]:
    """Yield the shots whose rank is in `wanted`, in order, each with its smoothed maps: no passes if it gets none.

    `shots`: these and `window.context` more on either side, as far as there are any. Only the next `window.context`
    frames are held in memory.
    """
    kept: dict[int, Shot] = {}

    def places() -> Iterator[_Place]:
        scenes, before = Scenes(), None
        for shot in shots:
            if shot.rank in wanted:
                kept[shot.rank] = shot
            copy = estimator.copy(shot)
            begins = scenes.begins(copy, follows=before is not None and estimator.follows(shot, before))
            before, sampled = shot, begins or shot.rank % window.every == 0
            yield _Place(shot.rank, scenes.number, copy, shot.night, shot if sampled else None)

    around = range(wanted.start - window.light_reach, wanted.stop + window.light_reach)
    means = (_mean(*each, window, estimator) for each in windows(places(), window.reach, around))
    for mean, near in windows(means, window.light_reach, wanted):
        yield kept.pop(mean.rank), mean.maps.scaled(_steadying(mean, near, window, estimator))


def windows(places: Iterable[T], reach: int, wanted: range) -> Iterator[tuple[T, list[T]]]:
    """Yield each place in `wanted` with those of its scene that are at most `reach` away, including itself."""
    held: deque[T] = deque()
    waiting: deque[T] = deque()

    def ready(up_to: float) -> Iterator[tuple[T, list[T]]]:
        while waiting and waiting[0].rank + reach <= up_to:
            one = waiting.popleft()
            yield one, [other for other in held if other.scene == one.scene and abs(other.rank - one.rank) <= reach]

    for place in places:
        held.append(place)
        if place.rank in wanted:
            waiting.append(place)
        yield from ready(place.rank)
        while held[0].rank + 2 * reach < place.rank:
            held.popleft()
    yield from ready(float("inf"))


def _mean(place: _Place, near: list[_Place], window: Window, estimator: Estimator[Any]) -> _Mean:
    """Return the place with the weighted mean of the maps around it."""
    if not place.night:
        return _Mean(place.rank, place.scene, place.copy, UNTOUCHED, UNTOUCHED, mean_luma(place.copy))
    estimates = ((other.rank, other.maps(estimator)) for other in near)
    samples = [(window.reach + 1 - abs(rank - place.rank), maps) for rank, maps in estimates if maps]
    total = sum(weight for weight, _ in samples)
    passes = []
    for each in zip(*(maps.passes for _, maps in samples), strict=True):
        mean = torch.zeros_like(each[0])
        for (weight, _), maps in zip(samples, each, strict=True):
            mean.add_(maps, alpha=weight / total)
        passes.append(mean * place.night)
    floors = [(weight / total, maps.floor) for weight, maps in samples if maps.floor]
    maps = replace(samples[0][1], passes=tuple(passes), floor=mean_floor(floors) if floors else None)
    fitted = maps.fitted(*place.copy.shape[:2])
    luma = estimator.luma(place.copy, fitted) if window.light_reach else 0.0
    return _Mean(place.rank, place.scene, place.copy, maps, fitted, luma)


def _steadying(mean: _Mean, near: list[_Mean], window: Window, estimator: Estimator[Any]) -> float:
    """Compute the factor for a frame's maps that brings its luma near that of the frames around it."""
    if not window.light_reach or mean.maps is UNTOUCHED:
        return 1.0
    weights = [window.light_reach + 1 - abs(other.rank - mean.rank) for other in near]
    around = sum(weight * other.luma for weight, other in zip(weights, near, strict=True)) / sum(weights)
    change = window.steadiness * log(max(around, DARK) / max(mean.luma, DARK))
    return _gain(mean, mean.luma * exp(min(max(change, -LARGEST_STEP), LARGEST_STEP)), estimator)


def _gain(mean: _Mean, wanted: float, estimator: Estimator[Any]) -> float:
    """Find the factor for the maps that makes the luma `wanted`, by three steps of the secant method."""
    before, luma_before, gain = 1.0, mean.luma, 1.05 if wanted > mean.luma else 0.95
    for _ in range(3):
        luma = estimator.luma(mean.copy, mean.fitted.scaled(gain))
        if abs(luma - luma_before) < LEAST_STEP:  # converged, or the maps have no effect here
            return before
        slope = (gain - before) / (luma - luma_before)
        before, luma_before = gain, luma
        gain = min(max(gain + (wanted - luma) * slope, GAINS[0]), GAINS[1])
    return gain
