"""A glance at a video: how bright it is, by its keyframes about a minute apart. The rest is not read.

Where a container has no index, the keyframe after the wanted time counts. A stream without a container is read to its
end, as nothing in it can be sought, but only these keyframes are decoded. A video of few keyframes is decoded from its
beginning to its end, and as many of its frames are looked at: that is dear for long ones, but rare.
"""

from collections.abc import Iterator, Sequence
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
from pipeline.video.reading.fields import Shows
from pipeline.video.reading.opening import LARGEST_PX, demuxed, frames, opened, reason
from pipeline.video.reading.probe import DISCONTINUOUS
from pipeline.video.reading.sampling import extent
from pipeline.video.reading.times import ASSUMED, has_no_times, stated_rate
from pipeline.video.signal.bars import APART, Bars
from pipeline.video.signal.color import SDR, Conversion, Hdr, colours_of
from pipeline.video.signal.picture import Cutter
from pipeline.video.structure.codings import ISO, coding_of, stretches
from pipeline.video.structure.encryption import check_encryption
from pipeline.video.structure.facts import crop_of

Copy = npt.NDArray[np.uint8]  # HxWx3, as `Conversion.small` returns it

EVERY_S = 60.0  # between two looks
LEAST = 5  # parts of a video that are looked at, at their ends
BACK_S = (0, 1, 8, 64)  # how much earlier a container without an index is entered, until a keyframe is found
BYTES_A_SECOND = 1 << 20  # by which BACK_S counts in such a container
PART_BYTES = 1 << 18  # to fetch at least: about the size of a keyframe


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """What a glance at a video tells."""

    lumas: tuple[float, ...]
    """Mean luma in [0, 1] of frames that are evenly spread over the video, the first and the last among them."""
    length_s: float
    frames: int
    """Number of frames, as far as the header tells; 0 if it does not."""
    width_px: int
    height_px: int

    @property
    def luma(self) -> float:
        return float(np.mean(self.lumas))

    def is_bright(self, limit: float) -> bool:
        """Return whether every frame that was looked at is of this luma or more."""
        return min(self.lumas) >= limit

    def night(self, limit: float) -> float:
        """Return about what share of the video is darker than this luma."""
        return float(np.mean(np.less(self.lumas, limit)))


def glance(file: BinaryIO, max_pixels: int = LARGEST_PX, hdr: Hdr = "keep") -> Glance:
    """Measure how bright a few frames of a video are. `file`: seekable. `max_pixels`: limit per frame.

    Raises what `probe` raises; Damaged if any of these frames cannot be decoded whole.
    """
    check_encryption(file)
    with opened(file, max_pixels) as (container, stream):
        if container.format.name.startswith(ISO) and stretches(file, container.format.name):
            raise Damaged("other videos are joined to its end, which a look does not reach")
        eye, rate, frames = _Eye(stream, hdr), stream.average_rate or stream.guessed_rate or 0, stream.frames
        try:
            if has_no_times(stream):
                rate = stated_rate(stream) or ASSUMED
                copies, frames = _of_bare_stream(file, container, stream, eye, round(EVERY_S * rate))
                length_s = float(frames / rate)
            else:
                length_s = float(extent(container, stream)[1] * (stream.time_base or 0))
                parts = max(LEAST, ceil(length_s / EVERY_S))
                copies = _of_keyframes(container, stream, parts, eye) or _of_all(container, stream, parts, eye)
        except av.FFmpegError as error:
            raise Damaged(f"a frame cannot be decoded ({reason(error)}); check whether it plays") from error
        return Glance(
            lumas=tuple(map(brightness, eye.inside_bars(copies))),
            length_s=length_s,
            frames=frames or round(length_s * float(rate)),
            width_px=eye.size[0],
            height_px=eye.size[1],
        )


def brightness(copy: Copy) -> float:
    """Return the mean luma in [0, 1] of a small copy of a frame, as `Conversion.small` returns it."""
    return mean_luma(copy)


class _Eye:
    """What makes small copies of frames of one stream, and looks for black bars, which count for nothing."""

    def __init__(self, stream: VideoStream, hdr: Hdr) -> None:
        self._context, self._hdr = stream.codec_context, hdr
        self._conversion: Conversion | None = None
        self._bars, self._seen = Bars(), 0
        self._cut = Cutter(crop_of(stream))

    def __call__(self, frame: VideoFrame | None) -> Copy:
        """Return a copy of the signal that the curves act on. Raises Damaged."""
        if frame is None or frame.is_corrupt:
            raise Damaged("a frame is broken; check whether it plays")
        frame = self._cut(frame)
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
        self._bars.look([frame], self._seen)
        self._seen += APART
        return self._conversion.small(frame)

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of what shows of the frames that were looked at; 0 before any was."""
        return (self._conversion.width, self._conversion.height) if self._conversion else (0, 0)

    def inside_bars(self, copies: Sequence[Copy]) -> Sequence[Copy]:
        """Return what the copies show inside the bars of the video."""
        picture = self._bars.picture()
        if picture is None or self._conversion is None:
            return copies
        height, width, _ = copies[0].shape
        down, across = height / self._conversion.height, width / self._conversion.width
        rows = slice(ceil(picture.top * down), max(ceil(picture.top * down) + 1, int(picture.bottom * down)))
        columns = slice(ceil(picture.left * across), max(ceil(picture.left * across) + 1, int(picture.right * across)))
        return [copy[rows, columns] for copy in copies]


class _Spread:
    """Collector of copies that are evenly spread over a video whose length is not known before its end.

    `most`: frames between two of them, at most.
    """

    def __init__(self, most: int) -> None:
        self.copies: list[Copy] = []
        self._most, self._apart, self._due = most, 1, 0

    def is_due(self, count: int) -> bool:
        """Return whether it is time for another one. `count`: number of frames up to here."""
        return count >= self._due

    def add(self, copy: Copy, count: int) -> None:
        self.copies.append(copy)
        if len(self.copies) > 2 * LEAST and self._apart < self._most:
            self.copies, self._apart = self.copies[::2], min(2 * self._apart, self._most)
        self._due = count + self._apart


def _of_bare_stream(
    file: BinaryIO, container: InputContainer, stream: VideoStream, eye: _Eye, most: int
) -> tuple[list[Copy], int]:
    """Return copies of evenly spread keyframes and of the last, at most `most` frames apart, and the number of frames.

    If there are too few keyframes, all frames are decoded, and the copies are of any.
    """
    shows, spread, count, keyframes = Shows(stream.codec_context), _Spread(most), 0, 0
    last: list[Packet[Any]] = []
    is_new = False
    for packet in _checked(demuxed(container, stream), stream):
        is_shown = shows(packet)
        packet.pts = count
        if len(last) == 1 and packet.size:
            last.append(packet)
            if spread.is_due(count - 1):
                spread.add(eye(_decoded(last, stream)), count - 1)
                is_new = False
        if packet.is_keyframe and packet.size:
            last, is_new, keyframes = [packet], True, keyframes + 1
        count += is_shown
    if keyframes >= LEAST:
        return spread.copies + [eye(_decoded(last, stream))] * is_new, count
    spread, shown, number = _Spread(most), None, -1
    file.seek(0)
    with opened(file) as (container, again):
        for number, shown in enumerate(frames(demuxed(container, again), again.codec_context)):
            if spread.is_due(number):
                spread.add(eye(shown), number)
    return [*spread.copies, eye(shown)], number + 1


def _checked(packets: "Iterator[Packet[Any]]", stream: VideoStream) -> "Iterator[Packet[Any]]":
    """Yield the packets of a stream. Raises Damaged where its coding changes, as a decoder would give nothing there."""
    own = stream.codec_context.codec.canonical_name.replace("mpeg1", "mpeg2")  # which begin alike
    for packet in packets:
        found = coding_of(bytes(packet)) if packet.size else None
        if found not in (None, own):
            raise Damaged(f"its coding changes midway, from {own} to {found}")
        yield packet


def _counts_bytes(container: InputContainer) -> bool:
    """Return whether places are counted in bytes rather than in time, as times may restart within the file."""
    return bool(container.format.flags & DISCONTINUOUS)


def _seek(container: InputContainer, stream: VideoStream, place: int) -> None:
    by_bytes = _counts_bytes(container)
    container.seek(max(0, place) if by_bytes else place, stream=stream, unsupported_byte_offset=by_bytes)


def _targets(start: int, length: int, parts: int) -> list[int]:
    return [start + length * part // parts for part in range(parts)] + [start + length - 1]


def _of_keyframes(container: InputContainer, stream: VideoStream, parts: int, eye: _Eye) -> list[Copy]:
    """Return copies of the keyframes nearest to the ends of equal parts; nothing if there are too few keyframes.

    Parts are equal in time, or in bytes.
    """
    start, length = (0, container.size) if _counts_bytes(container) else extent(container, stream)
    copies: dict[tuple[int | None, ...], Copy] = {}
    places = []
    for target in _targets(start, length, parts):
        packets = _keyframe(container, stream, target)
        place = packets[0].pts, packets[0].dts, packets[0].pos
        places.append(place)
        if place not in copies:
            copies[place] = eye(_decoded(packets, stream))
    return [copies[place] for place in places] if len(copies) >= LEAST else []


def _of_all(container: InputContainer, stream: VideoStream, parts: int, eye: _Eye) -> list[Copy]:
    """Return copies of the frames that are shown at the ends of equal parts, or where times restart, and of the last.

    Decodes all frames.
    """
    left, copies, shown = _targets(*extent(container, stream), parts), list[Copy](), None
    _seek(container, stream, 0 if _counts_bytes(container) else left[0])
    stream.codec_context.flush_buffers()
    for frame in frames(demuxed(container, stream), stream.codec_context):
        if shown is not None and shown.pts is not None and frame.pts is not None:
            passed = sum(target < frame.pts for target in left)
            if passed or frame.pts < shown.pts:
                del left[:passed]
                copies += [eye(shown)] * max(1, passed)
        shown = frame
    return copies + [eye(shown)] * max(1, len(left))


def _keyframe(container: InputContainer, stream: VideoStream, target: int) -> "list[Packet[Any]]":
    """Return the keyframe nearest to a place, and the packet after it, if any. Raises Damaged where there is none.

    Where an index leads to it, it is the one before `target`; else the one after it or, at the end, the last.
    """
    second = BYTES_A_SECOND if _counts_bytes(container) else 1 / (stream.time_base or 1)
    for back_s in BACK_S:
        _seek(container, stream, target - int(back_s * second))
        found: list[Packet[Any]] = []
        packets = demuxed(container, stream)
        for packet in _checked(packets, stream) if _counts_bytes(container) else packets:
            if len(found) == 1:
                found.append(packet)
            if len(found) == 2 and not back_s:
                break
            if packet.is_keyframe and packet.size:
                found = [packet]
        if found:
            return found
    raise Damaged("no keyframe is where one should be; check whether it plays")


def _decoded(packets: "list[Packet[Any]]", stream: VideoStream) -> VideoFrame | None:
    """Decode a keyframe; the packet after it may be its second field."""
    context = stream.codec_context
    context.flush_buffers()
    found = list(frames(iter([*packets, Packet()]), context))
    context.flush_buffers()
    return next((frame for frame in found if frame.pts == packets[0].pts), found[0] if found else None)
