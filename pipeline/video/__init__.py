"""Video files in, video files out.

containers.py what names of files promise
opening.py    a file opened for reading, and nothing but that file
probe.py      what it holds: times, keyframes, shape, colours
fields.py     packets that show a picture, and those that do not
times.py      frames without a time of their own; joins.py: recordings joined end to end
segments.py   cut at keyframes
decode.py     frames of a segment, entered at a keyframe before them
deinterlacing.py, averaging.py: its fields woven together; its noise averaged over time
side_data.py  what frames carry beside their pixels
color.py      frames <-> RGB; transfer.py: HLG and PQ
scenes.py     where scenes begin; smoothing.py: curve maps over time
enhance.py    the frames of a segment, enhanced; planes.py: on their planes
encode.py     encoders and their settings; segment_files.py: frames through them
mux.py        segments joined with all other streams; copies.py: those streams; kept.py: what got lost
rising.py     packets written, with times that rise
sampling.py   still frames, evenly spread over a video
"""

from pipeline.video.reading.containers import is_video
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.sampling import sample
from pipeline.video.reading.segments import Segment

__all__ = ["Segment", "VideoInfo", "is_video", "probe", "sample"]
