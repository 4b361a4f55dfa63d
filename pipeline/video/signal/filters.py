"""Filters of libavfilter, in a chain that gives one frame for each."""

from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame

Shape = tuple[int, int, str, int, int]


def shape_of(frame: VideoFrame) -> Shape:
    """Return what a chain is built for. It must not see other frames: its buffers have no room for them."""
    return frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range)


def chain_of(shape: Shape, time_base: Fraction, *filters: tuple[str, str]) -> Graph:
    """Build a chain of filters, each with its name and arguments, for frames of this shape. It runs on one thread."""
    width, height, pixel_format, matrix, limits = shape
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        video_size=f"{width}x{height}",
        pix_fmt=pixel_format,
        time_base=str(time_base),
        colorspace=str(matrix),
        range=str(limits),
    )
    graph.link_nodes(source, *(graph.add(*each) for each in filters), graph.add("buffersink")).configure()
    return graph
