"""A training step against that of the original script, with the same batch and losses."""

import time
from collections.abc import Callable

import torch

from jobs.benchmark.measurement import Row, Section, in_new_process, side_by_side
from model import has_fast_bf16
from model.training.recipes import RECIPES
from model.training.step import Objective, descend, first_network, optimizer_of
from pipeline.process import keep_freed_memory


def measure_training(threads: int, rounds: int, batch: int, side_px: int) -> Section:
    """Time the published recipe each way in a new process, so that the cost of freed memory is included."""
    arguments = threads, rounds, batch, side_px
    pairs = [(in_new_process(_original_step_s, *arguments), in_new_process(_our_step_s, *arguments)) for _ in range(2)]
    original_s, ours_s = map(min, zip(*pairs, strict=True))
    rows = [
        Row("original script", original_s, "s"),
        Row("nightlift train", ours_s, "s"),
        Row("steps per second / the original's", original_s / ours_s, "times"),
    ]
    return Section(f"a step of training ({batch} squares of {side_px} px, {threads} threads)", rows)


def _original_step_s(threads: int, rounds: int, batch: int, side_px: int) -> float:
    return _timed(_step(None, torch.contiguous_format, batch, side_px), threads, rounds)


def _our_step_s(threads: int, rounds: int, batch: int, side_px: int) -> float:
    keep_freed_memory()
    autocast = torch.bfloat16 if has_fast_bf16("cpu") else None
    return _timed(_step(autocast, None, batch, side_px), threads, rounds)


def _step(
    autocast: torch.dtype | None, layout: torch.memory_format | None, batch: int, side_px: int
) -> Callable[[], object]:
    """Build a training step. `layout`: memory format of the images; None: the one that training chooses."""
    recipe = RECIPES["published"]
    network = first_network(recipe, "dce", seed=0)
    objective = Objective(network, recipe.losses["dce"], autocast=autocast)
    objective.layout = layout or objective.layout
    optimizer = optimizer_of(network, recipe)
    image_BCHW = 0.3 * torch.rand(batch, 3, side_px, side_px)
    return lambda: descend(network, optimizer, torch.stack(list(objective({"image": image_BCHW}).values())).sum())


def _timed(step: Callable[[], object], threads: int, rounds: int) -> float:
    torch.set_num_threads(threads)
    return side_by_side({"step": step}, rounds, time.perf_counter)["step"]
