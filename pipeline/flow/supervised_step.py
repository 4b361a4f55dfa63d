"""A step for a block of files that survives the death of workers. The graphs of photos and training use no other."""

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

ANSWER_S = 10.0  # timeout for our actors, which answer at once or not at all

Handle = Any  # of the `Attempts` actor
Work = TypeVar("Work", Development, Reading)


class Watched(Generic[Work]):
    """One step, or all of them, for a block of photos, surviving worker crashes.

    Once a worker died at the block, each photo is reported to `Attempts` before it is begun, and is no longer begun
    after workers died at it `ATTEMPTS` times. Other blocks skip these reports, which take as long as a small photo.

    A photo that exceeds its time limit is reported and its worker ends; the photo is not begun again.

    `together`: called with the whole block before the step, to make it faster; not once a worker died at the block.
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
            with time_limit(allowed, lambda: None):  # the next attempt finds out which photo it is
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
        if count > ATTEMPTS:  # not finished: it must stay counted if another photo of the block kills this worker
            worker_died(lost.outcome)
            return lost
        done = self._timed(work)
        done.outcome.attempts = max(done.outcome.attempts, count)
        self.attempts.finish.remote(name)
        return done

    def _timed(self, work: Work) -> Work:
        """Run the step; end this process if it takes too long or the GPU fails."""
        limit = time_limit(allowed_s(self.time_limit_s, work.record.size_bytes), partial(self._time_out, work))
        with limit, ending_with_its_gpu():
            return self.step(work)

    def _time_out(self, work: Work) -> None:
        ray.get(self.attempts.time_out.remote(self._name(work.record.source)), timeout=TELL_S)

    def _name(self, name: str) -> str:
        """Return the name to count under: each step has counts of its own."""
        return f"{type(self.step).__name__}: {name}"


def beside_the_driver() -> NodeAffinitySchedulingStrategy:
    """Return the strategy that places an actor on the driver's node.

    On another node, all who ask the actor would hang if that node is lost, until Ray notices.
    """
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def has_begun(told: Handle) -> bool:
    """Return whether a worker has started and begun to work. `told`: the actor of `Attempts` or of a `Ledger`."""
    try:
        return bool(ray.get(told.has_begun.remote(), timeout=ANSWER_S))
    except RayError:  # it does not answer, so nothing is known
        return False


def new_attempts() -> Handle:
    # by value, so that the actor's process need not import our packages: that would cost the workers a second of CPU
    ray.cloudpickle.register_pickle_by_value(sys.modules[Attempts.__module__])
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts)
    return actor.options(scheduling_strategy=beside_the_driver()).remote()
