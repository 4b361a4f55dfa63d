"""Reading, enhancing and writing of video files.

reading/    contents of a file (probe.py), its bars (bars.py), cutting into segments (segments.py), decoding (decode.py)
signal/     conversion between frames and RGB (color.py), HLG and PQ (transfer.py), side data (side_data.py)
enhancing/  enhancement of a segment's frames (enhance.py), without flicker (scenes.py, smoothing.py)
writing/    choice of the encoder (encode.py), segment files (segment_files.py), joining them (mux.py)
"""

from pipeline.video.reading.containers import is_video
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.sampling import sample
from pipeline.video.reading.segments import Segment

__all__ = ["Segment", "VideoInfo", "is_video", "probe", "sample"]
