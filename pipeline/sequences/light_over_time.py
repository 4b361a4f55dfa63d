"""Light of photo sequences over time: the curve maps of each photo, made as strong as the photos around it ask for.

It is the second filter of `video/enhancing/smoothing.py`, with photos as frames. The first one, which averages maps,
is left out: photos may be minutes apart, and where something bright was in one of them, others would get darker. Also,
own maps make up for the exposure of their own photo, so that the light is two to three times as steady without it.
Pixels are never averaged.

A scene ends where the picture changes, as in videos; where the size changes; and where much more time goes by than
usual between photos. A photo that has no light of its own (it is damaged, or holds several frames) is passed over.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count, pairwise, takewhile
from statistics import median_low

import numpy as np

from model import CurveMaps, Enhancer
from pipeline.records import Record
from pipeline.video.enhancing.scenes import Copy, alike
from pipeline.video.enhancing.smoothing import Window, smoothed

WINDOW = Window(radius=0, steadiness=1.0)  # videos leave a share to what moves, which `_lasting` takes out here
NEAR = 3  # photos on either side that tell what is usual: the interval, and what lasts longer than a photo
KNOWN = 2 * NEAR  # photos on either side that must be known before one is looked at
REACH = WINDOW.context + KNOWN  # photos on either side that a photo depends on
PAUSE = 5.0  # gaps beyond so many usual intervals end a scene
LEAST_INTERVAL_S = 1.0  # many cameras state whole seconds only
LEAST_CHANGE, LEAST_RATIO = 3.0, 0.25  # in codes, and as a share of the code, from which a pixel shows something else
REMEMBERED = 4 * REACH  # photos
ENDLESS = 1 << 62


@dataclass(frozen=True, slots=True)
class Light:
    """What the smoothing has to know of a photo."""

    copy: Copy
    maps: CurveMaps
    shape: tuple[int, ...]
    """Height, width and channels of the whole photo: borders, which do not count, may be found wider in some photos."""
    captured_s: float | None
    """Capture time in seconds; None if it is not known."""


class LightOverTime:
    """Smoothed maps of photos. It is fastest with one photo after the other; in any order it gives the same maps.

    `light_of`: the light of the photo at a URL; None if it has none. Called once for each photo, as far as these are
    remembered.
    """

    def __init__(self, light_of: Callable[[str], Light | None], enhancer: Enhancer) -> None:
        self._light_of = lru_cache(REMEMBERED)(light_of)
        self._enhancer = enhancer
        self._last = ""
        self._rank = 0
        self._urls: dict[int, str] = {}
        self._complete = self._ended = 0
        self._maps: Iterator[tuple[_Frame, CurveMaps]] = iter(())

    def maps_of(self, record: Record) -> CurveMaps | None:
        """Return the smoothed maps of a photo; None if it has no light."""
        follows = bool(record.before) and record.before[-1] == self._last
        self._rank = self._rank + 1 if follows else len(record.before)
        self._urls = dict(enumerate([*record.before, record.source, *record.after], self._rank - len(record.before)))
        end = self._rank + len(record.after) + 1
        self._complete = end if len(record.after) < REACH else end - KNOWN
        if not follows or self._complete > self._ended > 0:
            self._ended = 0
            self._maps = smoothed(self._frames(), _Estimator(self._enhancer), WINDOW, range(self._rank, ENDLESS))
        self._last = ""  # in case that something is raised
        maps = None if self._light(self._rank) is None else next(self._maps)[1]
        self._last = record.source
        return maps

    def _frames(self) -> "Iterator[_Frame]":
        """Yield the photos that have light, up to where the photos around them are known, too."""
        for rank in count(min(self._urls)):
            if rank >= self._complete:
                self._ended = rank
                return
            light = self._light(rank)
            if light is not None:
                yield _Frame(rank, light, self._lasting(rank, light), self._is_pause(rank))

    def _light(self, rank: int) -> Light | None:
        url = self._urls.get(rank)
        return self._light_of(url) if url else None

    def _lasting(self, rank: int, light: Light) -> Copy:
        """Return the copy of a photo without what only few photos around it show, such as an animal.

        A bright one would otherwise count as more light, and all around it would get darker.
        """
        before = takewhile(lambda place: not self._is_pause(place + 1), range(rank - 1, rank - NEAR - 1, -1))
        after = takewhile(lambda place: not self._is_pause(place), range(rank + 1, rank + NEAR + 1))
        others = [other for place in chain(before, after) if (other := self._light(place))]
        near = [other.copy for other in others if other.shape == light.shape and alike(other.copy, light.copy)]
        own = light.copy.astype(np.float32) + 1
        exposed = [own, *(each * np.median(own / each) for each in (copy.astype(np.float32) + 1 for copy in near))]
        usual = np.median(exposed, axis=0)
        changed = (np.abs(own - usual) > LEAST_CHANGE + LEAST_RATIO * usual).any(axis=2, keepdims=True)
        copy: Copy = np.where(changed, usual - 1, light.copy).round().clip(0, 255).astype(np.uint8)
        return copy

    def _is_pause(self, rank: int) -> bool:
        """Return whether much more time than usual went by before a photo."""
        lights = ((place, self._light(place)) for place in range(rank - NEAR, rank + NEAR))
        times = [(place, light.captured_s) for place, light in lights if light and light.captured_s is not None]
        intervals = {place: abs(time - before) for (_, before), (place, time) in pairwise(times)}
        gap = intervals.pop(rank, 0.0)
        return bool(intervals) and gap > PAUSE * max(median_low(intervals.values()), LEAST_INTERVAL_S)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A photo at its place in a sequence."""

    rank: int
    light: Light
    copy: Copy
    after_pause: bool
    night: float = 1.0


@dataclass(frozen=True, slots=True)
class _Estimator:
    """Estimator of photos, for use by `smoothed`."""

    enhancer: Enhancer

    def follows(self, shot: _Frame, before: _Frame) -> bool:
        return not shot.after_pause and shot.light.shape == before.light.shape

    def estimate(self, shot: _Frame) -> CurveMaps:
        return shot.light.maps

    def copy(self, shot: _Frame) -> Copy:
        return shot.copy

    def luma(self, copy: Copy, maps: CurveMaps) -> float:
        return self.enhancer.luma(copy, maps)
