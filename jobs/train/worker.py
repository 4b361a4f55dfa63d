"""The part of a training that runs in each worker: its share of every step, in step with the other workers.

The order of images depends only on (seed, epoch), each example only on (seed, epoch, image), the grey levels only on
(seed, epoch, step), and losses are means over the batch. So the number of workers changes only the run time, and a
resumed training ends with the weights of an uninterrupted one.
"""

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import ray
import torch
import torch.distributed as dist
from ray import train as ray_train
from ray.train.torch import get_device, prepare_model
from torch import nn

from jobs.train.outputs import write_sheet, write_weights
from jobs.train.state import State, read_state, write_state
from jobs.train.status import Row
from jobs.train.training_run import TrainingImage, TrainingRun
from model.full_size.gpu_transfer import sent
from model.precision import use_exact_fp32
from model.training.step import Examples, Objective, descend, learning_rate_factor, optimizer_of, prepare
from pipeline.errors import ClusterError
from pipeline.process import keep_freed_memory

SHOW_EVERY_S = 1.0  # between reports of steps to the driver
NAMES_SHOWN = 8
NAMED_LOSS, NAMED_GRADIENT = 2, 1  # of two troubles, the one with the higher number is reported

Item = TypeVar("Item")
Made = TypeVar("Made")


def train_worker(config: dict[str, Any]) -> None:
    """Train as one worker; Ray Train runs this function in each. `config["run"]`: a TrainingRun."""
    run: TrainingRun = config["run"]
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)  # weight decay makes unused weights denormal, and a step five times slower
    use_exact_fp32()
    keep_freed_memory()
    run.status.show_begun.remote()
    worker = Worker.of(run)
    try:
        for epoch in range(len(worker.history) + 1, run.recipe.epochs + 1):
            worker.train_epoch(epoch)
            ray_train.report(worker.history[-1])
    except NotFinite:
        pass  # the driver knows; an error would look like a dead worker, and the training would be resumed


class NotFinite(Exception):
    """Error for a loss or a gradient that is no longer finite; raised on all workers at the same step."""


@dataclass(slots=True)
class Worker:
    """One of `world` workers, with its copy of the network."""

    run: TrainingRun
    rank: int
    world: int
    device: torch.device
    objective: nn.Module
    """`Objective`, wrapped in DDP if there are several workers."""
    plain: Objective
    """The same `Objective` without DDP."""
    optimizer: torch.optim.Optimizer
    history: list[Row] = field(default_factory=list)
    _shown_at: float = 0.0

    @classmethod
    def of(cls, run: TrainingRun) -> "Worker":
        """Build a worker with initial weights, or with those of the last finished epoch."""
        context = ray_train.get_context()
        state = _agreed_state(run, context.get_world_rank(), context.get_world_size())
        autocast = torch.bfloat16 if run.precision == "bf16" else None
        plain = Objective(run.network, run.losses, autocast=autocast)
        if state is not None:
            run.network.load_state_dict(state.network)
        objective = prepare_model(plain)
        optimizer = optimizer_of(run.network, run.recipe)
        if state is not None:
            optimizer.load_state_dict(state.optimizer)
        worker = cls(
            run=run,
            rank=context.get_world_rank(),
            world=context.get_world_size(),
            device=get_device(),
            objective=objective,
            plain=plain,
            optimizer=optimizer,
            history=list(state.history) if state is not None else [],
        )
        worker._show_history()
        return worker

    def train_epoch(self, epoch: int) -> None:
        """Train on all images once, then validate and save. Raises NotFinite."""
        started = time.perf_counter()
        steps = self.run.steps_per_epoch
        tally = Tally()
        rate = norms = 0.0
        for step, batch, examples in self._examples(enumerate(self._parts(epoch)), epoch):
            rate = self._set_rate((epoch - 1) * steps + step)
            terms = self.objective(self._moved(examples))
            losses = torch.stack(list(terms.values()))
            values = dict(zip(terms, losses.tolist(), strict=True))
            norm = descend(self.objective, self.optimizer, losses.sum())
            if not math.isfinite(norm):  # the same on all workers: the gradients have been averaged
                self._tell_trouble(epoch, step + 1, values, batch)
                raise NotFinite
            tally.add(values, len(batch))
            norms += norm
            self._show_steps((epoch - 1) * steps + step + 1)
        row: Row = {"epoch": epoch, "seconds": 0.0, "learning_rate": rate, "gradient_norm": norms / steps}
        row |= {f"training_{name}": value for name, value in self._mean(tally).items()}
        row |= {f"validation_{name}": value for name, value in self._validate().items()}
        row["seconds"] = time.perf_counter() - started
        if wrong := [name for name, value in row.items() if not math.isfinite(value)]:
            self._tell(NAMED_GRADIENT, f"epoch {epoch}: not finite numbers: {', '.join(wrong)}")
            raise NotFinite
        self.history.append(row)
        self._save()
        self._show_history()

    def _parts(self, epoch: int) -> Iterator[list[TrainingImage]]:
        """Yield this worker's share of each batch. The last batch is filled up from the beginning of the order."""
        images, batch = self.run.images.trained, self.run.recipe.batch
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self._seed(epoch, "order")))
        share = batch // self.world
        for first in range(0, self.run.steps_per_epoch * batch, batch):
            mine = range(first + self.rank * share, first + (self.rank + 1) * share)
            yield [images[int(order[index % len(images)])] for index in mine]

    def _examples(
        self, batches: Iterable[tuple[int, Sequence[TrainingImage]]], epoch: int
    ) -> Iterator[tuple[int, Sequence[TrainingImage], Examples]]:
        """Yield each of this worker's (step, batch) pairs together with the examples made of the batch."""

        def prepared(numbered: tuple[int, Sequence[TrainingImage]]) -> tuple[int, Sequence[TrainingImage], Examples]:
            step, batch = numbered
            photos = [torch.from_numpy(self.run.images.pixels(image).copy()) for image in batch]
            seeds = [self._seed(epoch, image.identity) for image in batch]
            return step, batch, prepare(photos, seeds, self._seed(epoch, f"levels {step}"), self.run.recipe)

        # no threads on a CPU, which is busy with training; a GPU must not wait for examples
        return ahead(batches, prepared, threads=0 if self.device.type == "cpu" else self.run.threads)

    def _seed(self, epoch: int, what: str) -> int:
        digest = hashlib.sha256(f"{self.run.seed}:{epoch}:{what}".encode()).digest()
        return int.from_bytes(digest[:8]) >> 1  # 63 bits, to fit a signed 64-bit integer

    def _moved(self, examples: Examples) -> Examples:
        return {name: sent(tensor, self.device) for name, tensor in examples.items()}

    def _set_rate(self, step: int) -> float:
        recipe = self.run.recipe
        steps = recipe.epochs * self.run.steps_per_epoch
        rate = recipe.learning_rate * learning_rate_factor(recipe, step, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    @torch.no_grad()
    def _validate(self) -> Row:
        """Compute mean losses on the held-out images. Every epoch has the same examples; workers take whole batches."""
        held_out, batch = self.run.images.held_out, self.run.recipe.batch
        batches = list(enumerate(held_out[first : first + batch] for first in range(0, len(held_out), batch)))
        tally = Tally()
        for _, mine, examples in self._examples(batches[self.rank :: self.world], 0):
            tally.add({name: term.item() for name, term in self.plain(self._moved(examples)).items()}, len(mine))
        return self._mean(tally, among=bool(held_out))

    def _mean(self, tally: "Tally", *, among: bool = True) -> Row:
        """Compute means over all workers. Names come from rank 0, as other workers may have measured nothing."""
        if not among:
            return {}
        names = sorted(tally.sums)
        if self.world > 1:
            shared = [names]
            dist.broadcast_object_list(shared, src=0, device=self.device)
            names = shared[0]
            sums = torch.tensor([*(tally.sums.get(name, 0.0) for name in names), tally.count], dtype=torch.float64)
            sums = sums.to(self.device)
            dist.all_reduce(sums)
            *totals, count = sums.tolist()
        else:
            totals, count = [tally.sums[name] for name in names], tally.count
        means = {name: total / count for name, total in zip(names, totals, strict=True)}
        return {"total": sum(means.values()), **means}

    def _save(self) -> None:
        """Write the sheet and the weights, then the state, so that all that the state counts as done exists."""
        run, epoch = self.run, len(self.history)
        if self.rank == 0:
            if epoch % run.sheet_every == 0 or epoch == run.recipe.epochs:
                write_sheet(run, epoch, str(self.device))
            write_weights(run, self.history)
            state = State(
                settings=run.settings,
                precision=run.precision,
                photos=run.photos,
                files=run.files,
                history=self.history,
                network=run.network.state_dict(),
                optimizer=self.optimizer.state_dict(),
            )
            write_state(run.storage, run.root, state)

    def _tell_trouble(self, epoch: int, step: int, values: Row, batch: Sequence[TrainingImage]) -> None:
        place = f"epoch {epoch}, step {step} of {self.run.steps_per_epoch}"
        wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
        names = ", ".join(dict.fromkeys(image.name for image in batch[:NAMES_SHOWN]))
        more = f" and {len(batch) - NAMES_SHOWN} more" if len(batch) > NAMES_SHOWN else ""
        if wrong:
            self._tell(NAMED_LOSS, f"{place}: the loss is not a finite number ({', '.join(wrong)}), on {names}{more}")
        else:
            self._tell(NAMED_GRADIENT, f"{place}: the gradient is not a finite number, on {names}{more}")

    def _tell(self, weight: int, message: str) -> None:
        ray.get(self.run.status.show_trouble.remote(weight, message))

    def _show_history(self) -> None:
        if self.rank == 0:
            ray.get(self.run.status.show_history.remote(self.history))

    def _show_steps(self, steps: int) -> None:
        if self.rank == 0 and time.monotonic() - self._shown_at >= SHOW_EVERY_S:
            self._shown_at = time.monotonic()
            self.run.status.show_steps.remote(steps)


def _agreed_state(run: TrainingRun, rank: int, world: int) -> State | None:
    """Return, on all workers, the state that the first one reads: read separately, their epochs might differ.

    Raises ClusterError if another training has begun to write there.
    """
    shared = [read_state(run.storage, run.root) if rank == 0 else None]
    if world > 1:
        dist.broadcast_object_list(shared, src=0, device=get_device())
    state = shared[0]
    if state is not None and (dict(state.settings), list(state.photos)) != (dict(run.settings), list(run.photos)):
        raise ClusterError(f"{run.root}: another training is writing there; give each training its own OUT")
    return state


@dataclass(slots=True)
class Tally:
    """Sums of losses, each weighted by the size of its batch."""

    sums: Row = field(default_factory=dict)
    count: int = 0

    def add(self, values: Row, images: int) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * images
        self.count += images


def ahead(items: Iterable[Item], make: Callable[[Item], Made], *, threads: int) -> Iterator[Made]:
    """Yield `make(item)` for each item, in order, computed in advance by `threads` threads; 0: on demand."""
    if threads == 0:
        yield from map(make, items)
        return
    waiting = deque[Any]()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
