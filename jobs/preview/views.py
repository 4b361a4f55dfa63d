"""The data of a preview: images to show, with the curve maps and cells of each, for photos and frames of videos.

The page itself cleans the images, applies the steps of the curve and limits it, at any number of iterations and any
strength. The maps and cells are always those of a job with 8 iterations at strength 1. Three things in them would
differ with other settings: how far a bright scene's maps are weakened (`model/noise/level.py`), how much noise is
smoothed (`model/noise/cleaning.py`), and how much the brightness of a video's frame is steadied
(`pipeline/video/enhancing/smoothing.py`).

Cells are those of the full-size image: they act on means of its pixels as they do on the pixels.
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
from pipeline.images.color.working_space import with_way_back
from pipeline.images.photo import to_8_bits
from pipeline.images.seen.view import Mask, parts_of, views_of
from pipeline.photos import MAX_PIXELS
from pipeline.storage.storage import Storage
from pipeline.video import Segment, VideoInfo, probe
from pipeline.video.enhancing.enhance import Clock, Enhancement
from pipeline.video.enhancing.planes import coding, samples
from pipeline.video.enhancing.smoothing import ESTIMATE_EVERY, Window
from pipeline.video.signal.color import SDR, Conversion

PHOTO_PX, FRAME_PX = 4096, 1280  # long side on the page; larger images are reduced by a whole factor
MOST_ESTIMATE_PX = 1024  # largest estimate size: at full size the maps sent to the page would be as large as the photo
CELL_PX = 2  # least side of a cell, in pixels as shown: smaller cells are averaged before they are sent
CELLS_OF_LAYER = 3  # planes in each layer of the texture of cells
FRAME_QUALITY = 92  # JPEG quality

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Maps:
    """Curve maps in the layout of textures."""

    values: npt.NDArray[np.float16]
    """KxHxWxM, in [-1, 1]; M is 3 for RGB, 1 for all channels alike, or 2 for shade and light."""
    span: tuple[float, float]
    """Share of the maps that lies over the image, across and down: below 1 where the last boxes extend beyond it."""
    capped: bool
    """Whether a job's maps would be finer: these were estimated at MOST_ESTIMATE_PX."""
    space: Space
    """Space that the curve acts in."""

    @classmethod
    def of(cls, maps: CurveMaps, width: int, height: int, estimator: "Estimator") -> "Maps":
        """Convert the maps of the first pass, for an image of this size."""
        maps_KHWM = maps.passes[0][0].permute(0, 2, 3, 1).to(device="cpu").numpy().astype(np.float16)
        _, rows, columns, _ = maps_KHWM.shape
        span = width / (maps.factor * columns), height / (maps.factor * rows)
        is_capped = estimator.is_capped and max(width, height) > MOST_ESTIMATE_PX
        return cls(maps_KHWM, span, is_capped, estimator.enhancer.space)


@dataclass(frozen=True, slots=True)
class CellMaps:
    """Cells in the layout of textures: they clean an image before the curve, and limit the curve after it."""

    values: npt.NDArray[np.float16]
    """2xhxwx3: the six numbers of `model.noise.cleaning.Cell`, in two layers of three."""
    span: tuple[float, float]
    """As in `Maps`."""
    black: float
    """Luma below which nothing is lifted."""

    @classmethod
    def of(cls, cells: Cells, width: int, height: int, factor: int) -> "CellMaps":
        """Convert the cells of a full-size image of this size. `factor`: by which the page's copy of it is reduced."""
        cells = _averaged(cells, CELL_PX * factor)
        layers_LPhw = cells.planes[0].unflatten(0, (-1, CELLS_OF_LAYER))
        _, _, rows, columns = layers_LPhw.shape
        values_LhwP = layers_LPhw.permute(0, 2, 3, 1).to(device="cpu").numpy().astype(np.float16)
        return cls(values_LhwP, (width / (cells.side * columns), height / (cells.side * rows)), cells.black)


def _averaged(cells: Cells, least_side: int) -> Cells:
    """Average cells whose sides are shorter than `least_side` pixels."""
    count = -(-least_side // cells.side)
    if count == 1:
        return cells
    return Cells(F.avg_pool2d(cells.planes, count, ceil_mode=True), cells.side * count, cells.black)


class Estimator:
    """A network at one estimate size, for a preview: strength and steps of the curve are left to the page."""

    def __init__(self, checkpoint: Checkpoint, estimate_px: int | None) -> None:
        """Set up the network. `estimate_px`: long side of the reduced copy; None or more becomes MOST_ESTIMATE_PX."""
        self.is_capped = estimate_px is None or estimate_px > MOST_ESTIMATE_PX
        size = MOST_ESTIMATE_PX if estimate_px is None else min(estimate_px, MOST_ESTIMATE_PX)
        self.enhancer = Enhancer(checkpoint, Look(), estimate_size=size)

    def cells(self, pixels: npt.NDArray[Any], maps: CurveMaps) -> Cells:
        """Compute the cells that clean an image under its maps."""
        cells = self.enhancer.cells(pixels, maps)
        assert cells is not None  # the default look cleans
        return cells

    def cells_of_frame(
        self, frame: VideoFrame, conversion: Conversion, coding: Coding | None, maps: CurveMaps
    ) -> Cells:
        """Compute a frame's cells, from planes or RGB as a job does. `coding`: of the planes that a job would write."""
        if coding is None or not conversion.keeps(frame):
            return self.cells(conversion.rgb(frame), maps)
        part = conversion.part(frame)
        cells = self.enhancer.cells_of_planes(samples(part, coding)[:3], part.width, coding, maps)
        assert cells is not None  # the default look cleans
        return cells


@dataclass(frozen=True, slots=True)
class PhotoPreview:
    """The part of a photo that a job enhances, as sRGB; only the first frame of an animation."""

    pixels: npt.NDArray[Any]
    """HxWx3 or HxWx1, uint8 or uint16."""
    visible: Mask | None
    """See `View.visible`."""
    hidden_noise: float
    """See `Photo.hidden_noise`."""
    notes: list[str]

    @classmethod
    def of(cls, storage: Storage, url: str) -> "PhotoPreview":
        """Read and decode a photo. Raises StorageError, MediaError."""
        try:
            found = decode(storage.read(url), max_pixels=MAX_PIXELS, gain_map=False)
        except TooLarge as error:
            raise TooLarge(f"it has more than {MAX_PIXELS:,} pixels, too many for the preview") from error
        photo, notes = with_way_back(found)
        view = views_of(photo, parts_of(found))[0]
        return cls(view.pixels, view.visible, photo.hidden_noise, photo.notes + notes)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def factor(self) -> int:
        """Return the factor by which the photo is reduced on the page."""
        return reduction_factor(self.pixels.shape[0], self.pixels.shape[1], PHOTO_PX)

    @property
    def is_grey(self) -> bool:
        return bool(self.pixels.shape[2] == 1)

    @property
    def is_deep(self) -> bool:
        """Return whether 8 bits are too few, as the curve makes differences below one of their levels visible."""
        return bool(self.pixels.dtype != np.uint8)

    def image(self) -> bytes:
        """Return the image to show, as lossless RGB: a PNG, or if it `is_deep`, rows of 16-bit floats in [0, 1]."""
        shown: npt.NDArray[Any] = reduce_pixels(self.pixels, self.factor)
        shown = np.broadcast_to(shown, (*shown.shape[:2], 3))
        if self.is_deep:
            return shown.astype(np.float16).tobytes()
        sink = BytesIO()
        Image.fromarray((shown * 255).round().astype(np.uint8)).save(sink, "PNG", compress_level=1)
        return sink.getvalue()

    def maps(self, estimator: Estimator) -> tuple[Maps, CellMaps]:
        """Estimate the curve maps, and compute the cells under them."""
        floor = estimator.enhancer.floor_of(self.pixels, visible=self.visible, hidden_noise=self.hidden_noise)
        [maps] = estimator.enhancer.estimate([self.pixels], [floor])
        cells = CellMaps.of(estimator.cells(self.pixels, maps), *self.size, self.factor)
        return Maps.of(maps, *self.size, estimator), cells


@dataclass(frozen=True, slots=True)
class FramePreview:
    """A frame of a video."""

    rank: int
    at_s: float
    """Time in seconds after the first frame."""
    pixels: Pixels
    """HxWx3 RGB, reduced."""
    quarters: int
    """Number of 90-degree turns to the left that make it upright."""
    maps: Maps
    cells: CellMaps

    def jpeg(self) -> bytes:
        return bytes(simplejpeg.encode_jpeg(self.pixels, quality=FRAME_QUALITY, colorsubsampling="444"))


@dataclass(frozen=True, slots=True)
class VideoPreview:
    """A video whose packets were scanned once."""

    storage: Storage
    url: str
    info: VideoInfo

    @classmethod
    def of(cls, storage: Storage, url: str) -> "VideoPreview":
        """Scan the packets of a video. Raises StorageError, MediaError."""
        with storage.open(url) as file:
            return cls(storage, url, probe(file))

    @property
    def seconds(self) -> float:
        """Return the duration in seconds."""
        info = self.info
        return float((info.pts[-1] - info.pts[0] + info.last_duration) * info.time_base)

    @property
    def aspect(self) -> float:
        """Return the width of a stored pixel over its height."""
        return float(self.info.sample_aspect or 1)

    @property
    def factor(self) -> int:
        """Return the factor by which pictures are reduced on the page."""
        width, height = self.info.picture_size
        return reduction_factor(height, width, FRAME_PX)

    def frames(self, estimator: Estimator, first: int) -> Iterator[FramePreview]:
        """Yield the frames from number `first` on that can be decoded, without bars. HDR is shown as SDR.

        Raises StorageError, MediaError.
        """
        info = self.info
        written = SDR if info.colours.hdr else info.colours
        format_ = info.pixel_format.replace("yuvj", "yuv")  # kept by a job, if it can
        conversion = Conversion(
            info.colours,
            written,
            pixel_format=format_,
            size=info.size,
            hdr="sdr",
            deep=info.is_deep,
            picture=info.picture,
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
                    maps=Maps.of(maps, *info.picture_size, estimator),
                    cells=CellMaps.of(cells, *info.picture_size, self.factor),
                )

    def _shown(self, frame: Any, conversion: Conversion) -> Pixels:
        width, height = self.info.picture_size
        if self.factor == 1:
            return to_8_bits(conversion.rgb(frame))
        return to_8_bits(conversion.copy(frame, -(-width // self.factor), -(-height // self.factor)))
