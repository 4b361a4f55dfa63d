"""Copying of streams as they are, and which of them each container takes."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from pipeline.video.reading.opening import is_cover, opened_container

ISO = ("mp4", "mov", "3gp")  # muxers of ISO/IEC 14496-12 and its relatives
COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}  # by FFmpeg's codec names
LAYOUTS = {1: "mono", 2: "stereo"}


def copied(output: OutputContainer, stream: Stream) -> Stream:
    """Add a stream for the same packets to the output. Raises ValueError or FFmpegError if it cannot hold them."""
    if not isinstance(stream, AudioStream):
        return output.add_stream_from_template(stream, opaque=True)
    if output.format.name == "matroska":
        try:
            return output.add_stream_from_template(stream, opaque=True)
        except ValueError:
            if stream.codec_context is None:
                raise
            # Matroska takes all audio that WAV can hold, which FFmpeg does not report
            copy = output.add_mux_stream("pcm_s16le", rate=stream.codec_context.sample_rate, time_base=stream.time_base)
            BitStreamFilterContext("null", stream, copy)  # copies the stream's parameters
            return copy
    sound = output.add_stream_from_template(stream, opaque=True)
    layout = stream.codec_context.layout
    if output.format.name in ISO and layout.name == f"{layout.nb_channels} channels":  # AVI does not name them
        if layout.nb_channels not in LAYOUTS:
            raise ValueError(f"the source does not say which channels its {layout.nb_channels} are")
        sound.codec_context.layout = LAYOUTS[layout.nb_channels]
    return sound


def holds(muxer: str, stream: Stream) -> bool:
    """Return whether a container takes a copy of the stream, by trying it out."""
    try:
        with av.open(BytesIO(), "w", format=muxer) as trial:
            copied(trial, stream).disposition = stream.disposition
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def without_cuts(packets: "Iterable[Packet[Any]]") -> "Iterator[Packet[Any]]":
    """Yield packets, without those that an edit list cuts out of streams other than video.

    The last one before a stream begins stays: decoders of sound need it.
    """
    begun: set[int] = set()
    primers: dict[int, Packet[Any]] = {}
    for packet in packets:
        index = packet.stream_index
        if not packet.is_discard or packet.stream.type == "video":
            begun.add(index)
            if index in primers:
                yield primers.pop(index)
            yield packet
        elif index not in begun:
            primers[index] = packet


def is_written_anew(stream: Stream, muxer: str, *, chapters: bool) -> bool:
    """Return whether the muxer writes this anew: QuickTime's chapter texts, or a timecode also held by metadata."""
    if stream.type != "data":
        return False
    is_timecode = "timecode" in stream.metadata and muxer in (*ISO, "matroska")
    return is_timecode or (chapters and stream.discard == Discard.all)


def cover_images(source: BinaryIO) -> dict[int, bytes]:
    """Read the cover images, by the index of their streams."""
    with opened_container(source) as container:
        covers = [stream for stream in container.streams.video if is_cover(stream)]
        packets = container.demux(covers) if covers else iter(())
        found = {packet.stream_index: bytes(packet) for packet in islice(packets, len(covers)) if packet.size}
    source.seek(0)
    return found


def attach_cover(output: OutputContainer, stream: Stream, image: bytes) -> None:
    """Attach a cover image as Matroska stores them."""
    name, mimetype = COVERS.get(getattr(stream, "name", ""), COVERS["mjpeg"])
    told = stream.metadata
    output.add_attachment(told.get("filename", name), told.get("mimetype", mimetype), image)


def named(stream: Stream) -> str:
    name = getattr(stream, "name", None)  # of its codec; None if FFmpeg does not know it
    return f"{stream.type} stream {stream.index} ({', '.join(filter(None, (name, stream.language)))})"
