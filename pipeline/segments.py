"""Enhanced segments of a video: where they lie until they are joined, what is in them, and what that says of it."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from pipeline.errors import StorageError, plural
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join, redacted
from pipeline.video.reading.probe import VideoInfo
from pipeline.video.reading.segments import Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentResult:
    """Contents of an enhanced segment."""

    identity: str
    """Hash of source, settings, weights, device and place: segments of the same identity are the same."""
    pts: list[int]
    """Pts of its frames, ascending."""
    missing: int
    """Frames that could not be decoded."""
    corrupt: int
    """Frames that were decoded with visible damage."""
    scaled: int
    """Frames whose size differs from that of the video's first."""
    reorder: int
    """Most places by which a packet precedes its turn in the order of pts."""
    luma_before: float
    """Mean luma of its frames before enhancement; `luma_after`: the same after it."""
    luma_after: float
    seconds: dict[str, float]
    """Seconds spent, by column of the outcome."""
    reshaped: int = 0
    """Frames whose pixel aspect ratio differs from that of the video's first."""
    night: int = 0
    """Duration of the frames that got some enhancement, in units of the time base."""
    reused: bool = False
    """Whether an earlier run left it."""

    @property
    def frames(self) -> int:
        return len(self.pts)


@dataclass(frozen=True, slots=True)
class SegmentFolders:
    """Folders that hold segments until they are joined: one for each video."""

    storage: Storage
    url: str

    def of(self, record: Record) -> str:
        """Return the URL of the folder of one version of a video."""
        video = hashlib.sha256(f"{redacted(record.source)}\n{record.version}".encode()).hexdigest()[:16]
        return join(self.url, video)

    def url_of(self, record: Record, segment: Segment) -> str:
        return join(self.of(record), f"{segment.index:05d}")

    def clear(self, record: Record) -> None:
        """Remove the segments of one video; what cannot be removed stays."""
        with suppress(StorageError):
            self.storage.remove_below(self.of(record))


def describe(outcome: Outcome, info: VideoInfo, results: Sequence[SegmentResult], *, skips_bright: bool) -> None:
    """Fill in the columns of the outcome that the results of the segments determine."""
    outcome.frames = sum(result.frames for result in results)
    for result in results:
        outcome.add_seconds(result.seconds)
    if outcome.frames:
        outcome.luma_before = sum(result.luma_before * result.frames for result in results) / outcome.frames
        outcome.luma_after = sum(result.luma_after * result.frames for result in results) / outcome.frames
    if skips_bright:
        outcome.night_s = float(sum(result.night for result in results) * info.time_base)
        length_s = float((info.pts[-1] + info.last_duration - info.pts[0]) * info.time_base)
        if outcome.night_s < length_s:
            outcome.notes.append(
                f"night: {outcome.night_s:.0f} of {length_s:.0f} s; the rest is bright and left as it is"
            )


def notes_of(info: VideoInfo, results: Sequence[SegmentResult]) -> list[str]:
    """Return notes on what differs from the source, except for the encoding and the container."""
    reused = sum(result.reused for result in results)
    notes = [f"{reused} of {len(results)} segments were reused from an earlier run"] if reused else []
    if info.missing_s:
        notes.append(f"damaged: cut short, its last {info.missing_s:.1f} s are missing")
    if info.cut_off:
        where = "the start of a recording" if info.recordings else "the start"
        notes.append(f"{plural(info.cut_off, 'frame')} at {where} left out: their keyframe is missing")
    missing, corrupt = sum(result.missing for result in results), sum(result.corrupt for result in results)
    if missing:
        notes.append(f"damaged: {missing} of {info.frames} frames could not be decoded and are left out")
    if corrupt:
        notes.append(f"damaged: {corrupt} of {info.frames} frames are broken in the source")
    untimed = 0 if info.is_bare and info.states_rate else info.untimed
    if untimed >= info.frames:
        notes.append(
            "its frames have no times of their own; they get times derived from the decoding times or the frame rate"
        )
    elif untimed:
        notes.append(
            f"{untimed} of {info.frames} frames have no time of their own; they get one derived from their neighbours"
        )
    if not info.states_rate:
        notes.append(f"it states no frame rate: {float(info.frame_rate):g} frames per second are assumed")
    codings = [codec for codec, _ in groupby(each.info.codec for each in info.recordings)]
    if len(codings) > 1:
        notes.append(f"its coding changes midway ({', '.join(codings)}); all of it is written in one")
    notes += [f"damaged: {each}" for each in info.unread]
    if info.restarts and not info.is_bare:
        notes.append(
            f"{info.restarts + 1} recordings are joined end to end, each with its own times; "
            "now each continues where the video before it ended"
        )
    scaled = sum(result.scaled for result in results)
    if scaled:
        notes.append(f"{scaled} of {info.frames} frames have another size; they are scaled to the size of the first")
    reshaped = sum(result.reshaped for result in results)
    if reshaped:
        notes.append("its pixel aspect ratio changes midway; all frames are shown with that of the first")
    if info.second_view:
        notes.append(
            f"its second view ({info.second_view}, stereoscopic) is left out, which makes it a flat video; "
            "keep the original, or split it into one video for each eye first"
        )
    if info.unflagged_full:
        notes.append("full-range data without the flag (luma far below 16): treated and written as full range")
    if info.interlaced:
        notes.append("interlaced frames are deinterlaced, one output frame for each")
    return notes
