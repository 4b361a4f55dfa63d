"""Light of photo sequences over time: the curve maps of each photo, made as strong as the photos around it ask for.

It is the second filter of `video/enhancing/smoothing.py`, with photos as frames. The first one, which averages maps,
is left out: photos may be minutes apart, and where something bright was in one of them, others would get darker. Also,
own maps make up for the exposure of their own photo, so that the light is two to three times as steady without it.
What is averaged is the noise floor: black is found in whole codes, and the dark of a photo jumps with it. Pixels are
never averaged.

A scene ends where the picture changes, as in videos; where its borders change; and where much more time goes by than
usual between photos. A photo that has no light of its own (it is damaged, or holds several frames) is passed over. So
are, for each other, photos of different sizes, and those in colour and in black and white, such as a camera's infrared
photos: each kind is smoothed by itself, wherever the others stand between.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, count, pairwise, takewhile
from statistics import median_low

import numpy as np

from model import CurveMaps, Enhancer, mean_floor
from pipeline.images.seen.borders import Box
from pipeline.records import Place, Record
from pipeline.video.enhancing.scenes import Copy, alike
from pipeline.video.enhancing.smoothing import Window, smoothed

WINDOW = Window(radius=0, steadiness=1.0)  # videos leave a share to what moves, which `_lasting` takes out here
NEAR = 3  # photos on either side that tell what is usual: the interval, and what lasts longer than a photo
AROUND = 6  # photos on either side that share their borders and their noise floor
KNOWN = AROUND + NEAR  # photos on either side that must be known before one is looked at
REACH = WINDOW.context + KNOWN  # photos on either side that a photo depends on
PAUSE = 5.0  # gaps beyond so many usual intervals end a scene
LEAST_INTERVAL_S = 1.0  # many cameras state whole seconds only
LEAST_CHANGE, LEAST_RATIO = 3.0, 0.25  # in codes, and as a share of the code, from which a pixel shows something else
LEAST_MOVE = 1 / 32  # of a side: borders that move less, as those of stabilised films do, end no scene
REMEMBERED = 6 * REACH  # photos
ENDLESS = 1 << 62

Kind = tuple[int, int, bool]
"""Height, width, and whether there is colour."""


@dataclass(frozen=True, slots=True)
class Light:
    """What the smoothing has to know of a photo."""

    whole: Copy
    """Copy of the whole photo, with its borders."""
    copy: Copy
    """Copy of what the maps are for."""
    maps: CurveMaps
    size: tuple[int, int]
    """Height and width of the whole photo."""
    has_colour: bool
    captured_s: float | None
    """Capture time in seconds; None if it is not known."""
    box: Box | None
    """What of the photo the maps are for: what is inside its borders; None where transparency decides that."""

    @property
    def kind(self) -> Kind:
        """Return what photos must have in common to be smoothed together."""
        return *self.size, self.has_colour


@dataclass(frozen=True, slots=True)
class Smoothed:
    """How a photo is enhanced."""

    maps: CurveMaps
    box: Box | None
    """See `Light`."""


class LightOverTime:
    """Smoothed maps of photos. It is fastest with one photo after the other; in any order it gives the same maps.

    `light_of`: the light of the photo at a URL, inside a box if one is given; None if it has none. Called once for
    each, as far as these are remembered.
    """

    def __init__(self, light_of: Callable[[str, Box | None], Light | None], enhancer: Enhancer) -> None:
        self._light_of = lru_cache(REMEMBERED)(light_of)
        self._enhancer = enhancer
        self._last = ""
        self._rank = 0
        self._urls: dict[int, str] = {}
        self._complete = 0
        self._ways: dict[Kind, _Way] = {}

    def smoothed(self, record: Record) -> Smoothed | None:
        """Return how a photo is enhanced; None if it has no light."""
        place = (record.place or Place((record.source,), 0)).within(REACH)
        follows = place.rank > 0 and place.urls[place.rank - 1] == self._last
        self._rank = self._rank + 1 if follows else place.rank
        self._urls = dict(enumerate(place.urls, self._rank - place.rank))
        end = self._rank - place.rank + len(place.urls)
        self._complete = end if end - self._rank <= REACH else end - KNOWN
        if not follows:
            self._ways = {}
        self._last = ""  # in case that something is raised
        light = self._light(self._rank)
        found = None if light is None else self._next(light.kind)
        self._last = record.source
        return found

    def _next(self, kind: Kind) -> Smoothed:
        """Return how the photo at hand is enhanced, which is the next one of its kind."""
        way = self._ways.get(kind)
        if way is None or self._complete > way.ended > 0:
            way = self._ways[kind] = _Way()
            frames, estimator = self._frames(kind, way), _Estimator(self._enhancer)
            way.maps = smoothed(frames, estimator, WINDOW, range(self._rank, ENDLESS))
        frame, maps = next(way.maps)
        return Smoothed(maps, frame.box)

    def _frames(self, kind: Kind, way: "_Way") -> "Iterator[_Frame]":
        """Yield the photos of a kind, up to where the photos around them are known, too."""
        after_pause = False
        for rank in count(min(self._urls)):
            if rank >= self._complete:
                way.ended = rank
                return
            light = self._light(rank)
            after_pause |= self._is_pause(rank)
            if light is not None and light.kind == kind:
                yield self._frame(rank, light, after_pause=after_pause)
                after_pause = False

    def _light(self, rank: int) -> Light | None:
        url = self._urls.get(rank)
        return self._light_of(url, None) if url else None

    def _frame(self, rank: int, light: Light, *, after_pause: bool) -> "_Frame":
        """Return a photo with what it has in common with those around it that show the same scene."""
        near = self._near(rank, light)
        box = light.box and inside_most(light.box, [other.box for other in near.values()], light.size)
        if box != light.box:
            light = self._light_of(self._urls[rank], box) or light
        others = [other for place, other in near.items() if abs(place - rank) <= NEAR and _framed_alike(other, light)]
        return _Frame(rank, _lasting(light, others), _with_mean_floor(rank, light, near), light, after_pause)

    def _near(self, rank: int, light: Light) -> dict[int, Light]:
        """Return the photos around one that show the same scene, by their places."""
        before = takewhile(lambda place: not self._is_pause(place + 1), range(rank - 1, rank - AROUND - 1, -1))
        after = takewhile(lambda place: not self._is_pause(place), range(rank + 1, rank + AROUND + 1))
        others = {place: other for place in chain(before, after) if (other := self._light(place))}
        return {
            place: other
            for place, other in others.items()
            if other.kind == light.kind and alike(other.whole, light.whole)
        }

    def _is_pause(self, rank: int) -> bool:
        """Return whether much more time than usual went by before a photo."""
        lights = ((place, self._light(place)) for place in range(rank - NEAR, rank + NEAR))
        times = [(place, light.captured_s) for place, light in lights if light and light.captured_s is not None]
        intervals = {place: abs(time - before) for (_, before), (place, time) in pairwise(times)}
        gap = intervals.pop(rank, 0.0)
        return bool(intervals) and gap > PAUSE * max(median_low(intervals.values()), LEAST_INTERVAL_S)


def inside_most(own: Box, others: Sequence[Box | None], size: tuple[int, int]) -> Box:
    """Return the box inside the borders that a photo shares with most photos of its scene.

    Where there is any doubt, no border is found in a photo: a side has one if more than half of them say so. It is the
    narrowest one that any of them has, so that nothing that a camera saw is taken for a border; or the photo's own if
    that is about the same, as those of stabilised films move. `size`: height and width of the photos.
    """
    height, width = size

    def border(widths: Sequence[int], side: int) -> int:
        found = [each for each in widths if each]
        shared = min(found) if 2 * len(found) > len(widths) else 0
        return widths[0] if 0 < shared <= widths[0] <= shared + LEAST_MOVE * side else shared

    framed = [own, *(box for box in others if box)]
    return Box(
        border([box.top for box in framed], height),
        height - border([height - box.bottom for box in framed], height),
        border([box.left for box in framed], width),
        width - border([width - box.right for box in framed], width),
    )


def _framed_alike(one: Light, other: Light) -> bool:
    """Return whether two photos of one size have about the same borders."""
    if one.box is None or other.box is None:
        return True
    height, width = one.size
    moves = np.abs(np.subtract(one.box, other.box)) / (height, height, width, width)
    return bool(moves.max() <= LEAST_MOVE)


def _lasting(light: Light, others: Sequence[Light]) -> Copy:
    """Return the copy of a photo without what only few photos around it show, such as an animal.

    A bright one would otherwise count as more light, and all around it would get darker.
    """
    own = light.copy.astype(np.float32) + 1
    near = [other.copy.astype(np.float32) + 1 for other in others]
    usual = np.median([own, *(each * np.median(own / each) for each in near)], axis=0)
    changed = (np.abs(own - usual) > LEAST_CHANGE + LEAST_RATIO * usual).any(axis=2, keepdims=True)
    copy: Copy = np.where(changed, usual - 1, light.copy).round().clip(0, 255).astype(np.uint8)
    return copy


def _with_mean_floor(rank: int, light: Light, near: Mapping[int, Light]) -> CurveMaps:
    """Return the maps of a photo with the mean of the noise floors around it, where the borders are the same."""
    others = [(AROUND + 1 - abs(place - rank), other) for place, other in near.items() if _framed_alike(other, light)]
    floors = [(weight, each.maps.floor) for weight, each in [(AROUND + 1, light), *others] if each.maps.floor]
    total = sum(weight for weight, _ in floors)
    if light.maps.floor is None:
        return light.maps
    return replace(light.maps, floor=mean_floor([(weight / total, floor) for weight, floor in floors]))


@dataclass(slots=True)
class _Way:
    """The smoothing of photos of one kind, as far as it has come."""

    maps: "Iterator[tuple[_Frame, CurveMaps]]" = field(default_factory=lambda: iter(()))
    ended: int = 0
    """Place from which on photos were not known yet; 0: it has not come to that."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """A photo at its place in a sequence."""

    rank: int
    copy: Copy
    maps: CurveMaps
    light: Light
    after_pause: bool
    night: float = 1.0

    @property
    def box(self) -> Box | None:
        return self.light.box


@dataclass(frozen=True, slots=True)
class _Estimator:
    """Estimator of photos, for use by `smoothed`."""

    enhancer: Enhancer

    def follows(self, shot: _Frame, before: _Frame) -> bool:
        return not shot.after_pause and _framed_alike(shot.light, before.light)

    def estimate(self, shot: _Frame) -> CurveMaps:
        return shot.maps

    def copy(self, shot: _Frame) -> Copy:
        return shot.copy

    def luma(self, copy: Copy, maps: CurveMaps) -> float:
        return self.enhancer.luma(copy, maps)
