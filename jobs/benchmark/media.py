"""Generated night photos and clips to measure on, with detail at every scale, lamps and sensor noise."""

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

NOISE = 5.0  # in levels of 8 bits: a photo of 12 megapixels is then about as large a file as a phone's
QUALITY = 92
OCTAVES = 8
LAMPS = 12

Pixels = npt.NDArray[np.uint8]


def night_pixels(width: int, height: int, seed: int = 0) -> Pixels:
    """Generate a mostly dark image, HxWx3."""
    random = np.random.default_rng(seed)
    scene = np.zeros((height, width), np.float32)
    for octave in range(OCTAVES):  # each of half the size and half the strength of the one before
        cells = 2 ** (octave + 2)
        field = random.normal(0, 1, (max(2, cells * height // max(width, height)), cells)).astype(np.float32)
        scene += np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC)) / 2**octave
    light = np.exp(0.8 * scene - 2.6)[..., None] * np.array([1.0, 0.9, 0.75], np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(width, height)
    for lamp_y, lamp_x in random.random((LAMPS, 2)):
        light += (0.002 / (0.002 + 40 * ((y - lamp_y * height / width) ** 2 + (x - lamp_x) ** 2)))[..., None]
    noise = random.normal(0, NOISE, light.shape).astype(np.float32)
    pixels: Pixels = (255 * light.clip(0, 1) + noise).round().clip(0, 255).astype(np.uint8)
    return pixels


def night_jpeg(width: int, height: int, seed: int = 0) -> bytes:
    """Generate a photo as JPEG, quality 92, 4:2:0."""
    buffer = BytesIO()
    Image.fromarray(night_pixels(width, height, seed)).save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def night_clip(path: Path, width: int, height: int, frames: int) -> None:
    """Write a clip as H.264 in MP4, 25 frames a second: a slow pan, with new noise in every frame."""
    margin = 2 * frames
    scene = night_pixels(width + margin, height)
    random = np.random.default_rng(1)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "20", "preset": "fast", "asm": "avx2"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            noise = random.integers(-3, 4, (height, width, 3), np.int16)
            image = (scene[:, 2 * index : 2 * index + width] + noise).clip(0, 255).astype(np.uint8)
            output.mux(stream.encode(VideoFrame.from_ndarray(image)))
        output.mux(stream.encode())
