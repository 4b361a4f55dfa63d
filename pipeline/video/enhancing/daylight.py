"""Daylight within a video: bright frames are left alone, and enhancement fades in and out around them.

The share of the enhancement that a frame gets follows its brightness, or that of the frames around it within its scene
if they are darker. So the strength never jumps, neither at dusk, which takes minutes, nor where a lamp is switched on.
Like the filters of `smoothing.py`, the average depends on a finite window of ranks only, so that any part of a video
gives the same frames.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from av.video.frame import VideoFrame

from pipeline.video.enhancing.scenes import Copy, Scenes
from pipeline.video.enhancing.smoothing import windows
from pipeline.video.reading.decode import Shot
from pipeline.video.reading.glance import brightness

FADE = 1 / 3  # share of the limit over which enhancement fades in, below it


@dataclass(frozen=True, slots=True)
class _Place:
    """A frame without its pixels."""

    rank: int
    scene: int
    share: float
    """Share of the enhancement by its own brightness alone."""


def night_share(luma: float, limit: float) -> float:
    """Return the share of the enhancement for a mean luma: 0 from the limit on, rising to 1 at two thirds of it."""
    return 0.0 if luma >= limit else min(1.0, (limit - luma) / (FADE * limit))


def weighed(
    shots: Iterable[Shot], small: Callable[[VideoFrame], Copy], limit: float, reach: int, wanted: range
) -> Iterator[Shot]:
    """Yield the shots whose rank is in `wanted`, in order, each with the share of the enhancement that it gets.

    `shots`: these and `reach` + 1 more on either side, as far as there are any; the first serves only as a comparison.
    `small`: returns a small copy of a frame. `limit`: mean luma in [0, 1] from which a frame is bright. `reach`: frames
    on either side that count, with weights that fall linearly with the distance. The share is the mean of theirs, but
    never less than the frame's own: frames in the dark before a lamp is switched on stay as they would be.
    """
    kept: dict[int, Shot] = {}

    def places() -> Iterator[_Place]:
        scenes, last = Scenes(), None
        for shot in shots:
            if shot.rank in wanted:
                kept[shot.rank] = shot
            copy = small(shot.frame)
            scenes.begins(copy, follows=last == shot.rank - 1)
            last = shot.rank
            yield _Place(shot.rank, scenes.number, night_share(brightness(copy), limit))

    for place, near in windows(places(), reach, wanted):
        weights = [reach + 1 - abs(other.rank - place.rank) for other in near]
        share = sum(weight * other.share for weight, other in zip(weights, near, strict=True)) / sum(weights)
        yield replace(kept.pop(place.rank), night=max(share, place.share))
