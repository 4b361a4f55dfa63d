"""ONNX export: the whole enhancement as one graph that needs neither torch nor nightlift, for images of any size.

    image      B3HW, float32 RGB in [0, 1]; batch, height and width are free
    enhanced   B3HW, the same in [0, 1]
    maps       BKMhw, the curve maps in [-1, 1] at the size of the reduced copy; for `light`, of its bilateral grid

The graph reduces the image, estimates curve maps, upsamples and applies them as `Enhancer` does, but does not clean.
Needs the packages of `nightlift[onnx]`, imported where they are used.

Tensor suffixes: B batch, C colour channels, K maps, M channels of a map, H height, W width, h and w those of the maps.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from model.curve.light import lift
from model.curve.reference import reduce, reduction_factor, upsample
from model.dce_net import CurveNetwork
from model.weights import Checkpoint, fingerprint

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
PRODUCER = "nightlift"  # recorded in the ONNX file
TOLERANCE = 1e-4  # largest difference from torch, for values in [0, 1]: a fortieth of an 8-bit level
CHECKED_BHW = ((1, 64, 48), (2, 97, 131), (1, 1, 1), (1, 300, 700), (1, 517, 301))
EXAMPLE_BHW = 2, 300, 700  # the traced size: no side, batch or factor of 1, which would be taken as fixed


class ExportError(RuntimeError):
    """Error for an export that fails or differs from the network; the message says by how much."""


class EnhancementGraph(nn.Module):
    """The enhancement, written for the exporter: sizes stay symbols, and nothing branches on them.

    `estimate_size`: long side in pixels of the reduced copy; None for full size.
    """

    def __init__(self, network: CurveNetwork, estimate_size: int | None, iterations: int) -> None:
        super().__init__()
        self.network = network
        self.estimate_size = estimate_size
        self.iterations = iterations

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        if self.estimate_size is None:
            maps: Tensor = self.network(image_BCHW)
            return self._lifted(image_BCHW, maps, 1), maps
        height, width = image_BCHW.shape[2], image_BCHW.shape[3]
        factor = (torch.sym_max(height, width) + self.estimate_size - 1) // self.estimate_size
        copy_BChw = _averaged(_averaged(image_BCHW, factor, dim=2), factor, dim=3)
        maps_BKMhw: Tensor = self.network(copy_BChw)
        return self._lifted(image_BCHW, maps_BKMhw, factor), maps_BKMhw

    def _lifted(self, image_BCHW: Tensor, maps_BKMhw: Tensor, factor: Any) -> Tensor:
        """Upsample the maps and apply them. `factor`: of the reduced copy; a symbol, or 1."""
        architecture = self.network.architecture
        height, width = image_BCHW.shape[2], image_BCHW.shape[3]
        if self.estimate_size is not None or architecture.map_px > 1:
            maps_BKMhw = _interpolated(maps_BKMhw, factor * architecture.map_px, width, dim=4)
            maps_BKMhw = _interpolated(maps_BKMhw, factor * architecture.map_px, height, dim=3)
        return lift(image_BCHW, [maps_BKMhw], self.iterations, architecture.space)


def missing_packages() -> list[str]:
    """Return those of the packages that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def to_onnx(checkpoint: Checkpoint, *, estimate_size: int | None, iterations: int) -> bytes:
    """Export the enhancement as an ONNX file, with the checkpoint's metadata in the model's.

    Raises ValueError on iterations out of range, ImportError if a package is missing.
    """
    graph = EnhancementGraph(checkpoint.network, estimate_size, iterations).eval()
    free = torch.export.Dim.DYNAMIC
    batch, height, width = EXAMPLE_BHW
    example = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    with _quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            input_names=["image"],
            output_names=["enhanced", "maps"],
            dynamic_shapes=({0: free, 2: free, 3: free},),
            dynamo=True,
            verbose=False,
        )
    if program is None:  # only when the exporter writes the file itself
        raise ExportError("torch.onnx.export returned no program")
    model = program.model_proto
    _name_sizes(model)
    for name, value in _metadata(checkpoint, estimate_size, iterations).items():
        model.metadata_props.add(key=name, value=value)
    model.producer_name = PRODUCER
    return bytes(model.SerializeToString())


def is_export(content: bytes) -> bool:
    """Return whether a file is an ONNX model that nightlift wrote. Raises ImportError if onnx is missing."""
    import onnx

    try:
        return str(onnx.load_model_from_string(content).producer_name) == PRODUCER
    except Exception:  # whatever protobuf raises on a file that is no model
        return False


def largest_difference(
    onnx: bytes, checkpoint: Checkpoint, *, estimate_size: int | None, iterations: int
) -> tuple[float, int]:
    """Run the file with onnxruntime and the network with torch, on images of several sizes.

    Returns the largest difference in an enhanced value or a map, and the number of sizes. Raises ExportError if the
    difference is above TOLERANCE or a shape differs.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    largest = 0.0
    for batch, height, width in CHECKED_BHW:
        # squared: dark, like the photos that the network is for
        image_BCHW = torch.rand(batch, 3, height, width, generator=generator).square()
        expected = enhanced_by_torch(checkpoint, image_BCHW, estimate_size=estimate_size, iterations=iterations)
        found = session.run(["enhanced", "maps"], {"image": image_BCHW.numpy()})
        for wanted, got in zip(expected, map(torch.from_numpy, found), strict=True):
            if wanted.shape != got.shape:
                raise ExportError(
                    f"{width}x{height}: ONNX returns shape {tuple(got.shape)}, torch {tuple(wanted.shape)}"
                )
            difference = (wanted - got).abs().max().item()
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"{width}x{height}: ONNX and torch differ by {difference:.1e}, more than {TOLERANCE:.0e}"
                )
            largest = max(largest, difference)
    return largest, len(CHECKED_BHW)


@torch.inference_mode()
def enhanced_by_torch(
    checkpoint: Checkpoint, image_BCHW: Tensor, *, estimate_size: int | None, iterations: int
) -> tuple[Tensor, Tensor]:
    """Compute `enhanced_BCHW` and `maps_BKMhw`, which the graph has to match, with the reference functions."""
    height, width = image_BCHW.shape[2:]
    factor = reduction_factor(height, width, estimate_size)
    copies = [reduce(image_CHW.permute(1, 2, 0), factor).permute(2, 0, 1) for image_CHW in image_BCHW]
    maps_BKMhw: Tensor = checkpoint.network(torch.stack(copies))
    full_BKMHW = upsample(maps_BKMhw, factor * checkpoint.network.architecture.map_px, slice(0, height), width)
    return lift(image_BCHW, [full_BKMHW], iterations, checkpoint.network.architecture.space), maps_BKMhw


def _averaged(x: Tensor, factor: int, dim: int) -> Tensor:
    """Average every `factor` neighbours along `dim`; the last group is filled up with the last value."""
    length = x.shape[dim]
    count = (length + factor - 1) // factor
    padded = x.index_select(dim, torch.arange(count * factor).clamp(max=length - 1))
    boxes = padded.reshape(*x.shape[:dim], count, factor, *x.shape[dim + 1 :])
    return boxes.mean(dim + 1)


def _interpolated(maps: Tensor, factor: int, length: int, dim: int) -> Tensor:
    """Interpolate maps to `length` pixels along `dim`: pixel p lies at (p + 1/2) / factor - 1/2 of the maps."""
    at = 2 * torch.arange(length) + 1 - factor  # in units of 1 / (2 factor)
    before = torch.div(at, 2 * factor, rounding_mode="floor")
    weight = (at - before * 2 * factor).float() / (2 * factor)
    last = maps.shape[dim] - 1
    one, other = (maps.index_select(dim, index.clamp(min=0).clamp(max=last)) for index in (before, before + 1))
    return one + (other - one) * weight.reshape(-1, *[1] * (maps.dim() - dim - 1))


def _metadata(checkpoint: Checkpoint, estimate_size: int | None, iterations: int) -> dict[str, str]:
    return {
        **checkpoint.notes,
        "architecture": json.dumps(asdict(checkpoint.network.architecture)),
        "fingerprint": fingerprint(checkpoint),
        "estimate_size": json.dumps(estimate_size),
        "iterations": str(iterations),
        "image": "B3HW float32, RGB in [0, 1] as sRGB encodes it",
        "enhanced": "B3HW float32, RGB in [0, 1]",
        "maps": "BKMhw float32 in [-1, 1]: K curve maps of M channels, at the size of the reduced copy or of its grid",
    }


def _name_sizes(model: Any) -> None:
    """Give free sizes readable names in place of the exporter's symbols."""
    names = {"image": "B.HW", "enhanced": "B.HW", "maps": "B..hw"}
    words = {"B": "batch", "H": "height", "W": "width", "h": "map_height", "w": "map_width"}
    for value in (*model.graph.input, *model.graph.output):
        for letter, size in zip(names[value.name], value.type.tensor_type.shape.dim, strict=True):
            if letter in words:
                size.dim_param = words[letter]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's messages on packages it could also use, and on its own deprecations."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=DeprecationWarning)
            warnings.simplefilter("ignore", category=FutureWarning)
            yield
    finally:
        log.setLevel(level)
