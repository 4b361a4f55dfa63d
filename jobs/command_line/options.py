"""The options of a command, read from the dataclass of its config: a field is a flag, its docstring is its help."""

import ast
import inspect
from argparse import SUPPRESS
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from itertools import pairwise
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pipeline.errors import UsageError

METAVARS: dict[Any, str] = {int: "INT", float: "NUMBER"}
WANTED: dict[Any, str] = {int: "a whole number", float: "a number"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """How a field appears on the command line, as far as its type and its docstring do not say it."""

    metavar: str = ""
    help: str = ""
    """Used instead of the docstring under the field."""
    positional: bool = False
    repeatable: bool = False
    """Whether a flag with several values takes one each time it is given; else all up to the next flag."""
    bare: str = ""
    """Value of a flag that is given without one; "": it needs one."""
    rest: bool = False
    """Whether a positional takes all arguments that are left, even flags that this command does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """A flag, or a positional argument, of one command."""

    name: str
    """Name of the field."""
    shown: Shown
    kinds: tuple[Any, ...]
    """Types that a value may have: str, int, float, bool, Path or Literal."""
    many: bool
    """Whether the field is a tuple of such values."""
    default: Any

    @property
    def typed(self) -> str:
        """Return the option as messages call it: `--dry-run`, or `SRC`."""
        return self.shown.metavar if self.shown.positional else f"--{self.name.replace('_', '-')}"

    @property
    def is_switch(self) -> bool:
        return self.kinds == (bool,)

    @property
    def takes_several(self) -> bool:
        """Return whether it takes all values up to the next flag."""
        return self.many and not self.shown.repeatable

    @property
    def metavar(self) -> str:
        return self.shown.metavar or "|".join(METAVARS.get(kind, "") or "|".join(get_args(kind)) for kind in self.kinds)

    @property
    def as_argument(self) -> dict[str, Any]:
        """Return what argparse has to know of a flag. One that is not given is left to the config's own default."""
        if self.is_switch:
            return {"action": "store_true", "default": SUPPRESS}
        several = {"nargs": "+"} if self.takes_several else {"action": "append"} if self.many else {}
        if self.shown.bare:
            several = {"nargs": "?", "const": self.shown.bare}
        return {"type": self.value_of, "metavar": self.metavar, "default": SUPPRESS, **several}

    @property
    def in_usage(self) -> str:
        """Return a positional argument as the usage of its command has it."""
        return self.metavar if self.many or self.default is MISSING else f"[{self.metavar}]"

    @property
    def wanted(self) -> str:
        """Return in words what a value must be; empty if any text will do."""
        choices = [choice for kind in self.kinds for choice in get_args(kind)]
        words = [WANTED[kind] for kind in self.kinds if kind in WANTED] + choices
        return " or ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""

    def value_of(self, text: str) -> Any:
        """Convert what was typed. Raises UsageError if no type of this option takes it."""
        for kind in self.kinds:
            with suppress(ValueError):
                if get_origin(kind) is not Literal:
                    value = kind(text)
                    if kind is not float or isfinite(value):
                        return value
                elif text in get_args(kind):
                    return text
        raise UsageError(f'{self.typed} is "{text}"; it must be {self.wanted}')


@dataclass(frozen=True, slots=True)
class Options:
    """All options of a command."""

    flags: dict[str, Option] = field(default_factory=dict)
    """By the way they are typed."""
    places: list[Option] = field(default_factory=list)

    @classmethod
    def of(cls, config_type: type) -> "Options":
        options = cls()
        for option in _read(config_type):
            if option.shown.positional:
                options.places.append(option)
            else:
                options.flags[option.typed] = option
        return options

    @property
    def required(self) -> Sequence[Option]:
        """Return the positional arguments that must be given. A config itself checks one that takes several."""
        return [place for place in self.places if place.default is MISSING and not place.many]


def _read(config_type: type) -> list[Option]:
    hints = get_type_hints(config_type, include_extras=True)
    return [_option(each.name, hints[each.name], each.default) for each in fields(config_type)]


def _option(name: str, hint: Any, default: Any) -> Option:
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    shown = next((mark for mark in reversed(marks) if isinstance(mark, Shown)), Shown())
    many = get_origin(kind) is tuple
    if many:
        kind = get_args(kind)[0]
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    kinds = tuple(each for each in kinds if each is not NoneType)
    return Option(name=name, shown=shown, kinds=kinds, many=many, default=default)


def field_docstrings(config_type: type) -> dict[str, str]:
    """Return the docstrings that stand under the fields of a dataclass and of those that it inherits from."""
    found = {}
    for base in filter(is_dataclass, reversed(config_type.__mro__)):
        (definition,) = ast.parse(inspect.getsource(base)).body
        for line, below in pairwise(getattr(definition, "body", ())):
            match line, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = text
    return found
