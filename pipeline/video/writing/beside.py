"""Packets of the streams beside the video, on their way from the source to the output."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import av
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from pipeline.video.reading.opening import demuxed, opened_with_all, reason
from pipeline.video.reading.probe import Recording, VideoInfo
from pipeline.video.structure.encryption import check_encryption
from pipeline.video.writing.copied_streams import named, without_cuts
from pipeline.video.writing.monotonic_dts import with_dts
from pipeline.video.writing.uncompressed_sound import PcmSound


class Beside:
    """Reader of the streams beside the video, in one recording after the other.

    `original`: the open source, or its first recording. `copies`, `sounds`: streams of the output, by the index of
    their originals. `info`: of the whole video. `notes`: get a sentence for what is lost.
    """

    def __init__(
        self,
        original: InputContainer,
        copies: dict[int, Stream],
        sounds: dict[int, PcmSound],
        info: VideoInfo,
        notes: list[str],
    ) -> None:
        self._original, self._copies, self._sounds, self._info = original, copies, sounds, info
        self._notes = notes

    def packets(self, source: BinaryIO) -> "Iterator[Packet[Any]]":
        """Yield the packets of the output. `source`: of which further recordings are read."""
        wanted = {index: index for index in self._copies | self._sounds}
        first, *later = self._info.recordings or (None,)
        yield from self._moved(self._original, wanted, first)
        for number, recording in enumerate(later, 2):
            part = recording.stretch.of(source)
            encrypted = check_encryption(part)
            with opened_with_all(part, recording.info.streams) as container:
                wanted = self._counterparts(container, recording, number, encrypted)
                yield from self._moved(container, wanted, recording)

    def _counterparts(
        self, container: InputContainer, recording: Recording, number: int, encrypted: frozenset[int]
    ) -> dict[int, int]:
        """Return which streams of a later recording continue which of the first, by index, and note those that do not.

        They have the same kind and coding; of several, the one with the same ID in the file, or else the first.
        `encrypted`: see `check_encryption`.
        """
        found: dict[int, int] = {}
        for stream in container.streams:
            if stream.index == recording.info.stream:
                continue
            if stream.id in encrypted:
                self._notes.append(f"{named(stream)} of recording {number} is left out: it is encrypted (DRM)")
                continue
            alike = [
                index
                for index in self._copies | self._sounds
                if index not in found.values() and _coding(self._original.streams[index]) == _coding(stream)
            ]
            alike.sort(key=lambda index: self._original.streams[index].id != stream.id)
            if alike:
                found[stream.index] = alike[0]
            elif stream.type in ("audio", "subtitle"):
                self._notes.append(
                    f"{named(stream)} of recording {number} is left out: the first has none coded like it"
                )
        return found

    def _moved(
        self, container: InputContainer, wanted: dict[int, int], recording: Recording | None
    ) -> "Iterator[Packet[Any]]":
        """Yield the packets of one recording, or of the whole file. `wanted`: index there -> index in the original.

        Streams left out are not even read if the container allows that. If reading fails, what came before is kept.
        """
        info, offset_s = (recording.info, recording.offset_s) if recording else (self._info, 0)
        for stream in container.streams:
            if stream.index not in wanted:
                stream.discard = Discard.all
        streams = [each for each in container.streams if each.index in wanted and each.type != "attachment"]
        packets = self._read(demuxed(container, *streams)) if streams else iter(())
        for packet in with_dts(info.shift.through(each for each in without_cuts(packets) if each.size)):
            offset = round(offset_s / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + offset
            packet.dts = None if packet.dts is None else packet.dts + offset
            index = wanted[packet.stream_index]
            if index in self._sounds:
                yield from self._sounds[index].packets(packet)
                continue
            packet.stream = self._copies[index]
            if packet.stream.disposition & Disposition.attached_pic:
                packet.pts = packet.dts = packet.pts or 0
            yield packet

    def _read(self, packets: "Iterator[Packet[Any]]") -> "Iterator[Packet[Any]]":
        try:
            yield from packets
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self._notes.append(f"damaged: the streams beside the video cannot be read to their end ({reason(error)})")


def _coding(stream: Stream) -> tuple[Any, ...]:
    """Return what streams must share so that the packets of one can follow those of the other."""
    context = stream.codec_context
    if not isinstance(context, AudioCodecContext):
        return stream.type, getattr(stream, "name", None)
    return stream.type, context.name, context.sample_rate, context.layout.nb_channels, context.extradata
