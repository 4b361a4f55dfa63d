"""A video cut into segments that can be worked at apart: at keyframes, and between them where they are rare."""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from pipeline.video.reading.probe import VideoInfo

PARTS = 8  # of what is between two keyframes: it is decoded 4.5 times then, 2 % of the work on a CPU


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Frames that are worked at together: by rank, `first` to before `end`."""

    index: int
    first: int
    end: int

    @property
    def frames(self) -> int:
        return self.end - self.first


def cut(info: VideoInfo, frames_per_segment: int) -> list[Segment]:
    """Segments of at least `frames_per_segment` frames (the last may have fewer), most of which begin with a keyframe.

    Where keyframes are more than twice as far apart, what lies between them is cut into at most `PARTS` equal segments:
    all but the first of them decode what is before them, too.
    """
    keyframes = [0]
    for pts in info.keyframes:
        rank = bisect_left(info.pts, pts)
        if rank - keyframes[-1] >= frames_per_segment:
            keyframes.append(rank)
    bounds = [0]
    for first, end in pairwise([*keyframes, info.frames]):
        parts = min(PARTS, (end - first) // frames_per_segment) if end - first > 2 * frames_per_segment else 1
        bounds += [first + (end - first) * part // parts for part in range(1, parts + 1)]
    return [Segment(index=index, first=first, end=end) for index, (first, end) in enumerate(pairwise(bounds))]
