"""What a command line may look like, and what its help looks like, for a config with a flag of every kind."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from jobs.command_line.help_page import help_page
from jobs.command_line.options import Shown
from jobs.command_line.parsing import parsed
from pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Do it.

    Exit status: 0 done.
    """

    src: Annotated[str, Shown(metavar="SRC", positional=True)]
    """Where 100 % of it is."""
    dst: Annotated[str, Shown(metavar="DST", positional=True)]
    strength: float | Literal["auto"] = 1.0
    limit: int | None = None
    include: Annotated[tuple[str, ...], Shown(metavar="PATTERN", repeatable=True)] = ()
    weights: Annotated[tuple[str, ...], Shown(metavar="FILE")] = ("dce", "plus")
    """As many as you like, and more than fit on a single line beside the flag, see also --storage-options here."""
    dry_run: bool = False


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("in out", {}),
        ("--limit 3 in --dry-run out --limit=4", {"limit": 4, "dry_run": True}),
        ("in out --dry_run", {"dry_run": True}),
        ("in out --strength -1", {"strength": -1.0}),
        ("in out --strength -1e3", {"strength": -1000.0}),
        ("in out --strength=-.5", {"strength": -0.5}),
        ("in out --strength auto", {"strength": "auto"}),
        ("in out --include -old* --include=-a=b --include -", {"include": ("-old*", "-a=b", "-")}),
        ("in out --weights=", {"weights": ("",)}),
        ("--weights=a in out", {"weights": ("a",)}),
        ("--weights a b in out", {"weights": ("a", "b")}),
        ("--weights a b -- in out", {"weights": ("a", "b")}),
        ("--weights a b --weights c -d in out", {"weights": ("c", "-d")}),
        ("in --weights a b --dry_run out", {"weights": ("a", "b"), "dry_run": True}),
        ("- out", {"src": "-"}),
        ("in -- -out", {"dst": "-out"}),
        ("-- in --weights", {"dst": "--weights"}),
        ("@in out", {"src": "@in"}),
    ],
)
def test_flags_stand_anywhere_and_take_what_follows(line: str, given: dict[str, Any]) -> None:
    assert parsed(Sample, "sample", line.split()) == Sample(**{"src": "in", "dst": "out", **given})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("in out --lim 3", "unknown option --lim; did you mean --limit? "),
        ("in out --dry-ru", "unknown option --dry-ru; did you mean --dry-run? "),
        ("in out -1", "unknown option -1; "),
        ("in out --=", "unknown option --; "),
        ("in out --no_such_thing=3", "unknown option --no_such_thing; "),
        ("in out --dry_run=", "--dry-run takes no value; leave out ="),
        ("in out --limit", "--limit needs a value: a whole number"),
        ("in out --limit --limit 3", "--limit needs a value: a whole number"),
        ("--limit -- in out", "--limit needs a value: a whole number"),
        ("in out --weights --dry-run", "--weights needs a value: FILE"),
        ("in out --limit -x", '--limit is "-x"; it must be a whole number'),
        ("in out --strength inf", '--strength is "inf"; it must be a number or auto'),
        ("in out --strength nan", '--strength is "nan"; it must be a number or auto'),
        ("in --weights a out --limit 3", "DST is missing: nightlift sample SRC DST"),
        ("in --weights a", "DST is missing: nightlift sample SRC DST"),
        ("--weights a b --", "DST is missing: nightlift sample SRC DST"),
        ("in out --include a b", "sample takes SRC and DST, but got 1 more: "),
        ("in out -- --dry-run", "sample takes SRC and DST, but got 1 more: "),
    ],
)
def test_a_slip_is_told_with_its_flag(line: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        parsed(Sample, "sample", line.split())
    assert str(raised.value).startswith(told)


def test_help_in_two_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.command_line.help_page.GROUPS", {"light": ("strength",), "rest": ("weights", "dry_run")})
    monkeypatch.setenv("COLUMNS", "64")
    assert help_page(Sample, "sample").splitlines() == [
        "usage: nightlift sample SRC DST [OPTIONS]",
        "",
        "Do it.",
        "",
        "  SRC                     Where 100 % of it is.",
        "  DST",
        "",
        "light:",
        "  --strength NUMBER|auto  (default: 1)",
        "",
        "rest:",
        "  --weights FILE [FILE ...]",
        "                          As many as you like, and more than fit",
        "                          on a single line beside the flag, see",
        "                          also --storage-options here. (default:",
        "                          dce plus)",
        "  --dry-run",
        "",
        "exit status:",
        "  0 done",
    ]
