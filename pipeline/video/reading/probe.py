"""What a video file holds: its frames' times and keyframes, its shape and colours. One pass over its packets."""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
import numpy as np
from av.format import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import Damaged
from pipeline.video.reading.concatenations import Shift, position
from pipeline.video.reading.fields import Shows
from pipeline.video.reading.opening import LARGEST_PX, decoder, opened, reason
from pipeline.video.reading.times import DEEPEST, Listed, Mended, reordering
from pipeline.video.signal.color import UNSPECIFIED, Colours, is_full
from pipeline.video.signal.side_data import Mastering, kinds, mastering, side

INTERLACED = range(2, 6)  # FFmpeg's field orders, but for progressive and unknown
SHORT_S, SHORT_SHARE = 0.5, 0.02  # what a header may promise too much, in seconds and as a share of its length
DISCONTINUOUS = cast(int, Flags.ts_discont.value)  # containers in which times may begin anew
FRAMES_SEEN = 8  # that are decoded at the beginning


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """One video stream, and the file around it. Frames are numbered by rank: their place in the order of pts."""

    container: str
    """FFmpeg's names of the container format, separated by commas."""
    stream: int
    """Index of the video stream."""
    codec: str
    """FFmpeg's name of the coding: `h264`, `hevc`, `vp9`, ..."""
    width_px: int
    height_px: int
    pixel_format: str
    depth: int
    """Bits of a sample."""
    colours: Colours
    time_base: Fraction
    """Seconds in one unit of pts."""
    frame_rate: Fraction
    """Frames in a second, on average."""
    pts: tuple[int, ...] = field(repr=False)
    """Of every frame, ascending."""
    keyframes: tuple[int, ...] = field(repr=False)
    """Pts of those that a decoder can start at and that a packet is found by, ascending."""
    last_duration: int
    """How long the last frame is shown, in units of the time base."""
    reorder: int
    """How many frames a decoder holds back to put them in order."""
    sample_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    """Nine numbers as in the container (ISO/IEC 14496-12, tkhd); None where there is none."""
    interlaced: bool
    """Whether some frames are, of those that were looked at: the first ones and a few keyframes."""
    alpha: bool
    missing_s: float = 0.0
    """What the file's header promises beyond its last packet, where that is much: the file was cut short."""
    cut_off: int = 0
    """Packets at the beginning that belong to a keyframe before it, which is not in the file."""
    mended: Mended = field(default_factory=Mended)
    """Times of frames that have none of their own."""
    shift: Shift = field(default_factory=Shift)
    """What is added to all streams' times where they begin anew within the file."""
    mastering: Mastering = field(default_factory=Mastering)
    max_pixels: int = LARGEST_PX
    """Of a frame; larger ones are not decoded."""
    carried: frozenset[str] = frozenset()
    """What the first frames carry beside their pixels, in FFmpeg's words: see `side_data.py`."""

    @property
    def frames(self) -> int:
        return len(self.pts)

    @property
    def is_deep(self) -> bool:
        """Whether 8 bits are too few for its colours."""
        return self.depth > 8 or self.colours.hdr is not None

    @property
    def size(self) -> tuple[int, int]:
        return self.width_px, self.height_px


def probe(file: BinaryIO, max_pixels: int = LARGEST_PX) -> VideoInfo:
    """`file`: seekable. `max_pixels`: of a frame.

    Raises EmptyFile, NotMedia, NoVideo, TooLarge, Damaged (not one frame can be decoded).
    """
    with opened(file, max_pixels) as (container, stream):
        packets, context = _Packets(stream), decoder(stream)
        shown: list[VideoFrame] = []
        try:
            for packet in container.demux():
                packets.note_end(packet)
                if packet.stream_index != stream.index:
                    continue
                packets.add(packet)
                if len(shown) < FRAMES_SEEN:
                    shown += _decoded(packet, packets, context)
                elif packet.is_keyframe and not packets.interlaced:
                    packets.look(packet, context)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            packets.problem = error  # what came before it is what there is
        if not shown:
            raise Damaged(f"no frame can be decoded ({reason(packets.problem)}); try to play it, or convert it")
        promised_s = ((container.start_time or 0) + (container.duration or 0)) / av.time_base
        missing_s = promised_s - packets.end_s
        is_short = container.duration and missing_s > max(SHORT_S, SHORT_SHARE * container.duration / av.time_base)
        info = _info(file, container.format.name, stream, packets, shown)
        return replace(info, max_pixels=max_pixels, missing_s=float(missing_s) if is_short else 0.0)


class _Packets:
    """What is kept of the packets: times, and whether a later picture is interlaced where the first ones are not."""

    def __init__(self, stream: VideoStream) -> None:
        self.shows = Shows(stream.codec_context)
        self.listed = Listed()
        self.end_s = Fraction(0)  # of all streams
        self.later = 0  # keyframes behind the first frames
        self.interlaced = False  # one of these
        self.problem: Exception | None = None

    def note_end(self, packet: "Packet[Any]") -> None:
        if packet.pts is not None and packet.time_base is not None:
            self.end_s = max(self.end_s, (packet.pts + (packet.duration or 0)) * packet.time_base)

    def add(self, packet: "Packet[Any]") -> None:
        if not self.shows(packet):
            return
        self.listed.pts.append(packet.pts)
        self.listed.dts.append(packet.dts)
        self.listed.keyframes.append(packet.is_keyframe)
        self.listed.positions.append(position(packet, self.listed.positions[-1] if self.listed.positions else 0))
        self.listed.durations.append(packet.duration or 0)

    def look(self, keyframe: "Packet[Any]", context: VideoCodecContext) -> None:
        """Decode it alone, if it is the first, second, fourth, eighth, ... that is offered."""
        self.later += 1
        if self.later & (self.later - 1):
            return
        context.flush_buffers()
        found = [frame for packet in (keyframe, None) for frame in _decoded(packet, self, context)]
        self.interlaced |= any(frame.interlaced_frame for frame in found)


def _decoded(packet: "Packet[Any] | None", packets: _Packets, context: VideoCodecContext) -> list[VideoFrame]:
    try:
        return list(context.decode(packet))
    except MemoryError:  # which is no damage
        raise
    except av.FFmpegError as error:
        packets.problem = error
        return []


def _info(file: BinaryIO, container: str, stream: VideoStream, packets: _Packets, shown: list[VideoFrame]) -> VideoInfo:
    first, context = shown[0], stream.codec_context
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
    time_base = stream.time_base or 1 / rate
    step = max(1, round(1 / rate / time_base))
    listed = packets.listed
    if stream.container.format.flags & DISCONTINUOUS:
        listed.join(time_base, step)
    durations = dict(zip(listed.pts, listed.durations, strict=True))
    times, mended = listed.mended(file, stream, step)
    start = first.pts if first.pts is not None and mended.tells(first.pts) else min(times)
    told = zip(listed.pts, listed.keyframes, strict=True)
    keyframes = [at for at, is_keyframe in told if is_keyframe and at is not None and mended.tells(at)]
    pts = sorted(at for at in times if at >= start)
    return VideoInfo(
        container=container,
        stream=stream.index,
        codec=context.codec.canonical_name,
        width_px=first.width,
        height_px=first.height,
        pixel_format=first.format.name,
        depth=max(component.bits for component in first.format.components),
        colours=_colours(first, context),
        time_base=time_base,
        frame_rate=rate,
        pts=tuple(pts),
        keyframes=tuple(sorted(at for at in keyframes if at >= start)),
        last_duration=durations.get(pts[-1]) or step,
        reorder=min(DEEPEST, reordering(np.argsort(times).tolist())),
        sample_aspect=stream.sample_aspect_ratio,
        display_matrix=_display_matrix(first),
        interlaced=context.field_order in INTERLACED
        or packets.interlaced
        or any(frame.interlaced_frame for frame in shown),
        alpha=any(component.is_alpha for component in first.format.components),
        cut_off=len(times) - len(pts),
        mended=mended,
        shift=listed.shift,
        mastering=mastering(first),
        carried=kinds(shown),
    )


def _colours(frame: VideoFrame, container: VideoCodecContext) -> Colours:
    """As the frame says, or else the container."""

    def said(name: str) -> int:
        number = int(getattr(frame, name))
        return int(getattr(container, name)) if number == UNSPECIFIED else number

    return Colours(
        matrix=said("colorspace"),
        primaries=said("color_primaries"),
        transfer=said("color_trc"),
        range=2 if is_full(frame) else int(frame.color_range or container.color_range),
    )


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    found = side(frame, "DISPLAYMATRIX")
    return None if found is None else tuple(np.frombuffer(found, np.int32).tolist())
