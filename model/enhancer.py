"""Enhancer: enhances images of any size in bounded memory. It is the one object of the model that the pipeline holds.

The network sees a reduced copy of each image; the image itself is processed once, a band of rows at a time.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.curve.light import BT601, BT709, Shares
from model.curve.light import lift as lift_by_reference
from model.curve.reference import reduction_factor, upsample
from model.curve_maps import CurveMaps
from model.full_size.cells import coefficients_of, luma_of_copy
from model.full_size.cpu import Cells, Coding, Pixels, Plane, apply_curves, apply_curves_to_planes
from model.full_size.gpu_transfer import in_bands, sent, tensor_of, unless_out_of_memory
from model.full_size.reduce import moments_of, moments_of_planes, reduce_pixels
from model.noise.cleaning import Cell, cell_side, clean, coefficients, hold_back, seen_of
from model.noise.floor import Floor, floor_of, floor_of_planes
from model.noise.level import held_to_level
from model.precision import DTYPES, Precision, has_fast_bf16, resolve_precision, use_exact_fp32
from model.settings import Look
from model.weights import Checkpoint

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

BAND_PX = 1 << 16  # pixels processed at once: few enough for a core's cache
GPU_BAND_PX, LEAST_GPU_BAND_PX = 1 << 22, 1 << 16  # on a GPU: several bands to a photo, so that copies and work overlap
# Pixels of reduced copies that the network sees at once, at about 1.6 kB of memory each. A core is fastest with few,
# which stay in its cache, a GPU with many.
CPU_BATCH_PX, GPU_BATCH_PX = 1 << 16, 1 << 19


class Enhancer:
    """A network that estimates curve maps on a reduced copy of an image, and the code that applies them at full size.

    `checkpoint`: a loaded network. `estimate_size`: long side in pixels of the reduced copy; None for full
    size. `device`: a torch device; on `mps` (Apple's GPU) only the network runs. `precision`: of the network only;
    curves are always applied in float32.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        look: Look = Look(),
        *,
        estimate_size: int | None,
        device: str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        self.look = look
        architecture = checkpoint.network.architecture
        self.space, self.map_px = architecture.space, architecture.map_px
        self.estimate_size = estimate_size
        self.device = torch.device("cpu" if device == "mps" else device)
        self._network_device = torch.device(device)
        precision = resolve_precision(precision, fast_bf16=has_fast_bf16(device))
        self.batch_px = CPU_BATCH_PX if self._network_device.type == "cpu" else GPU_BATCH_PX
        self.band_px = GPU_BAND_PX
        # Hooks for metrics: images and seconds of each batch of the network; and each time a GPU's memory ran out,
        # after which batches, or bands, are half as large
        self.on_batch: Callable[[int, float], object] = lambda images, seconds: None
        self.on_out_of_memory: Callable[[], object] = lambda: None
        if self.device.type == "cuda":
            use_exact_fp32()
        network: Any = deepcopy(checkpoint.network)  # not the caller's own; Any, as torch's types lack `to`s
        # channels last makes a CPU's convolutions about twice as fast, and as exact
        network = network.to(self._network_device, DTYPES[precision], memory_format=torch.channels_last)
        self.network = network.requires_grad_(False).eval()

    def enhance(
        self, images: Sequence[Pixels], floors: Sequence[Floor | None] | None = None, *, in_place: bool = False
    ) -> list[Pixels]:
        """Enhance images of any sizes; each keeps its shape and dtype.

        `floors`: as in `estimate`. `in_place`: images may be overwritten, which saves time and memory.
        """
        enhanced: dict[int, Pixels] = {}
        for index, maps in self._estimates(images, floors):
            enhanced[index] = self.apply(images[index], maps, in_place=in_place)
        return [enhanced[index] for index in range(len(images))]

    def estimate(self, images: Sequence[Pixels], floors: Sequence[Floor | None] | None = None) -> list[CurveMaps]:
        """Estimate the curve maps of each image.

        `floors`: those of the originals, where the images are copies, or of what is visible; otherwise each image's own
        floor is measured.
        In fp32, maps depend on which images share a batch, by 1e-7: an enhanced pixel may differ by 1 of 255.
        """
        found = dict(self._estimates(images, floors))
        return [found[index] for index in range(len(images))]

    def shares_batch(self, image: Pixels) -> bool:
        """Return whether two images of this size fit into one batch of the network."""
        height, width = self.copy_size(image)
        return 2 * height * width <= self.batch_px

    def apply(self, image: Pixels, maps: CurveMaps, *, in_place: bool = False) -> Pixels:
        """Apply curve maps to an image at full size, and denoise it; dtype and shape stay.

        For `srgb` maps of the image's own size, the result equals the readable reference's to the bit; otherwise it is
        within 1 of 255. `in_place`: the image may be overwritten.
        """
        if self.look.leaves_images_alone:
            return image if in_place else image.copy()
        alike = image.shape[2] == 3 or maps.passes[0].shape[2] != 3  # not a grey image with a map for each channel
        cells = self.cells(image, maps)
        if maps.factor == 1 or not alike:
            return self._applied(image, maps, cells)
        if self.device.type == "cpu":
            settings = maps.factor, self.look.iterations, self.space, cells, maps.shares
            return apply_curves(image, _arrays(maps), *settings, in_place=in_place)
        return self._applied_by_gpu(image, maps, cells) if _has_triton() else self._applied(image, maps, cells)

    def floor_of(
        self,
        image: Pixels,
        shares: Shares = BT709,
        *,
        is_frame: bool = False,
        visible: Mask | None = None,
        hidden_noise: float = 0.0,
    ) -> Floor | None:
        """Measure the floor of an image and adjust it to the look; None if none is needed. See `floor.floor_of`.

        `hidden_noise`: deviation of pixels' noise that is expected at least, as compression may hide it. White is 1.
        """
        if not self.look.cleans:
            return None
        box = cell_side(*image.shape[:2]) // 2
        found = floor_of(image, box, shares, is_frame=is_frame, visible=visible).hiding(hidden_noise / box)
        return self.look.cleaned(found)

    def floor_of_planes(self, planes: Sequence[Plane], width: int, coding: Coding) -> Floor | None:
        """Measure the floor of a YUV frame, as `floor_of` does; see `apply_curves_to_planes`."""
        if not self.look.cleans:
            return None
        box = cell_side(len(planes[0]), width) // 2
        return self.look.cleaned(floor_of_planes(planes, width, coding.across, coding.numbers, box))

    def cells(self, image: Pixels, maps: CurveMaps) -> Cells | None:
        """Compute the cells that clean an image before its maps are applied; None if nothing is cleaned."""
        if maps.floor is None:
            return None
        side = cell_side(*image.shape[:2])
        return self._cells_of(moments_of(image, side, maps.shares), side, maps, maps.floor)

    def cells_of_planes(self, planes: Sequence[Plane], width: int, coding: Coding, maps: CurveMaps) -> Cells | None:
        """Compute the cells of a YUV frame, as `cells` does; see `apply_curves_to_planes`."""
        if maps.floor is None:
            return None
        size, subsampling = (len(planes[0]), width), (coding.across, coding.down)
        side = cell_side(*size)
        moments_Phw = moments_of_planes(planes, size, subsampling, coding.numbers, side)
        return self._cells_of(moments_Phw, side, maps, maps.floor)

    @torch.inference_mode()
    def _cells_of(self, moments_Phw: Floats, side: int, maps: CurveMaps, floor: Floor) -> Cells:
        settings = side, floor, maps.factor, self.look.iterations, self.space
        if self.device.type == "cpu":
            cells_hPw = coefficients_of(moments_Phw, _arrays(maps), *settings)
            cells_1Phw = torch.from_numpy(cells_hPw).permute(1, 0, 2)[None]
        else:
            cells_1Phw = coefficients(sent(torch.from_numpy(moments_Phw)[None], self.device), maps.passes, *settings)
        return Cells(cells_1Phw, side, floor.black)

    def _applied_by_gpu(self, image: Pixels, maps: CurveMaps, cells: Cells | None = None) -> Pixels:
        """Apply maps by one GPU kernel, in bands of rows that fit its memory. Raises torch.OutOfMemoryError."""
        from model.full_size.gpu_kernel import lift

        white = float(np.iinfo(image.dtype).max)
        passes = [maps_1KMHW[0] for maps_1KMHW in maps.passes]

        def lifted(band: Tensor, top: int) -> Tensor:
            return lift(band, passes, maps.factor, self.look.iterations, self.space, white, top, cells, maps.shares)

        while True:
            rows, last = max(1, self.band_px // image.shape[1]), self.band_px <= LEAST_GPU_BAND_PX
            enhanced = unless_out_of_memory(partial(in_bands, image, rows, lifted, self.device), last=last)
            if enhanced is not None:
                return enhanced
            self.band_px = max(LEAST_GPU_BAND_PX, min(self.band_px, image.shape[0] * image.shape[1]) // 2)
            self.on_out_of_memory()

    @property
    def is_fused(self) -> bool:
        """Return whether frames are enhanced as planes, without RGB on the way; this is so on a CPU."""
        return self.device.type == "cpu"

    def apply_to_planes(
        self, planes: Sequence[Plane], enhanced: Sequence[Plane], width: int, coding: Coding, maps: CurveMaps
    ) -> None:
        """Apply curve maps to a YUV frame; see `apply_curves_to_planes`. Works only if the enhancer `is_fused`."""
        settings = maps.factor, self.look.iterations, self.space, self.cells_of_planes(planes, width, coding, maps)
        apply_curves_to_planes(planes, enhanced, width, coding, _arrays(maps), *settings)

    @torch.inference_mode()
    def _applied(self, image: Pixels, maps: CurveMaps, cells: Cells | None = None) -> Pixels:
        """Apply maps in torch, in bands of rows, for any look and device: readable, exact, and slow."""
        height, width, _ = image.shape
        white = float(np.iinfo(image.dtype).max)
        step = max(1, BAND_PX // width)
        enhanced = np.empty_like(image)
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            x = sent(tensor_of(image[rows]), self.device).permute(2, 0, 1)[None].contiguous().float() / white
            x = self._lifted(x, maps, cells, rows)
            enhanced[rows] = (x[0] * white).round_().clamp_(0, white).permute(1, 2, 0).to(torch.int32).cpu().numpy()
        return enhanced

    @torch.inference_mode()
    def luma(self, image: Pixels, maps: CurveMaps) -> float:
        """Return the mean BT.601 luma in [0, 1] of the enhanced image. `image`: HxWx3. `maps`: `fitted` to its size."""
        if self.device.type == "cpu":
            return luma_of_copy(image, _arrays(maps), self.look.iterations, self.space, maps.floor)
        x = sent(tensor_of(image), self.device).permute(2, 0, 1)[None].float() / float(np.iinfo(image.dtype).max)
        lifted = lift_by_reference(x, maps.passes, self.look.iterations, self.space)
        if maps.floor is not None:
            lifted = hold_back(lifted, x, seen_of(x, maps.floor), maps.floor.black)
        return float(lifted.mean(dim=(0, 2, 3)) @ x.new_tensor(BT601))

    def _lifted(self, image_BCHW: Tensor, maps: CurveMaps, cells: Cells | None, rows: slice) -> Tensor:
        """Clean rows of an image and apply the curve maps. `image_BCHW`: the rows `rows` of the image."""
        x, width = image_BCHW, image_BCHW.shape[3]
        if cells is not None:
            cells_BPHW = upsample(cells.planes[:, :, None], cells.side, rows, width)[:, :, 0]
            x = cleaned = clean(x, cells_BPHW, maps.shares)
        passes = [upsample(maps_1KMHW, maps.factor, rows, width) for maps_1KMHW in maps.passes]
        x = lift_by_reference(x, passes, self.look.iterations, self.space, maps.shares)
        if x.shape[1] != image_BCHW.shape[1]:  # a grey image under one map for each channel
            x = x.mean(dim=1, keepdim=True)
        if cells is not None:
            x = hold_back(x, cleaned, cells_BPHW[:, Cell.SEEN :], cells.black, maps.shares)
        return x

    def _estimates(
        self, images: Sequence[Pixels], floors: Sequence[Floor | None] | None = None
    ) -> Iterator[tuple[int, CurveMaps]]:
        """Yield curve maps, each with its image's index. Images whose reduced copies have one size share batches.

        A batch holds at most `batch_px` pixels of copies, or one copy. When a GPU's memory runs out, batches become
        half as large for good. Raises torch.OutOfMemoryError where there is not enough for one copy.
        """
        if floors is None:
            floors = [self.floor_of(image) for image in images]
        same_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            same_size[self.copy_size(image)].append(index)
        for (height, width), indices in same_size.items():
            while indices:
                batch = indices[: max(1, self.batch_px // (height * width))]
                estimated = partial(
                    self._estimated, *zip(*((images[index], floors[index]) for index in batch), strict=True)
                )
                maps = unless_out_of_memory(estimated, last=len(batch) == 1)
                if maps is None:
                    self.batch_px = len(batch) * height * width // 2
                    self.on_out_of_memory()
                else:
                    yield from zip(batch, maps, strict=True)
                    indices = indices[len(batch) :]

    def copy_size(self, image: Pixels) -> tuple[int, int]:
        """Return the height and width of the reduced copy."""
        height, width, _ = image.shape
        factor = reduction_factor(height, width, self.estimate_size)
        return -(-height // factor), -(-width // factor)

    @torch.inference_mode()
    def _estimated(self, images: Sequence[Pixels], floors: Sequence[Floor | None]) -> list[CurveMaps]:
        """Estimate curve maps for one batch of images. They are reduced on the CPU, so that little travels to a GPU."""
        start = time.perf_counter()
        factors = [reduction_factor(image.shape[0], image.shape[1], self.estimate_size) for image in images]
        copies = [_reduced(image, factor) for image, factor in zip(images, factors, strict=True)]
        x = sent(torch.stack(copies), self.device)
        passes = self._passes(x, sent(torch.tensor([floor.black if floor else 0.0 for floor in floors]), self.device))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # otherwise the time would not include the GPU's work
        self.on_batch(len(images), time.perf_counter() - start)
        return [
            CurveMaps(tuple(maps[row : row + 1] for maps in passes), factor * self.map_px, floor)
            for row, (factor, floor) in enumerate(zip(factors, floors, strict=True))
        ]

    def _passes(self, image_BCHW: Tensor, black_B: Tensor) -> list[Tensor]:
        height, width = image_BCHW.shape[2:]
        passes: list[Tensor] = []
        for _ in range(self.look.passes):
            x = image_BCHW
            if passes:
                wide = [upsample(maps, self.map_px, slice(0, height), width) for maps in passes]
                x = lift_by_reference(x, wide, self.look.iterations, self.space)
            seen = x.to(self._network_device, memory_format=torch.channels_last)
            maps = self.network(seen).to(self.device).contiguous().float()
            if self.look.floor == "auto" and not passes:
                maps = held_to_level(maps, self.map_px, image_BCHW, black_B, self.space)
            passes.append((maps * self.look.strength).clamp_(-1, 1))
        return passes


def _reduced(image: Pixels, factor: int) -> Tensor:
    return torch.from_numpy(reduce_pixels(image, factor)).permute(2, 0, 1).expand(3, -1, -1)


def _has_triton() -> bool:
    return find_spec("triton") is not None


def _arrays(maps: CurveMaps) -> list[npt.NDArray[np.float32]]:
    return [maps_1KMHW[0].numpy() for maps_1KMHW in maps.passes]
