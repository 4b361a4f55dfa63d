"""A video cut at keyframes into segments that can be worked at apart."""

from bisect import bisect_left
from dataclasses import dataclass

from pipeline.video.probe import VideoInfo


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
    """Segments of at least `frames_per_segment` frames (the last may have fewer), each beginning with a keyframe.

    A video whose frames have no times of their own cannot be entered in the middle: it is one segment.
    """
    starts = [0]
    for pts in info.keyframes:
        rank = bisect_left(info.pts, pts)
        if rank - starts[-1] >= frames_per_segment:
            starts.append(rank)
    ends = [*starts[1:], info.frames]
    return [
        Segment(index=index, first=first, end=end) for index, (first, end) in enumerate(zip(starts, ends, strict=True))
    ]
