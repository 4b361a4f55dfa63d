"""Timing of functions on a machine that others use too, and the numbers measured: rows of a table and of JSON."""

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

VERDICTS = {None: "", True: "  PASS", False: "  FAIL"}


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number."""

    name: str
    value: float
    unit: str
    """ms, s, MB, images/s, ... `times`: a ratio to something that is in the name."""
    passed: bool | None = None
    """Whether the number passed its check; None if it has no check."""


@dataclass(frozen=True, slots=True)
class Section:
    """Numbers that belong together."""

    title: str
    rows: Sequence[Row]

    def __str__(self) -> str:
        """Format the numbers as a table."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"  {row.name:<{width}}  {_shown(row.value):>9} {row.unit}{VERDICTS[row.passed]}" for row in self.rows]
        return "\n".join([self.title, *lines])


def _shown(value: float) -> str:
    """Format a number with three significant digits, from 100 on as an integer."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def side_by_side(
    functions: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Return the seconds of each function's fastest of `rounds` calls, taken in turns: disturbances hit all alike.

    `clock`: by default CPU time of this process, to which others do not add. Each function is first called once
    without being timed, to warm up.
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
    """Call the function in a new process, which shares no memory with this one, and return its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
