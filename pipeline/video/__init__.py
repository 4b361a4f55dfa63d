"""Video files in and out: what they hold, segments of them, frames, colours, smoothed maps, encoders, joins.

probe.py      what a file holds         decode.py     frames of a segment
segments.py   cuts at keyframes         color.py      frames to RGB and back (transfer.py: HDR)
smoothing.py  curve maps over time      encode.py     encoders, segment files
mux.py        segments to a whole       sampling.py   still frames, evenly spread over a video
"""

from pipeline.video.probe import VideoInfo, probe
from pipeline.video.sampling import is_video, sample
from pipeline.video.segments import Segment

__all__ = ["Segment", "VideoInfo", "is_video", "probe", "sample"]
