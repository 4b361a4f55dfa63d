"""Video files in.

sampling.py   still frames, evenly spread over a video
"""

from pipeline.video.sampling import is_video, sample

__all__ = ["is_video", "sample"]
