"""A glance at a video: how bright it is, by its keyframes about a minute apart. The rest is not read.

Where a container has no index, the keyframe after the wanted time counts. A video of few keyframes is decoded from its
beginning to its end, and as many of its frames are looked at: that is dear for long ones, but rare.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import Damaged
from pipeline.luma import mean_luma
from pipeline.video.reading.opening import LARGEST_PX, frames, opened, reason
from pipeline.video.reading.probe import colours_of
from pipeline.video.reading.sampling import extent
from pipeline.video.signal.color import SDR, Conversion, Hdr
from pipeline.video.structure.facts import check_encryption

EVERY_S = 60.0  # between two looks
LEAST = 5  # parts of a video that are looked at, at their ends
BACK_S = (0, 1, 8, 64)  # how much earlier a container without an index is entered, until a keyframe is found
PART_BYTES = 1 << 18  # to fetch at least: about the size of a keyframe


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """What a glance at a video tells."""

    lumas: tuple[float, ...]
    """Mean luma in [0, 1] of frames that are evenly spread over the video, the first and the last among them."""
    length_s: float
    frames: int
    """Number of frames, as far as the header tells."""
    width_px: int
    height_px: int

    @property
    def luma(self) -> float:
        return float(np.mean(self.lumas))

    def is_bright(self, limit: float) -> bool:
        """Return whether every frame that was looked at is of this luma or more."""
        return min(self.lumas) >= limit

    def night_s(self, limit: float) -> float:
        """Return about how many seconds are darker than this luma."""
        return self.length_s * float(np.mean(np.less(self.lumas, limit)))


def glance(file: BinaryIO, max_pixels: int = LARGEST_PX, hdr: Hdr = "keep") -> Glance:
    """Measure how bright a few frames of a video are. `file`: seekable. `max_pixels`: limit per frame.

    Raises what `probe` raises; Damaged if any of these frames cannot be decoded whole.
    """
    check_encryption(file)
    with opened(file, max_pixels) as (container, stream):
        eye = _Eye(stream, hdr)
        start, length = extent(container, stream)
        length_s = float(length * (stream.time_base or 0))
        parts = max(LEAST, ceil(length_s / EVERY_S))
        targets = [start + length * part // parts for part in range(parts)] + [start + length - 1]
        try:
            lumas = _of_keyframes(container, stream, targets, eye) or _of_all(container, stream, targets, eye)
        except av.FFmpegError as error:
            raise Damaged(f"a frame cannot be decoded ({reason(error)}); check whether it plays") from error
        rate = stream.average_rate or stream.guessed_rate or 0
        return Glance(
            lumas=tuple(lumas),
            length_s=length_s,
            frames=stream.frames or round(length_s * float(rate)),
            width_px=stream.width,
            height_px=stream.height,
        )


def brightness(copy: npt.NDArray[np.uint8]) -> float:
    """Return the mean luma in [0, 1] of a small copy of a frame, as `Conversion.small` returns it."""
    return mean_luma(copy)


class _Eye:
    """What measures the luma of frames of one stream."""

    def __init__(self, stream: VideoStream, hdr: Hdr) -> None:
        self._context, self._hdr = stream.codec_context, hdr
        self._conversion: Conversion | None = None

    def __call__(self, frame: VideoFrame | None) -> float:
        """Return the mean luma in [0, 1] of the signal that the curves act on. Raises Damaged."""
        if frame is None or frame.is_corrupt:
            raise Damaged("a frame is broken; check whether it plays")
        if self._conversion is None:
            colours = colours_of(frame, self._context)
            self._conversion = Conversion(
                colours,
                SDR if colours.hdr and self._hdr == "sdr" else colours,
                pixel_format=frame.format.name,
                size=(frame.width, frame.height),
                hdr=self._hdr,
                deep=colours.hdr is not None or max(part.bits for part in frame.format.components) > 8,
            )
        return brightness(self._conversion.small(frame))


def _of_keyframes(container: InputContainer, stream: VideoStream, targets: list[int], eye: _Eye) -> list[float]:
    """Return the luma of the keyframe nearest to each target; nothing if there are too few keyframes."""
    lumas: dict[int, float] = {}
    places = []
    for target in targets:
        packets = _keyframe(container, stream, target)
        place = _time(packets[0])
        places.append(place)
        if place not in lumas:
            lumas[place] = eye(_decoded(packets, stream))
    return [lumas[place] for place in places] if len(lumas) >= LEAST else []


def _of_all(container: InputContainer, stream: VideoStream, targets: list[int], eye: _Eye) -> list[float]:
    """Return the luma of the frame that is shown at each target. Decodes all frames."""
    container.seek(targets[0], stream=stream)
    stream.codec_context.flush_buffers()
    left, lumas, shown = list(targets), list[float](), None
    for frame in frames(container.demux(stream), stream.codec_context):
        if shown is not None and frame.pts is not None and left and frame.pts > left[0]:
            luma = eye(shown)
            while left and frame.pts > left[0]:
                del left[0]
                lumas.append(luma)
        shown = frame
    return lumas + [eye(shown)] * len(left)


def _keyframe(container: InputContainer, stream: VideoStream, target: int) -> "list[Packet[Any]]":
    """Return the keyframe nearest to a time, and the packet after it, if any. Raises Damaged where there is none.

    Where an index leads to it, it is the one before `target`; else the one after it or, at the end, the last.
    """
    for back_s in BACK_S:
        container.seek(target - int(back_s / (stream.time_base or 1)), stream=stream)
        found: list[Packet[Any]] = []
        for packet in container.demux(stream):
            if len(found) == 1:
                found.append(packet)
            if len(found) == 2 and not back_s:
                break
            if packet.is_keyframe and packet.size:
                found = [packet]
        if found:
            return found
    raise Damaged("no keyframe is where one should be; check whether it plays")


def _time(packet: "Packet[Any]") -> int:
    return packet.pts if packet.pts is not None else packet.dts or 0


def _decoded(packets: "list[Packet[Any]]", stream: VideoStream) -> VideoFrame | None:
    """Decode a keyframe; the packet after it may be its second field."""
    context = stream.codec_context
    context.flush_buffers()
    found = list(frames(iter([*packets, Packet()]), context))
    context.flush_buffers()
    return next((frame for frame in found if frame.pts == packets[0].pts), found[0] if found else None)
