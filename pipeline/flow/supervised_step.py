"""Running of one step on a block of work, surviving the death of workers. All graphs use it, for every step."""

import os
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
from pipeline.records import Work

ANSWER_S = 10.0  # timeout for our actors, which answer at once or not at all

Handle = Any  # of the `Attempts` actor


AnyWork = TypeVar("AnyWork", bound=Work)


class Watched(Generic[AnyWork]):
    """Wrapper of one step that runs it on blocks of work and survives worker crashes.

    Once a worker has died on a block, each piece of work in it is reported to `Attempts` before it is begun, and is not
    begun again after `ATTEMPTS` workers have died on it. Other blocks skip these reports, which take as long as a small
    photo. A block of one piece is reported from the start.

    Work that exceeds its time limit is reported and its worker ends; the work is not begun again.

    `together`: called with the whole block before the step, to make it faster, unless a worker has died on the block.
    """

    def __init__(
        self,
        step: Callable[[AnyWork], AnyWork],
        attempts: Handle,
        time_limit_s: float = TIME_LIMIT_S,
        together: Callable[[Sequence[AnyWork]], None] | None = None,
    ) -> None:
        self.step: Callable[[AnyWork], AnyWork] = step
        self.attempts = attempts
        self.time_limit_s = time_limit_s
        self.together: Callable[[Sequence[AnyWork]], None] | None = together

    def __call__(self, works: Sequence[AnyWork]) -> Iterator[AnyWork]:
        if len(works) == 1:
            yield self.alone(works[0])
            return
        block = self._name(f"block of {works[0].name}")
        attempt, _ = ray.get(self.attempts.begin.remote(block))
        if self.together is not None and attempt == 1:
            allowed = sum(allowed_s(self.time_limit_s, work.record.size_bytes) for work in works)
            with time_limit(allowed, lambda: None):  # the next attempt finds out which piece it was
                self.together(works)
        for work in works:
            yield self._timed(work) if attempt == 1 else self.alone(work)
        self.attempts.finish.remote(block)

    def alone(self, work: AnyWork) -> AnyWork:
        """Run the step on a block of one piece."""
        name = self._name(work.name)
        attempt, too_long = ray.get(self.attempts.begin.remote(name))
        if too_long or attempt > ATTEMPTS:
            # not reported as finished, so that it stays settled if other work of the block kills this worker
            lost = work.unfinished()
            if too_long:
                timed_out(lost.outcome, attempt, self.time_limit_s)
            else:
                worker_died(lost.outcome)
            return lost
        done = self._timed(work)
        done.outcome.attempts = max(done.outcome.attempts, attempt)
        self.attempts.finish.remote(name)
        return done

    def _timed(self, work: AnyWork) -> AnyWork:
        """Run the step; end this process if it takes too long or the GPU fails."""
        limit = time_limit(allowed_s(self.time_limit_s, work.record.size_bytes), partial(self._time_out, work))
        with limit, ending_with_its_gpu():
            try:
                return self.step(work)
            except SystemExit:  # Ray would take it as intended, and start no other worker
                os._exit(1)

    def _time_out(self, work: AnyWork) -> None:
        ray.get(self.attempts.time_out.remote(self._name(work.name)), timeout=TELL_S)

    def _name(self, name: str) -> str:
        """Return the name to count under: each step has counts of its own."""
        return f"{type(self.step).__name__}: {name}"


def has_begun(actor: Handle) -> bool:
    """Return whether a worker has started and begun to work. `actor`: it has a method of this name."""
    try:
        return bool(ray.get(actor.has_begun.remote(), timeout=ANSWER_S))
    except RayError:  # it does not answer, so nothing is known
        return False


def new_attempts() -> Handle:
    return actor_of(Attempts, restarts=-1)


def actor_of(kind: type[Any], *, restarts: int) -> Handle:
    """Start an actor on the driver's node: if it were on a node that is lost, all who ask it would hang for a while.

    `restarts`: how often Ray may start it again if its process dies; -1: without limit.
    """
    for each in kind.__mro__[:-1]:
        # by value, so that the actor's process need not import our packages, which takes seconds
        ray.cloudpickle.register_pickle_by_value(sys.modules[each.__module__])
    actor = ray.remote(num_cpus=0, max_restarts=restarts, max_task_retries=restarts)(kind)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return actor.options(scheduling_strategy=here).remote()
