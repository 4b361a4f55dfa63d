"""Times that can be compared on a machine that others use too."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Result = TypeVar("Result")


def side_by_side(
    functions: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Seconds of the fastest of `rounds` calls of each function, taken in turns: what disturbs strikes all alike.

    `clock`: by default processor time of this process, which others do not add to. Each function is called once more
    before, for what happens only then.
    """
    fastest: dict[str, float] = {}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            start = clock()
            function()
            fastest[name] = min(fastest.get(name, float("inf")), clock() - start)
    return fastest


def in_new_process(function: Callable[..., Result], *arguments: object) -> Result:
    """What the function returns in a process of its own, with nothing of this one's memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
