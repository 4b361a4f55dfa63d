"""Videos made by code, through PyAV. Nothing here uses the code under test, but for what keeps SVT-AV1 in its place."""

from collections.abc import Callable, Collection, Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from pipeline.process import scheduling_kept

Samples = npt.NDArray[Any]

SOUND_HZ = 16000
X264 = {"preset": "veryfast", "crf": "18"}


def street(number: int, width: int = 96, height: int = 64, *, seed: int = 0, level: float = 1.0) -> Samples:
    """Frame `number` of a dim street under a slow pan, with noise and lamps, HxWx3 uint8. `seed`: another street."""
    rng = np.random.default_rng(seed)
    wide = rng.normal(0, 1, (6, 10, 3)).repeat(40, 0).repeat(40, 1)[:, :]
    y, x = np.mgrid[:height, :width]
    scene = 26 + 9 * wide[(y * 200 // height) % 240, (x * 300 // width + number) % 400]
    for at in rng.uniform(0, 1, (3, 2)):
        scene = scene + 200 * np.exp(-(((x / width - at[0]) ** 2 + (y / height - at[1]) ** 2) / 0.003))[..., None]
    noise = np.random.default_rng(1000 * seed + number).normal(0, 1.5, scene.shape)
    return np.asarray((scene * level + noise).clip(0, 255).round(), np.uint8)


def streets(count: int, **shape: Any) -> list[Samples]:
    return [street(number, **shape) for number in range(count)]


@scheduling_kept()
def clip(
    frames: Sequence[Samples],
    container: str = "mp4",
    codec: str = "libx264",
    *,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    rate: int = 25,
    pixel_format: str = "yuv420p",
    gop: int = 10,
    params: str = "",
    extras: "Sound | None" = None,
    **properties: Any,
) -> bytes:
    """RGB frames, coded. `params`: in the words of x264 or x265. `properties`: of the codec context."""
    file = BytesIO()
    with av.open(file, "w", format=container, container_options=extras.options if extras else {}) as output:
        options = dict(X264) if codec in ("libx264", "libx265") else {}
        if codec == "libx265":
            params = f"log-level=none:{params}"
        if params:
            options["x265-params" if codec == "libx265" else "x264-params"] = params
        stream: Any = output.add_stream(codec, rate=rate, options=options, time_base=time_base)
        height, width = frames[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.gop_size, stream.codec_context.thread_count = gop, 1
        matrix = properties.pop("display_matrix", None)
        if matrix:
            stream.set_display_matrix(matrix)
        interlaced = properties.pop("interlaced", False)
        for name, value in properties.items():
            setattr(stream.codec_context, name, value)
        sound = extras.streams(output) if extras else []
        step = round(1 / Fraction(rate) / time_base)
        for number, pixels in enumerate(frames):
            frame = VideoFrame.from_ndarray(pixels, "rgb24" if pixels.dtype == np.uint8 else "rgb48le")
            frame = frame.reformat(format=pixel_format, dst_colorspace=1, dst_color_range=properties.get("color_range"))
            frame.pts, frame.time_base = (pts[number] if pts else number * step), time_base
            for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
                if name in properties:
                    setattr(frame, name, properties[name])
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if extras:
            extras.fill(output, sound)
        assert not interlaced or "tff" in params
    return file.getvalue()


class Sound:
    """Sound tracks, subtitles, chapters and metadata to put beside a picture."""

    def __init__(
        self,
        languages: Sequence[str] = ("eng",),
        *,
        seconds: float = 1.0,
        subtitles: str | None = None,
        metadata: dict[str, str] | None = None,
        chapters: bool = False,
        attachment: bytes | None = None,
        options: dict[str, str] | None = None,
    ) -> None:
        self.languages, self.seconds, self.subtitles = languages, seconds, subtitles
        self.metadata, self.chapters, self.attachment = metadata or {}, chapters, attachment
        self.options = options or {}

    def streams(self, output: Any) -> list[Any]:
        output.metadata.update(self.metadata)
        streams = []
        for number, language in enumerate(self.languages):
            stream = output.add_stream("aac", rate=SOUND_HZ, layout="mono")
            stream.metadata["language"] = language
            stream.disposition = av.stream.Disposition.default if number == 0 else av.stream.Disposition.comment
            streams.append(stream)
        if self.subtitles:
            stream = output.add_stream(self.subtitles)
            stream.metadata["language"] = "fre"
            stream.codec_context.time_base = Fraction(1, 1000)
            streams.append(stream)
        if self.chapters:
            middle = round(self.seconds * 500)
            output.set_chapters(
                [
                    {"id": 1, "start": 0, "end": middle, "time_base": Fraction(1, 1000), "metadata": {"title": "Dusk"}},
                    {
                        "id": 2,
                        "start": middle,
                        "end": 2 * middle,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": "Night"},
                    },
                ]
            )
        if self.attachment:
            output.add_attachment("lamp.ttf", "font/ttf", self.attachment)
        return streams

    def fill(self, output: Any, streams: list[Any]) -> None:
        for number, stream in enumerate(streams[: len(self.languages)]):
            for at in range(0, round(self.seconds * SOUND_HZ), 1024):
                tone = np.sin((np.arange(1024) + at) * 0.05 * (number + 1)).astype(np.float32)[None]
                frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
                frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, at, Fraction(1, SOUND_HZ)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())


def packets(coded: bytes | Path, kind: str) -> list[list[tuple[Fraction, bytes]]]:
    """For each stream of a kind: the time and content of every packet, in the order of time."""
    with av.open(BytesIO(coded) if isinstance(coded, bytes) else str(coded)) as container:
        found: dict[int, list[tuple[Fraction, bytes]]] = {
            stream.index: [] for stream in container.streams if stream.type == kind
        }
        for packet in container.demux():
            if packet.size and packet.stream_index in found:
                found[packet.stream_index].append(((packet.pts or 0) * packet.time_base, bytes(packet)))
    return [sorted(each) for each in found.values()]


def times(coded: bytes | Path) -> list[Fraction]:
    """Of the frames of the first video stream that come out of a decoder."""
    with av.open(BytesIO(coded) if isinstance(coded, bytes) else str(coded)) as container:
        return [(frame.pts or 0) * Fraction(frame.time_base or 1) for frame in container.decode(video=0)]


def pictures(coded: bytes | Path) -> Iterator[VideoFrame]:
    with av.open(BytesIO(coded) if isinstance(coded, bytes) else str(coded)) as container:
        yield from container.decode(video=0)


def rgb(coded: bytes | Path) -> list[Samples]:
    return [frame.to_ndarray(format="rgb24") for frame in pictures(coded)]


def remuxed(
    content: bytes, container: str, change: Callable[[int, "av.Packet[Any]"], "av.Packet[Any] | None"]
) -> bytes:
    """The same video with its packets changed or replaced; they are numbered in the order of decoding."""
    file = BytesIO()
    with av.open(BytesIO(content)) as source, av.open(file, "w", format=container) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            changed = change(number, packet)
            packet = packet if changed is None else changed
            packet.stream = stream
            output.mux_one(packet)
    return file.getvalue()


def lacking(content: bytes, numbers: Collection[int]) -> bytes:
    """In MPEG-TS, with these packets' pts left out."""

    def drop(number: int, packet: "av.Packet[Any]") -> None:
        packet.pts = None if number in numbers else packet.pts

    return remuxed(content, "mpegts", drop)
