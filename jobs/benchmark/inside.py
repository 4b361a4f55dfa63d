"""Parts of `enhance` on one core: the curve against a copy of the image, and the network in each precision."""

from collections.abc import Callable

import numpy as np
import torch

from jobs.benchmark.measurement import Row, Section, side_by_side
from model import DEFAULT_WEIGHTS, Enhancer, Precision, build, has_fast_bf16, load
from model.dce_net import PUBLISHED_DCE
from model.full_size.cpu import Floats, Pixels, apply_curves
from pipeline.process import use_one_core

MAPS = {"24 maps": (8, 3), "8 maps shared by all channels": (8, 1), "1 map shared by all channels": (1, 1)}
FACTOR = 32
REDUCED_PX = 128, 96


def measure_curves(rounds: int, size: tuple[int, int]) -> Section:
    """Time eight steps of the curve into new memory, against copying the image."""
    use_one_core()
    width, height = size
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    small = -(-height // FACTOR), -(-width // FACTOR)
    maps = {name: random.uniform(-1, 0, (*count, *small)).astype(np.float32) for name, count in MAPS.items()}
    functions: dict[str, Callable[[], object]] = {"copy": image.copy}
    functions |= {name: _applying(image, each) for name, each in maps.items()}
    fastest = side_by_side(functions, rounds)
    rows = [Row("copying the image", 1e3 * fastest["copy"], "ms")]
    for name in maps:
        rows.append(Row(f"{name}", 1e3 * fastest[name], "ms"))
        rows.append(Row(f"{name} / copying the image", fastest[name] / fastest["copy"], "times"))
    return Section(f"the curve at full size ({width}x{height}, 8 steps)", rows)


def _applying(image: Pixels, maps: Floats) -> Callable[[], object]:
    return lambda: apply_curves(image, [maps], FACTOR, 8)


def measure_networks(rounds: int) -> Section:
    """Time the networks on one reduced copy at a time."""
    use_one_core()
    width, height = REDUCED_PX
    precisions: list[Precision] = ["fp32", "bf16"] if has_fast_bf16("cpu") else ["fp32"]
    image = np.random.default_rng(0).integers(0, 100, (height, width, 3), np.uint8)
    enhancers = {
        f"{variant}, {precision}": Enhancer(load(weights), estimate_size=width, precision=precision)
        for variant, weights in DEFAULT_WEIGHTS.items()
        for precision in precisions
    }
    published, x_BCHW = build(PUBLISHED_DCE).eval(), torch.rand(1, 3, height, width)

    @torch.inference_mode()
    def original() -> object:
        return published(x_BCHW)

    def estimating(enhancer: Enhancer) -> Callable[[], object]:
        return lambda: enhancer.estimate([image])

    functions = {name: estimating(enhancer) for name, enhancer in enhancers.items()}
    fastest = side_by_side({"published network, fp32": original, **functions}, rounds)
    return Section(
        f"the network ({width}x{height})", [Row(name, 1e3 * each_s, "ms") for name, each_s in fastest.items()]
    )
