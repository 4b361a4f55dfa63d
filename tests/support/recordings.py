"""Videos as cameras, recorders and broadcasters write them: in old containers, or without any."""

from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from pipeline.process import scheduling_kept
from tests.support.clips import X264, street

SOUND_HZ = 48000


@scheduling_kept()
def recording(
    muxer: str,
    codec: str,
    sound: str = "",
    *,
    frames: int = 12,
    rate: Fraction = Fraction(25),
    size: tuple[int, int] = (64, 48),
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    channels: str = "mono",
    grain: float = 0.0,
) -> bytes:
    """A dim street with a tone. `codec`, `sound`: FFmpeg's names; "": none. `size`: width and height.

    `grain`: standard deviation of noise, in levels of 8 bits, which makes frames large.
    """
    file = BytesIO()
    with av.open(file, "w", format=muxer) as output:
        coding = X264 | (options or {}) if codec == "libx264" else options or {}
        stream: Any = output.add_stream(codec, rate=rate, options=coding) if codec else None
        if codec:
            stream.width, stream.height, stream.pix_fmt = *size, pixel_format
            stream.codec_context.gop_size, stream.codec_context.thread_count = 6, 1
        tones: Any = output.add_stream(sound, rate=SOUND_HZ, layout=channels) if sound else None
        for number in range(frames if codec else 0):
            pixels = street(number, *size)
            if grain:
                noise = np.random.default_rng(number).normal(0, grain, pixels.shape)
                pixels = (pixels + noise).clip(0, 255).astype(np.uint8)
            frame = VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, 1 / rate
            output.mux(stream.encode(frame))
        if codec:
            output.mux(stream.encode())
        if tones is not None:
            count = round(frames / rate * SOUND_HZ)
            tone = (8000 * np.sin(0.05 * np.arange(count))).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, 0, Fraction(1, SOUND_HZ)
            output.mux(tones.encode(frame))
            output.mux(tones.encode())
    return file.getvalue()


def dahua(frames: int = 12, rate: int = 25) -> bytes:
    """H.264 in the container of Dahua's recorders (`.dav`), of which FFmpeg only reads."""
    parts = []
    with av.open(BytesIO(recording("h264", "libx264", frames=frames, options={"bf": "0"}))) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            extension = bytes((0x80, 0, 64 // 8, 48 // 8, 0x81, 0, 2, rate))  # size; H.264 and the frame rate
            length = 24 + len(extension) + packet.size + 8
            head = b"DHAV" + bytes((0xFD if packet.is_keyframe else 0xFC, 0, 0, 0))
            head += number.to_bytes(4, "little") + length.to_bytes(4, "little") + bytes(4)
            head += (1000 * number // rate).to_bytes(2, "little") + bytes((len(extension), 0))
            parts.append(head + extension + bytes(packet) + b"dhav" + length.to_bytes(4, "little"))
    return b"".join(parts)


def with_dvd_subtitle(vob: bytes, at_packet: int = 0) -> bytes:
    """The same program stream with a subtitle behind a packet of the video, numbered from 0."""
    unit = bytes.fromhex("0026 0008 00010001 0000 0020 01 033210 04fff0 05000007000001 0600040006 ff 0032 0020 02ff")
    file, number = BytesIO(), -1
    with av.open(BytesIO(vob)) as source, av.open(file, "w", format="vob") as output:
        copies = {
            stream.index: output.add_stream_from_template(stream) for stream in source.streams if stream.type != "data"
        }
        subtitles = output.add_mux_stream("dvd_subtitle", time_base=Fraction(1, 90000))
        for packet in source.demux():
            if packet.dts is None or packet.stream_index not in copies:
                continue
            number += packet.stream.type == "video"
            at = packet.dts
            packet.stream = copies[packet.stream_index]
            output.mux(packet)
            if number == at_packet:
                number += 1000
                subtitle = Packet(unit)
                subtitle.pts = subtitle.dts = at + 900
                subtitle.time_base, subtitle.duration, subtitle.stream = Fraction(1, 90000), 45000, subtitles
                output.mux(subtitle)
    return file.getvalue()
