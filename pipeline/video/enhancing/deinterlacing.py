"""Deinterlacing of frames by a filter of libavfilter.

The filter sees only a few frames before and after the one it makes, so a segment that also reads MARGIN frames on
either side gets exactly the same frames as the whole video.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby, pairwise

import av
from av.filter import Graph

from pipeline.video.reading.decode import Shot
from pipeline.video.reading.probe import VideoInfo
from pipeline.video.signal.filters import chain_of, shape_of

DEINTERLACE = "bwdif", "mode=send_frame:parity=auto:deint=interlaced"  # one output frame per input frame
MARGIN = 1  # frames on either side that a deinterlaced frame depends on


def deinterlaced(shots: Iterable[Shot], info: VideoInfo) -> Iterator[Shot]:
    """Yield the same shots, in order, with interlaced frames deinterlaced.

    These and their neighbours go through the filter, which leaves progressive frames unchanged. Interlacing, size,
    format and colours may change midway, so each run of frames that share them gets a filter of its own.
    """
    for (near, _), alike in groupby(_near(shots), lambda told: (told[0], shape_of(told[1].frame))):
        run = (shot for _, shot in alike)
        yield from _through(run, info) if near else run


def _near(shots: Iterable[Shot]) -> Iterator[tuple[bool, Shot]]:
    """Yield each shot, preceded by whether it or a neighbour is interlaced."""
    before = False
    for shot, after in pairwise(chain(shots, [None])):
        assert shot is not None
        own = shot.frame.interlaced_frame
        yield before or own or (after is not None and after.frame.interlaced_frame), shot
        before = own


def _through(alike: Iterator[Shot], info: VideoInfo) -> Iterator[Shot]:
    """Yield filtered shots of one shape: the filter gives one frame for each, in order."""
    waiting: deque[Shot] = deque()
    graph: Graph | None = None
    for shot in alike:
        graph = graph or chain_of(shape_of(shot.frame), info.time_base, DEINTERLACE)
        waiting.append(shot)
        graph.push(shot.frame)
        yield from _ready(graph, waiting)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph, waiting)


def _ready(graph: Graph, waiting: deque[Shot]) -> Iterator[Shot]:
    while waiting:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        shot = waiting.popleft()
        yield replace(shot, frame=frame)
