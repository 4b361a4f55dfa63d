"""Contents of a video file, found in one pass over its packets: frame times, keyframes, size, colours."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import BinaryIO, cast

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import Damaged, MediaError, NotMedia
from pipeline.video.reading.concatenations import Shift
from pipeline.video.reading.opening import LARGEST_PX, decoder, demuxed, opened, reason
from pipeline.video.reading.packets import Packets, levels
from pipeline.video.reading.times import DEEPEST, Mended, has_no_times, rate_of, reordering
from pipeline.video.signal.color import Colours, colours_of
from pipeline.video.signal.levels import goes_beyond, is_unflagged_full
from pipeline.video.signal.picture import Crop, Picture, around
from pipeline.video.signal.side_data import ON_FRAMES, USER_DATA, Mastering, kinds, mastering, side
from pipeline.video.structure.codings import Stretch, stretches
from pipeline.video.structure.encryption import check_encryption
from pipeline.video.structure.facts import chroma_location, has_mv_hevc, streams_in

INTERLACED = range(2, 6)  # FFmpeg's field orders, except progressive and unknown
SHORT_S, SHORT_SHARE = 0.5, 0.02  # by how much a header may overstate the length, in seconds and as a share of it
DISCONTINUOUS = cast(int, Flags.ts_discont.value)  # flag of containers in which times may restart
STATES_END = frozenset({"matroska", "asf"})  # formats in which FFmpeg writes as the length where the file ends
FRAMES_SEEN = 8  # frames decoded at the beginning


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """Part of a video whose coding is another one than before it, which is read as a file of its own."""

    stretch: Stretch
    """Bytes of the file that it takes."""
    info: "VideoInfo"
    first: int
    """Rank of its first frame within the whole video."""
    offset_s: Fraction
    """Added to the times of all its streams."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """Properties of a video stream and its file. Frames are numbered by rank: their place in the order of pts."""

    container: str
    """FFmpeg's names of the container format, separated by commas."""
    stream: int
    """Index of the video stream."""
    codec: str
    """FFmpeg's name of the codec: `h264`, `hevc`, `vp9`, ..."""
    width_px: int
    height_px: int
    pixel_format: str
    depth: int
    """Bits per sample."""
    colours: Colours
    time_base: Fraction
    """Seconds per unit of pts."""
    frame_rate: Fraction
    """Frames per second, on average."""
    pts: tuple[int, ...] = field(repr=False)
    """Pts of all frames, ascending."""
    keyframes: tuple[int, ...] = field(repr=False)
    """Pts of the keyframes that a decoder can start at, ascending; only those that identify a packet."""
    last_duration: int
    """Duration of the last frame, in units of the time base."""
    reorder: int
    """Number of frames that a decoder holds back to reorder them."""
    sample_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    """Nine numbers as in the container (ISO/IEC 14496-12, tkhd), or None."""
    interlaced: bool
    """Whether the stream, or any frame that was checked (the first ones and a few keyframes), is interlaced."""
    alpha: bool
    profile: str | None = None
    """FFmpeg's name of the profile of the codec."""
    chroma_location: str | None = None
    """Where chroma samples lie, by FFmpeg's name; None: where they usually do."""
    coded_aspect: Fraction | None = None
    """Pixel aspect ratio that the coding of the first frame states; `sample_aspect` may come from the container."""
    unflagged_full: bool = False
    """Whether its data use the full range, although nothing says so. `colours` is then of full range."""
    beyond: bool = False
    """Whether luma of limited range goes below black or above white, on purpose."""
    states_rate: bool = True
    """Whether a stream without times states how many frames come per second."""
    missing_s: float = 0.0
    """Seconds that the header announces beyond the last packet if the file was cut short, that is, if they are many."""
    cut_off: int = 0
    """Number of packets at the beginning that depend on an earlier keyframe, which is not in the file."""
    streams: int = 0
    """Number of all streams of the file; some may begin late, and are not known when it is opened."""
    mended: Mended = field(default_factory=Mended)
    """Times of frames that have none of their own."""
    shift: Shift = field(default_factory=Shift)
    """Offsets added to the times of all streams where times restart within the file."""
    second_view: str = ""
    """How a second view is coded that is not read: `MVC` or `MV-HEVC`; "": there is none."""
    mastering: Mastering = field(default_factory=Mastering)
    max_pixels: int = LARGEST_PX
    """Limit per frame; larger frames are not decoded."""
    crop: Crop | None = None
    """What the container hides of each frame; None: nothing. `width_px` and `height_px` are what shows."""
    picture: Picture | None = None
    """Part of what shows of each frame that is inside black bars; None: all of it."""
    carried: frozenset[str] = frozenset()
    """Kinds of side data of the first frames, and user data of later ones, by FFmpeg's names: see `side_data.py`."""
    is_bare: bool = False
    """Whether it is a stream without a container."""
    recordings: tuple[Recording, ...] = ()
    """What it is made of, if its coding changes. All else is then of the whole video, or of the first recording."""
    unread: tuple[str, ...] = ()
    """Sentences about recordings that cannot be read."""

    @property
    def frames(self) -> int:
        return len(self.pts)

    def duration_of(self, rank: int) -> int:
        """Return how long a frame is shown, in units of the time base."""
        return self.pts[rank + 1] - self.pts[rank] if rank + 1 < self.frames else self.last_duration

    @property
    def is_deep(self) -> bool:
        """Return whether its colours need more than 8 bits."""
        return self.depth > 8 or self.colours.hdr is not None

    @property
    def size(self) -> tuple[int, int]:
        return self.width_px, self.height_px

    @property
    def picture_size(self) -> tuple[int, int]:
        """Return width and height of what is enhanced."""
        return self.picture.size if self.picture else self.size

    @property
    def untimed(self) -> int:
        """Return how many frames have no times of their own."""
        return len(self.mended.times) + sum(each.info.untimed for each in self.recordings)

    @property
    def restarts(self) -> int:
        """Return how often all times restart within the file."""
        moved = sum(after.offset_s != before.offset_s for before, after in pairwise(self.recordings))
        return len(self.shift.joins) + moved + sum(each.info.restarts for each in self.recordings)


def probe(file: BinaryIO, max_pixels: int = LARGEST_PX) -> VideoInfo:
    """Find out what a video file holds. `file`: seekable. `max_pixels`: limit per frame.

    Raises EmptyFile, NotMedia, NoVideo, TooLarge, Unsupported (encrypted), Damaged (no frame can be decoded).
    """
    check_encryption(file)
    try:
        with opened(file, max_pixels) as (container, stream):
            found = stretches(file, container.format.name, stream.id)
            if not found:
                return _of_one(file, container, stream, max_pixels)
    except NotMedia as error:  # as several codings together may look
        problem: MediaError = error
        found = stretches(file)
    read, unread = list[tuple[Stretch, VideoInfo]](), list[str]()
    for number, stretch in enumerate(found, 1):
        part = stretch.of(file)
        try:
            check_encryption(part)
            with opened(part, max_pixels) as (container, stream):
                read.append((stretch, _of_one(part, container, stream, max_pixels)))
        except MediaError as error:
            unread.append(f"recording {number} of {len(found)} is left out: {error}")
            problem = error
    if not read:
        raise problem
    return replace(_joined(read), unread=tuple(unread))


def _of_one(file: BinaryIO, container: InputContainer, stream: VideoStream, max_pixels: int) -> VideoInfo:
    """Find out what a file holds whose coding does not change."""
    packets, context = Packets(stream), decoder(stream)
    shown: list[VideoFrame] = []
    try:
        for packet in demuxed(container):
            packets.note_end(packet)
            if packet.stream_index != stream.index:
                continue
            packets.add(packet)
            if len(shown) < FRAMES_SEEN:
                shown += packets.look(packet, context)
                packets.aspect = packets.aspect or context.sample_aspect_ratio
            else:
                packets.look_on(packet, context)
    except MemoryError:
        raise
    except av.FFmpegError as error:
        packets.problem = error  # keep what was read before it
    if not shown:
        raise Damaged(f"no frame can be decoded ({reason(packets.problem)}); check whether it plays, or convert it")
    missing_s = _promised_s(container) - packets.end_s
    is_short = container.duration and missing_s > max(SHORT_S, SHORT_SHARE * container.duration / av.time_base)
    info = _info(file, container.format.name, stream, packets, shown)
    return replace(info, max_pixels=max_pixels, missing_s=float(missing_s) if is_short else 0.0)


def _joined(read: Sequence[tuple[Stretch, VideoInfo]]) -> VideoInfo:
    """Describe the video that recordings are, one behind the other.

    A recording whose times do not go on after those before it continues where the one before it ended.
    """
    infos = [info for _, info in read]
    first, last = infos[0], infos[-1]
    unit, offset_s, pts, keyframes, recordings = first.time_base, Fraction(), list[int](), list[int](), []
    for number, (stretch, info) in enumerate(read):
        begins_s = info.pts[0] * info.time_base - info.cut_off / info.frame_rate
        if pts and begins_s + offset_s <= pts[-1] * unit:
            before = infos[number - 1]
            offset_s = pts[-1] * unit + before.last_duration * before.time_base - begins_s
        recordings.append(Recording(stretch=stretch, info=info, first=len(pts), offset_s=offset_s))
        pts += [round((at * info.time_base + offset_s) / unit) for at in info.pts]
        keyframes += [round((at * info.time_base + offset_s) / unit) for at in info.keyframes]
    shapes = {(info.size, info.pixel_format) for info in infos}
    return replace(
        first,
        pts=tuple(pts),
        keyframes=tuple(keyframes),
        last_duration=round(last.last_duration * last.time_base / unit),
        reorder=max(info.reorder for info in infos),
        interlaced=any(info.interlaced for info in infos),
        beyond=not first.unflagged_full and any(info.beyond for info in infos),
        states_rate=all(info.states_rate for info in infos),
        missing_s=last.missing_s,
        cut_off=sum(info.cut_off for info in infos),
        mended=Mended(),
        shift=Shift(),
        picture=around([info.picture for info in infos]) if len(shapes) == 1 else None,
        second_view=next((info.second_view for info in infos if info.second_view), ""),
        carried=first.carried.union(*(info.carried & ON_FRAMES for info in infos)),
        recordings=tuple(recordings),
    )


def _promised_s(container: InputContainer) -> float:
    """Return where the file ends by its header. Where some writers state that and others a length, the lesser."""
    states_end = STATES_END & set(container.format.name.split(","))
    return ((0 if states_end else container.start_time or 0) + (container.duration or 0)) / av.time_base


def _info(file: BinaryIO, container: str, stream: VideoStream, packets: Packets, shown: list[VideoFrame]) -> VideoInfo:
    first, context = shown[0], stream.codec_context
    rate, states_rate = rate_of(stream, packets.listed)
    time_base = stream.time_base or 1 / rate
    step = max(1, round(1 / rate / time_base))
    listed, shown_at = packets.listed, [frame.pts for frame in shown if frame.pts is not None]
    listed.misplaced = shown_at != sorted(shown_at)
    if stream.container.format.flags & DISCONTINUOUS:
        listed.join(container, time_base, step)
    durations = dict(zip(listed.pts, listed.durations, strict=True))
    times, mended = listed.mended(file, stream, step)
    start = first.pts if first.pts is not None and mended.tells(first.pts) else min(times)
    told = zip(listed.pts, listed.keyframes, strict=True)
    keyframes = [at for at, is_keyframe in told if is_keyframe and at is not None and mended.tells(at)]
    pts = sorted(at for at in times if at >= start)
    picture = packets.bars.picture()
    seen, colours = levels(shown, picture) + packets.levels, colours_of(first, context)
    is_full_range = is_unflagged_full(seen)
    return VideoInfo(
        container=container,
        stream=stream.index,
        codec=context.codec.canonical_name,
        width_px=first.width,
        height_px=first.height,
        pixel_format=first.format.name,
        profile=stream.profile,
        chroma_location=chroma_location(stream),
        depth=max(component.bits for component in first.format.components),
        colours=replace(colours, range=2) if is_full_range else colours,
        time_base=time_base,
        frame_rate=rate,
        pts=tuple(pts),
        keyframes=tuple(sorted(at for at in keyframes if at >= start)),
        last_duration=durations.get(pts[-1]) or step,
        reorder=min(DEEPEST, reordering(np.argsort(times).tolist())),
        sample_aspect=stream.sample_aspect_ratio,
        coded_aspect=packets.aspect,
        display_matrix=_display_matrix(first),
        interlaced=context.field_order in INTERLACED
        or packets.interlaced
        or any(frame.interlaced_frame for frame in shown),
        alpha=any(component.is_alpha for component in first.format.components),
        unflagged_full=is_full_range,
        states_rate=states_rate,
        streams=streams_in(cast(InputContainer, stream.container)),
        beyond=not is_full_range and goes_beyond(seen),
        cut_off=len(times) - len(pts),
        mended=mended,
        shift=listed.shift,
        second_view="MVC" if packets.has_mvc else "MV-HEVC" if has_mv_hevc(file) else "",
        mastering=mastering(first),
        crop=packets.crop,
        picture=picture,
        carried=kinds(shown) | packets.later_kinds & {USER_DATA},
        is_bare=has_no_times(stream),
    )


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    found = side(frame, "DISPLAYMATRIX")
    return None if found is None else tuple(np.frombuffer(found, np.int32).tolist())
