"""Sound in codings of one container only (LPCM of DVDs, ADPCM of cameras), written as common PCM, without loss."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

CODINGS = ("pcm_", "adpcm_")  # beginnings of FFmpeg's names of codecs whose samples PCM holds exactly
ENCODERS = {"u8": "pcm_u8", "s16": "pcm_s16le", "s32": "pcm_s24le"}  # by sample format; decoders give 24 bits as 32


class PcmSound:
    """A stream of PCM that is made of another stream's packets. Counts packets that cannot be decoded."""

    def __init__(self, output: OutputContainer, original: Stream) -> None:
        self.original, self.broken = original, 0
        self.stream = _added(output, original)

    def packets(self, packet: "Packet[Any]") -> "Iterator[Packet[Any]]":
        """Yield what a packet of the original becomes."""
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            self.broken += 1
            return
        for frame in frames:
            yield from self.stream.encode(frame)

    def notes(self) -> list[str]:
        """Return what differs from the original, in sentences."""
        before, after = (each.codec_context.name if each.codec_context else "" for each in (self.original, self.stream))
        made = f"audio stream {self.original.index} ({before}) is written as {after}, with the same samples"
        lost = f"damaged: audio stream {self.original.index}: {self.broken} packets cannot be decoded"
        return [made] * (before != after) + [lost] * bool(self.broken)


def is_possible(muxer: str, stream: Stream) -> bool:
    """Return whether the container takes PCM, and the stream can become that."""
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return False
    if not stream.codec_context.name.startswith(CODINGS):
        return False
    try:
        with av.open(BytesIO(), "w", format=muxer) as trial:
            _added(trial, stream)
            trial.start_encoding()
    except (av.FFmpegError, ValueError, KeyError):
        return False
    return True


def _added(output: OutputContainer, original: Stream) -> Any:
    context: Any = original.codec_context
    encoder = "pcm_s32le" if "32" in context.name else ENCODERS[context.format.name.removesuffix("p")]
    return output.add_stream(encoder, rate=context.sample_rate, layout=context.layout)
