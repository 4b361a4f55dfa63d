"""A step for a block of files, which survives the death of workers. The graphs have no other one."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.flow.attempts import ATTEMPTS, Attempts, timed_out, worker_died
from pipeline.flow.gpu_failure import ending_with_its_gpu
from pipeline.flow.time_limit import TELL_S, TIME_LIMIT_S, allowed_s, time_limit
from pipeline.photos import Development
from pipeline.training.samples import Reading

ANSWER_S = 10.0  # that an actor of ours may take: it answers at once, or not at all

Handle = Any  # of the `Attempts` actor
Work = TypeVar("Work", Development, Reading)


class Watched(Generic[Work]):
    """One step, or all of them, for a block of photos.

    Where a worker died at the block, every photo is told to `Attempts` before it is begun, and is not begun again once
    workers died at it `ATTEMPTS` times. Else that would take as long as a small photo does.

    One that takes longer than its time is told, and its worker ends: it is not begun again at all.

    `together`: what is done to all of a block before the step, to make it faster; not where a worker died at the block.
    """

    def __init__(
        self,
        step: Callable[[Work], Work],
        attempts: Handle,
        time_limit_s: float = TIME_LIMIT_S,
        together: Callable[[Sequence[Work]], None] | None = None,
    ) -> None:
        self.step: Callable[[Work], Work] = step
        self.attempts = attempts
        self.time_limit_s = time_limit_s
        self.together: Callable[[Sequence[Work]], None] | None = together

    def __call__(self, works: Sequence[Work]) -> Iterator[Work]:
        block = self._name(f"block of {works[0].record.source}")
        again = ray.get(self.attempts.begin.remote(block)) > 1
        if self.together is not None and not again:
            allowed = sum(allowed_s(self.time_limit_s, work.record.size_bytes) for work in works)
            with time_limit(allowed, lambda: None):  # of which photo it is, those who try again will tell
                self.together(works)
        for work in works:
            yield self._watched(work) if again else self._timed(work)
        self.attempts.finish.remote(block)

    def _watched(self, work: Work) -> Work:
        name = self._name(work.record.source)
        lost = type(work).of(work.record)
        tries = ray.get(self.attempts.timed_out.remote(name))
        if tries:
            timed_out(lost.outcome, tries, self.time_limit_s)
            return lost
        count = ray.get(self.attempts.begin.remote(name))
        if count > ATTEMPTS:  # and stays begun: other photos of the block may kill workers yet
            worker_died(lost.outcome)
            return lost
        done = self._timed(work)
        done.outcome.attempts = max(done.outcome.attempts, count)
        self.attempts.finish.remote(name)
        return done

    def _timed(self, work: Work) -> Work:
        """The step, or the end of this process."""
        limit = time_limit(allowed_s(self.time_limit_s, work.record.size_bytes), partial(self._time_out, work))
        with limit, ending_with_its_gpu():
            return self.step(work)

    def _time_out(self, work: Work) -> None:
        ray.get(self.attempts.time_out.remote(self._name(work.record.source)), timeout=TELL_S)

    def _name(self, name: str) -> str:
        """Each step counts for itself."""
        return f"{type(self.step).__name__}: {name}"


def beside_the_driver() -> NodeAffinitySchedulingStrategy:
    """Where an actor lives that all others ask: elsewhere its node could be lost, and all wait until Ray saw it."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def has_begun(told: Handle) -> bool:
    """Tell whether a worker has come up and begun to work. `told`: the actor of `Attempts` or of a `Ledger`."""
    try:
        return bool(ray.get(told.has_begun.remote(), timeout=ANSWER_S))
    except RayError:  # it does not answer: then nobody knows
        return False


def new_attempts() -> Handle:
    # by value: the actor's process then starts without our packages, which would take it a second from the workers
    ray.cloudpickle.register_pickle_by_value(sys.modules[Attempts.__module__])
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts)
    return actor.options(scheduling_strategy=beside_the_driver()).remote()
