"""How functions are timed on a machine that others use too, and what was measured: rows of a table and of JSON."""

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

VERDICTS = {None: "", True: "  PASS", False: "  FAIL"}


@dataclass(frozen=True, slots=True)
class Row:
    """One number."""

    name: str
    value: float
    unit: str
    """ms, s, MB, images/s, ... `times`: the ratio to something, which the name tells."""
    passed: bool | None = None
    """Of what is checked: whether the number is as it must be."""


@dataclass(frozen=True, slots=True)
class Section:
    """Numbers that belong together."""

    title: str
    rows: Sequence[Row]

    def __str__(self) -> str:
        """A table."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"  {row.name:<{width}}  {_shown(row.value):>9} {row.unit}{VERDICTS[row.passed]}" for row in self.rows]
        return "\n".join([self.title, *lines])


def _shown(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


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
