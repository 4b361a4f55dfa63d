"""Options of muxers that keep the times, the metadata and the order of a file as they are in its source."""

import math
from collections.abc import Iterable

from av.container import InputContainer
from av.stream import Stream

from pipeline.video.reading.containers import muxer_of
from pipeline.video.reading.opening import is_cover
from pipeline.video.reading.probe import VideoInfo
from pipeline.video.writing.copied_streams import ISO
from pipeline.video.writing.lost_metadata import STRUCTURE

ISO_KEYS = frozenset(  # metadata keys that ISO files have a box for; all others need the open list of QuickTime
    "title artist album_artist composer album date comment genre copyright grouping lyrics description "  # noqa: SIM905
    "synopsis show episode_id network keywords location location-eng creation_time timecode".split()
)
LARGEST_SCALE = 1 << 31
# beyond it, times are dates, as in recordings by Dahua, or those of a part of a DVD; those of MPEG-TS end before it
LATEST_START_S, LATEST_START_OF_PS_S = 400_000, 10
SHIFTED = {  # values of the option avoid_negative_ts
    "make_non_negative": "its times begin before 0; all are shifted so that none is negative",
    "make_zero": "its times begin late (part of a longer recording, or dates); all are shifted so that they begin at 0",
}


def options_for(
    original: InputContainer, info: VideoInfo, start: int, name: str, *, fast_start: bool
) -> dict[str, str]:
    """Return the muxer's options for a file of this name. `start`: pts of the first frame."""
    muxer, latest_s = muxer_of(name), LATEST_START_OF_PS_S if original.format.name == "mpeg" else LATEST_START_S
    from_zero = {"avoid_negative_ts": "make_zero"} if start * info.time_base > latest_s else {}
    if muxer == "mpegts":  # without copyts, times restart; files of these names have packets of 192 bytes
        return {"mpegts_copyts": "1", "mpegts_m2ts_mode": str(int(name.lower().endswith((".m2ts", ".mts"))))}
    if muxer not in ISO:
        return from_zero
    options, flags = from_zero, ["faststart"] * fast_start
    has_cover = any(is_cover(stream) for stream in original.streams.video)  # which the open list cannot hold
    if not has_cover and not original.metadata.keys() <= ISO_KEYS | STRUCTURE:
        flags.append("use_metadata_tags")
    if flags:
        options["movflags"] = "+".join(flags)
    if start < 0:  # otherwise the file says not to show what comes before 0
        options["avoid_negative_ts"] = "make_non_negative"
    if info.carried & {"SPHERICAL", "STEREO3D"}:
        options["strict"] = "unofficial"  # the boxes that players read these from are not standardised
    # time units of video tracks, and of the start of any track: they must divide the source's units
    options["video_track_timescale"] = str(_scale(info, original.streams.video))
    options["movie_timescale"] = str(_scale(info, original.streams))
    return options


def _scale(info: VideoInfo, streams: Iterable[Stream]) -> int:
    """Return the units per second that hold all times of these streams exactly, or of the video if that is too many."""
    scale = math.lcm(*(stream.time_base.denominator for stream in streams if stream.time_base))
    return scale if scale < LARGEST_SCALE else info.time_base.denominator
