"""What was measured: rows of a table and of JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

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
