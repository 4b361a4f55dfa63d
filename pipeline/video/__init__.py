"""Video files in, video files out.

reading/    what a file holds (probe.py), where it is cut (segments.py), its decoded frames (decode.py)
signal/     frames <-> RGB (color.py), HLG and PQ (transfer.py), what frames carry beside their pixels (side_data.py)
enhancing/  the frames of a segment, enhanced (enhance.py), without flicker (scenes.py, smoothing.py)
writing/    encoders (encode.py), segments (segment_files.py), and the file joined from them (mux.py)
"""

from pipeline.video.reading.containers import is_video
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.sampling import sample
from pipeline.video.reading.segments import Segment

__all__ = ["Segment", "VideoInfo", "is_video", "probe", "sample"]
