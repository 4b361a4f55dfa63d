"""Filters of libavfilter between the decoder and the network: deinterlacing, denoising over time.

Both see a finite number of frames before and after the one they make, so that a segment that also reads MARGIN frames
on either side gets the very same frames as the whole video.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, pairwise

import av
from av.filter import Graph

from pipeline.video.decode import Shot
from pipeline.video.probe import VideoInfo

DEINTERLACE = "bwdif", "mode=send_frame:parity=auto:deint=interlaced"  # one frame for a frame
DEINTERLACE_MARGIN = 1
DENOISE_MARGIN = 4
DENOISE_WEIGHTS = "0a={0}:1a={0}:2a={0}:0b={1}:1b={1}:2b={1}"
DENOISE_A, DENOISE_B = 0.02, 0.04  # atadenoise's own thresholds: for one pixel, and for the sum over time


def margin(denoise: float) -> int:
    """Frames on either side that a filtered frame depends on."""
    return DEINTERLACE_MARGIN + DENOISE_MARGIN * (denoise > 0)


def filtered(shots: Iterable[Shot], info: VideoInfo, denoise: float) -> Iterator[Shot]:
    """The same shots, in order: interlaced ones deinterlaced, all denoised over time.

    `denoise`: 0 none, 1 atadenoise's own thresholds, up to 2. What a frame is, interlaced, of which size, format and
    colours, may change midway: a filter sees those that are alike.
    """
    shots = _deinterlaced(shots, info)
    if not denoise:
        yield from shots
        return
    weights = DENOISE_WEIGHTS.format(DENOISE_A * denoise, DENOISE_B * denoise)
    for _, alike in groupby(shots, _shape):
        yield from _through("atadenoise", f"{weights}:s={2 * DENOISE_MARGIN + 1}", alike, info)


def _deinterlaced(shots: Iterable[Shot], info: VideoInfo) -> Iterator[Shot]:
    """Those that are interlaced and the ones beside them go through the filter, which leaves progressive ones alone."""
    for (near, _), alike in groupby(_near(shots), lambda told: (told[0], _shape(told[1]))):
        run = (shot for _, shot in alike)
        yield from _through(*DEINTERLACE, run, info) if near else run


def _near(shots: Iterable[Shot]) -> Iterator[tuple[bool, Shot]]:
    """Whether a shot or one beside it is interlaced."""
    before = False
    for shot, after in pairwise(chain(shots, [None])):
        assert shot is not None
        own = shot.frame.interlaced_frame
        yield before or own or (after is not None and after.frame.interlaced_frame), shot
        before = own


def _shape(shot: Shot) -> tuple[int, int, str, int, int]:
    """What a graph is made for: it must not see other frames, for which its buffers have no room."""
    frame = shot.frame
    return frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range)


def _through(name: str, options: str, alike: Iterator[Shot], info: VideoInfo) -> Iterator[Shot]:
    """Shots of one shape through a filter of libavfilter, which gives one frame for each, in order."""
    waiting: deque[Shot] = deque()
    graph: Graph | None = None
    for shot in alike:
        graph = graph or _graph(name, options, shot, info)
        waiting.append(shot)
        graph.push(shot.frame)
        yield from _ready(graph, waiting)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph, waiting)


def _graph(name: str, options: str, shot: Shot, info: VideoInfo) -> Graph:
    width, height, pixel_format, matrix, limits = _shape(shot)
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        video_size=f"{width}x{height}",
        pix_fmt=pixel_format,
        time_base=str(info.time_base),
        colorspace=str(matrix),
        range=str(limits),
    )
    graph.link_nodes(source, graph.add(name, options), graph.add("buffersink")).configure()
    return graph


def _ready(graph: Graph, waiting: deque[Shot]) -> Iterator[Shot]:
    while waiting:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        shot = waiting.popleft()
        yield Shot(shot.rank, shot.pts, frame)
