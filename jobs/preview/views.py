"""What a preview is made of: pictures to show, and the curve maps and cells of each, for photos and frames of videos.

Whoever shows them cleans them, takes the steps of the curve and holds it back, at any number of iterations and any
strength. The maps and cells are those that a job of 8 iterations at strength 1 applies, and three things in them depend
on these two: how far a bright scene's maps are weakened (`model/noise/level.py`), how much noise is smoothed
(`model/noise/cleaning.py`), and by how much the light of a video's frame is steadied
(`pipeline/video/enhancing/smoothing.py`).

Cells are those of the full picture: they act on means of its pixels as they do on the pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch.nn.functional as F
from av.video.frame import VideoFrame
from PIL import Image

from model import Checkpoint, Coding, CurveMaps, Enhancer, Look, Space, reduction_factor
from model.full_size.cpu import Cells
from model.full_size.reduce import reduce_pixels
from pipeline.errors import TooLarge
from pipeline.images import decode
from pipeline.images.photo import to_8_bits
from pipeline.photos import MAX_PIXELS
from pipeline.storage.storage import Storage
from pipeline.video import Segment, VideoInfo, probe
from pipeline.video.enhancing.enhance import Clock, Enhancement
from pipeline.video.enhancing.planes import coding, samples
from pipeline.video.enhancing.smoothing import ESTIMATE_EVERY, Window
from pipeline.video.signal.color import SDR, Conversion

PHOTO_PX, FRAME_PX = 4096, 1280  # long side of what is shown; what is larger is reduced by a whole factor
MOST_ESTIMATE_PX = 1024  # of curve maps that are sent: larger ones would be of the photo's own size
CELL_PX = 2  # along each side of a cell, of pixels that are shown: smaller ones are averaged before they are sent
CELLS_OF_LAYER = 3  # planes of cells in a layer of their texture
FRAME_QUALITY = 92  # of JPEG

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Maps:
    """Curve maps as textures hold them."""

    values: npt.NDArray[np.float16]
    """KxHxWxM, in [-1, 1]; M is 3, or 1 for all channels alike, or 2: of shade and of light."""
    span: tuple[float, float]
    """Which part of the maps lies over the picture, across and down: 1, or less where the last boxes stick out."""
    capped: bool
    """Whether a job's maps are finer: these were estimated at MOST_ESTIMATE_PX."""
    space: Space
    """What the curve acts on."""

    @classmethod
    def of(cls, maps: CurveMaps, width: int, height: int, estimator: "Estimator") -> "Maps":
        """Of an image of this size: the maps of the first pass."""
        maps_KHWM = maps.passes[0][0].permute(0, 2, 3, 1).to(device="cpu").numpy().astype(np.float16)
        _, rows, columns, _ = maps_KHWM.shape
        span = width / (maps.factor * columns), height / (maps.factor * rows)
        is_capped = estimator.is_capped and max(width, height) > MOST_ESTIMATE_PX
        return cls(maps_KHWM, span, is_capped, estimator.enhancer.space)


@dataclass(frozen=True, slots=True)
class CellMaps:
    """Cells as textures hold them: what cleans a picture before the curve and holds the curve back after it."""

    values: npt.NDArray[np.float16]
    """2xhxwx3: in layers of three, the six numbers of `model.cleaning.Cell`."""
    span: tuple[float, float]
    """As of maps."""
    black: float
    """Luma that nothing is lifted below."""

    @classmethod
    def of(cls, cells: Cells, width: int, height: int, factor: int) -> "CellMaps":
        """Convert those of a full picture of this size. `factor`: by which it is reduced to be shown."""
        cells = _averaged(cells, CELL_PX * factor)
        layers_LPhw = cells.planes[0].unflatten(0, (-1, CELLS_OF_LAYER))
        _, _, rows, columns = layers_LPhw.shape
        values_LhwP = layers_LPhw.permute(0, 2, 3, 1).to(device="cpu").numpy().astype(np.float16)
        return cls(values_LhwP, (width / (cells.side * columns), height / (cells.side * rows)), cells.black)


def _averaged(cells: Cells, least_side: int) -> Cells:
    """Average cells whose sides are shorter than that many pixels."""
    count = -(-least_side // cells.side)
    if count == 1:
        return cells
    return Cells(F.avg_pool2d(cells.planes, count, ceil_mode=True), cells.side * count, cells.black)


class Estimator:
    """A network at one estimate size, as a preview uses it: the curve's own strength and steps are left open."""

    def __init__(self, checkpoint: Checkpoint, estimate_px: int | None) -> None:
        """`estimate_px`: long side of the reduced copy; None, or one too large to be sent, becomes MOST_ESTIMATE_PX."""
        self.is_capped = estimate_px is None or estimate_px > MOST_ESTIMATE_PX
        size = MOST_ESTIMATE_PX if estimate_px is None else min(estimate_px, MOST_ESTIMATE_PX)
        self.enhancer = Enhancer(checkpoint, Look(), estimate_size=size)

    def cells(self, pixels: npt.NDArray[Any], maps: CurveMaps) -> Cells:
        """Compute what cleans a picture under its maps."""
        cells = self.enhancer.cells(pixels, maps)
        assert cells is not None  # the default look cleans
        return cells

    def cells_of_frame(
        self, frame: VideoFrame, conversion: Conversion, coding: Coding | None, maps: CurveMaps
    ) -> Cells:
        """Likewise of a frame, from what a job takes them from. `coding`: of the planes that a job would write."""
        if coding is None or not conversion.keeps(frame):
            return self.cells(conversion.rgb(frame), maps)
        cells = self.enhancer.cells_of_planes(samples(frame, coding)[:3], frame.width, coding, maps)
        assert cells is not None  # the default look cleans
        return cells


@dataclass(frozen=True, slots=True)
class PhotoPreview:
    """A photo, decoded as the job decodes it; of an animation the first frame."""

    pixels: npt.NDArray[Any]
    """HxWx3 or HxWx1, uint8 or uint16."""
    notes: list[str]

    @classmethod
    def of(cls, storage: Storage, url: str) -> "PhotoPreview":
        """Raises StorageError, MediaError."""
        try:
            photo = decode(storage.read(url), max_pixels=MAX_PIXELS)
        except TooLarge as error:
            raise TooLarge(f"it has more than {MAX_PIXELS:,} pixels, too many to be shown here") from error
        return cls(photo.frames[0].pixels, photo.notes)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def factor(self) -> int:
        """By which it is reduced to be shown."""
        return reduction_factor(self.pixels.shape[0], self.pixels.shape[1], PHOTO_PX)

    @property
    def is_grey(self) -> bool:
        return bool(self.pixels.shape[2] == 1)

    @property
    def is_deep(self) -> bool:
        """Whether 8 bits are too few: the curve brings up what lies between two of their levels."""
        return bool(self.pixels.dtype != np.uint8)

    def picture(self) -> bytes:
        """What is shown, in RGB, without loss: a PNG, or where it `is_deep` rows of 16-bit floats in [0, 1]."""
        shown: npt.NDArray[Any] = reduce_pixels(self.pixels, self.factor)
        shown = np.broadcast_to(shown, (*shown.shape[:2], 3))
        if self.is_deep:
            return shown.astype(np.float16).tobytes()
        sink = BytesIO()
        Image.fromarray((shown * 255).round().astype(np.uint8)).save(sink, "PNG", compress_level=1)
        return sink.getvalue()

    def maps(self, estimator: Estimator) -> tuple[Maps, CellMaps]:
        """Estimate the curve maps, and compute the cells under them."""
        [maps] = estimator.enhancer.estimate([self.pixels])
        cells = CellMaps.of(estimator.cells(self.pixels, maps), *self.size, self.factor)
        return Maps.of(maps, *self.size, estimator), cells


@dataclass(frozen=True, slots=True)
class FramePreview:
    """A frame of a video."""

    rank: int
    at_s: float
    """When it is shown, from the first frame on."""
    pixels: Pixels
    """HxWx3, reduced."""
    quarters: int
    """By how many times 90 degrees it is turned to the left to be shown upright."""
    maps: Maps
    cells: CellMaps

    def jpeg(self) -> bytes:
        return bytes(simplejpeg.encode_jpeg(self.pixels, quality=FRAME_QUALITY, colorsubsampling="444"))


@dataclass(frozen=True, slots=True)
class VideoPreview:
    """A video whose packets were looked through once."""

    storage: Storage
    url: str
    info: VideoInfo

    @classmethod
    def of(cls, storage: Storage, url: str) -> "VideoPreview":
        """Raises StorageError, MediaError."""
        with storage.open(url) as file:
            return cls(storage, url, probe(file))

    @property
    def seconds(self) -> float:
        """How long it plays."""
        info = self.info
        return float((info.pts[-1] - info.pts[0] + info.last_duration) * info.time_base)

    @property
    def aspect(self) -> float:
        """Width of a stored pixel over its height."""
        return float(self.info.sample_aspect or 1)

    @property
    def factor(self) -> int:
        """By which frames are reduced to be shown."""
        width, height = self.info.size
        return reduction_factor(height, width, FRAME_PX)

    def frames(self, estimator: Estimator, first: int) -> Iterator[FramePreview]:
        """Frames from the `first`-th on, as far as they can be decoded. HDR is shown, and lifted, as SDR.

        Raises StorageError, MediaError.
        """
        info = self.info
        written = SDR if info.colours.hdr else info.colours
        format_ = info.pixel_format.replace("yuvj", "yuv")  # that a job keeps, where it can
        conversion = Conversion(
            info.colours, written, pixel_format=format_, size=info.size, hdr="sdr", deep=info.is_deep
        )
        planes = coding(written, format_, info.size[1])
        window = Window(every=ESTIMATE_EVERY)
        enhancement = Enhancement(enhancer=estimator.enhancer, window=window, hdr="sdr", threads=1)
        segment = Segment(index=0, first=first, end=info.frames)
        with self.storage.open(self.url) as file:
            for shot, maps in enhancement.maps(file, info, segment, conversion, Clock(), planes):
                cells = estimator.cells_of_frame(shot.frame, conversion, planes, maps)
                yield FramePreview(
                    rank=shot.rank,
                    at_s=float((shot.pts - info.pts[0]) * info.time_base),
                    pixels=self._shown(shot.frame, conversion),
                    quarters=round(shot.frame.rotation / 90) % 4,
                    maps=Maps.of(maps, *info.size, estimator),
                    cells=CellMaps.of(cells, *info.size, self.factor),
                )

    def _shown(self, frame: Any, conversion: Conversion) -> Pixels:
        width, height = self.info.size
        if self.factor == 1:
            return to_8_bits(conversion.rgb(frame))
        return to_8_bits(conversion.copy(frame, -(-width // self.factor), -(-height // self.factor)))
