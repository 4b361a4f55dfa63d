"""Filters of libavfilter between the decoder and the network: deinterlacing, denoising over time.

Both see a finite number of frames before and after the one they make, so that a segment that also reads MARGIN frames
on either side gets the very same frames as the whole video.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av
from av.filter import Graph

from pipeline.video.decode import Shot
from pipeline.video.probe import VideoInfo

DEINTERLACE = "bwdif", "mode=send_frame:parity=auto:deint=interlaced"  # one frame for a frame
DEINTERLACE_MARGIN = 1
DENOISE_MARGIN = 4
DENOISE_WEIGHTS = "0a={0}:1a={0}:2a={0}:0b={1}:1b={1}:2b={1}"
DENOISE_A, DENOISE_B = 0.02, 0.04  # atadenoise's own thresholds: for one pixel, and for the sum over time


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which filters the frames of a video go through."""

    deinterlace: bool = False
    denoise: float = 0.0
    """Strength of denoising over time: 0 none, 1 atadenoise's own thresholds, up to 2."""

    @property
    def margin(self) -> int:
        """Frames on either side that a frame depends on."""
        return DEINTERLACE_MARGIN * self.deinterlace + DENOISE_MARGIN * (self.denoise > 0)


def filtered(shots: Iterable[Shot], info: VideoInfo, filters: Filters) -> Iterator[Shot]:
    """The same shots, their frames filtered. A filter gives one frame for each, in order."""
    if not filters.margin:
        yield from shots
        return
    waiting: deque[Shot] = deque()
    graph: Graph | None = None
    for shot in shots:
        graph = graph or _graph(shot, info, filters)
        waiting.append(shot)
        graph.push(shot.frame)
        yield from _ready(graph, waiting)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph, waiting)


def _graph(shot: Shot, info: VideoInfo, filters: Filters) -> Graph:
    graph, frame = Graph(), shot.frame
    graph.threads = 1
    nodes = [
        graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(info.time_base),
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
    ]
    if filters.deinterlace:
        nodes.append(graph.add(*DEINTERLACE))
    if filters.denoise:
        weights = DENOISE_WEIGHTS.format(DENOISE_A * filters.denoise, DENOISE_B * filters.denoise)
        nodes.append(graph.add("atadenoise", f"{weights}:s={2 * DENOISE_MARGIN + 1}"))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def _ready(graph: Graph, waiting: deque[Shot]) -> Iterator[Shot]:
    while waiting:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        shot = waiting.popleft()
        yield Shot(shot.rank, shot.pts, frame)
