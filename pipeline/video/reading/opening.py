"""Opening of media files for reading: the video stream is chosen, and no other file is touched."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, dropwhile
from typing import Any, BinaryIO, NoReturn, cast

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import Damaged, EmptyFile, NotMedia, NoVideo, SoundOnly, TooLarge
from pipeline.video.structure.facts import hides_all
from pipeline.video.structure.iso_samples import check_samples

# Demuxers of lists: they would open the files that are listed.
PLAYLISTS = frozenset({"concat", "dash", "hls", "imf", "sdp", "rtsp"})
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders drop alpha
DEFAULT_PX = 5_000_000  # that a default stream may be smaller than another and still be the main one
JPEG, NEXT_JPEG = b"\xff\xd8\xff", re.compile(rb"\xff\xd9\0*\xff\xd8\xff")
LARGEST_JPEG_BYTES = 1 << 24  # that is searched for where the next one begins
PROBED_BYTES = (0, 1 << 25, 1 << 28)  # to find streams that begin late
LONGEST_US = 1 << 48  # longer than any video
SEQUENCE_HEADER = b"\0\0\1\xb3"
LARGEST_PX = 1 << 28  # per frame; FFmpeg decodes no larger ones
NO_PROTOCOL = {"protocol_whitelist": "none"}  # for demuxers that open other files without `io_open`


@contextmanager
def opened(file: BinaryIO, max_pixels: int = LARGEST_PX) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a container and choose its main video, which is no cover image, as FFmpeg does. Decodes on one thread.

    `file`: seekable. `max_pixels`: limit per frame; larger frames are not decoded, even if they come later.
    Raises EmptyFile, NotMedia (unknown format, cut short, or a playlist), NoVideo, TooLarge, Damaged.
    """
    with _video(file, max_pixels) as (container, stream):
        if stream.width and stream.height:
            yield container, stream
            return
    file.seek(0)
    with _video(file, LARGEST_PX) as (container, stream):  # some codecs do not report a size that was refused
        _check_size(stream, max_pixels)
        yield container, stream


@contextmanager
def _video(file: BinaryIO, max_pixels: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    limit = {"max_pixels": str(max_pixels)}
    with opened_container(file, limit) as container:
        streams = [stream for stream in container.streams.video if stream.codec_context and not is_cover(stream)]
        if not streams:
            raise _no_video(container)
        stream = max(streams, key=_worth)
        _check_size(stream, max_pixels)
        stream.codec_context.options = limit
        stream.codec_context.thread_count = 1  # files are read in parallel instead
        yield container, stream


def _no_video(container: InputContainer) -> NoVideo:
    others = [stream for stream in container.streams if not (isinstance(stream, VideoStream) and is_cover(stream))]
    if others and all(stream.type in ("audio", "subtitle") for stream in others):
        return SoundOnly("it holds sound without video; --others copy copies it")
    return NoVideo("it contains no video that can be decoded")


def _worth(stream: VideoStream) -> int:
    """Return by how much a stream is the main one, as FFmpeg counts: default ones first, then those of more pixels."""
    return stream.width * stream.height + (DEFAULT_PX if stream.disposition & Disposition.default else 0)


def _check_size(stream: VideoStream, max_pixels: int) -> None:
    if stream.width * stream.height > max_pixels:
        raise TooLarge(
            f"its frames have {stream.width}x{stream.height} pixels, more than {max_pixels}; raise --max-frame-pixels"
        )


def announced_px(file: BinaryIO) -> float:
    """Return the pixels of all frames together that the header announces; 0 if it does not. Raises as `opened`."""
    with opened(file) as (container, stream):
        seconds = (container.duration or 0) / av.time_base
        return seconds * float(stream.average_rate or 0) * stream.width * stream.height


@contextmanager
def opened_container(
    file: BinaryIO, options: Mapping[str, str] | None = None, *, probed_bytes: int = 0
) -> Iterator[InputContainer]:
    """Open any container, whatever its streams. Metadata that is not UTF-8 is read with its bytes escaped.

    `options`: for the decoders that probe it. `probed_bytes`: searched for streams where the container does not list
    them, and held in memory; 0: as many as FFmpeg takes by itself. Raises EmptyFile, NotMedia, Damaged (more samples
    than bytes).
    """
    if not file.read(1):
        raise EmptyFile("it has 0 bytes; copy the file again or remove it")
    check_samples(file)
    try:
        container = av.open(
            file,
            "r",
            format="mjpeg" if _is_motion_jpeg(file) else None,  # which FFmpeg may take for a photo
            options=dict(options or {}),
            container_options=NO_PROTOCOL | (_probing(probed_bytes) if probed_bytes else {}),
            metadata_errors="backslashreplace",
            io_open=_refused,
        )
    except MemoryError:
        raise
    except (av.FFmpegError, NotMedia) as error:
        if hides_all(file):
            raise Damaged(
                "its crop (PixelCrop) hides all of it; take the crop out, for example with mkvpropedit"
            ) from error
        raise NotMedia(f"not a video, or cut short ({reason(error)}); copy the file again or leave it out") from error
    with container:
        if PLAYLISTS & set(container.format.name.split(",")):
            raise NotMedia(
                f"a playlist ({container.format.name}), which nightlift does not follow; give the videos themselves"
            )
        if container.format.name == "image2" or container.format.name.endswith("_pipe"):
            raise NotMedia("an image, not a video; give it the extension of its format and use `nightlift images`")
        yield container


@contextmanager
def entered(
    file: BinaryIO, index: int, keyframes: Sequence[int], at: int, max_pixels: int = LARGEST_PX
) -> "Iterator[tuple[VideoStream, Iterator[Packet[Any]]]]":
    """Open a video stream and its packets from the `at`-th of `keyframes` (pts, ascending) or an earlier one on.

    If `at` is negative, packets start at the beginning of the file. A container without an index (MPEG-TS) may be
    entered after the wanted keyframe; it is then entered earlier, in growing steps.
    """
    known, wanted, step = frozenset(keyframes), at, 1
    while True:
        file.seek(0)
        with opened(file, max_pixels) as (container, _):
            stream = next(stream for stream in container.streams.video if stream.index == index)
            packets: Iterator[Packet[Any]] = demuxed(container, stream)
            if at < 0:
                yield stream, packets
                return
            container.seek(keyframes[at], stream=stream)
            packets = dropwhile(lambda packet: not packet.is_keyframe or packet.pts not in known, packets)
            first = next(packets, None)
            if first is not None and first.pts is not None and first.pts <= keyframes[wanted]:
                yield stream, chain([first], packets)
                return
        at, step = at - step, 2 * step


def frames(packets: "Iterator[Packet[Any]]", context: VideoCodecContext) -> Iterator[VideoFrame]:
    """Yield the frames that can be decoded. A broken packet gives none; if reading fails, the video ends there."""
    size = b""
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except av.FFmpegError:
            packet = Packet()  # flushes the decoder
            packets = iter(())
        if packet is None:
            return
        try:
            if context.codec.canonical_name == "mpeg2video" and (new := _mpeg2_size(packet)):
                if new != size != b"":  # FFmpeg's decoder would drop the frame that it holds
                    yield from context.decode(None)
                    context.flush_buffers()
                size = new
            yield from context.decode(packet)
        except MemoryError:  # not a damaged file
            raise
        except av.FFmpegError:
            continue


def _mpeg2_size(packet: "Packet[Any]") -> bytes:
    """Return the bytes of a sequence header that state the size (ITU-T H.262, 6.2.2.1), or none if it has none."""
    content = bytes(packet) if packet.is_keyframe else b""
    return content.partition(SEQUENCE_HEADER)[2][:3]


def decoder(stream: VideoStream) -> VideoCodecContext:
    """Return the decoder for the stream's packets: one that decodes alpha, if the stream has any."""
    name = ALPHA_DECODERS.get(stream.codec_context.codec.canonical_name)
    told = {key.lower(): value for key, value in stream.metadata.items()}
    if name is None or told.get("alpha_mode") != "1":
        return stream.codec_context
    context: Any = CodecContext.create(name, "r")
    context.options = stream.codec_context.options
    context.extradata = stream.codec_context.extradata
    return cast(VideoCodecContext, context)


def is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def reason(error: Exception | None) -> str:
    """Return FFmpeg's description of an error."""
    return getattr(error, "strerror", None) or str(error or "it ends before its first frame")


@contextmanager
def opened_with_all(file: BinaryIO, streams: int) -> Iterator[InputContainer]:
    """Open any container so that all of its `streams` are known, also those that begin late: subtitles of a DVD.

    Fewer are known if some begin too late to hold in memory what comes before them. Raises as `opened_container`.
    """
    for probed_bytes in PROBED_BYTES:
        file.seek(0)
        with opened_container(file, probed_bytes=probed_bytes) as container:
            if len(container.streams) >= streams or probed_bytes == PROBED_BYTES[-1]:
                yield container
                return


def _probing(probed_bytes: int) -> dict[str, str]:
    return {"probesize": str(probed_bytes), "analyzeduration": str(LONGEST_US)}


def demuxed(container: InputContainer, *streams: Stream) -> "Iterator[Packet[Any]]":
    """Yield the packets of these streams, or of all, that were known when the container was opened."""
    try:
        yield from container.demux(*streams)
    except IndexError:  # PyAV, at the end, where further streams have begun later
        return


def _is_motion_jpeg(file: BinaryIO) -> bool:
    """Return whether a file begins with two JPEGs, one right behind the other. Goes back to its beginning."""
    file.seek(0)
    is_jpeg = file.read(len(JPEG)) == JPEG
    found = is_jpeg and NEXT_JPEG.search(file.read(LARGEST_JPEG_BYTES)) is not None
    file.seek(0)
    return found


def _refused(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    raise NotMedia(f"it refers to another file, {url}, which nightlift does not open")
