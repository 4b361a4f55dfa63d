"""Command line to config. Slips are told in one line, with what to type instead."""

import re
from argparse import ArgumentError, ArgumentParser
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from jobs.command_line.options import Option, Options
from pipeline.errors import UsageError

Config = TypeVar("Config")

HELP = ("-h", "--help")
OTHER_WORDS = {  # of other tools, for our flags
    "--denoise": ("--temporal-denoise", "--noise", "--noise-reduction"),
    "--deflate-level": ("--png-level", "--compression", "--compression-level", "--png-compression", "-z"),
    "--device cuda": ("--gpu", "--gpus", "--cuda"),
    "--fresh": ("--overwrite", "--force", "-f", "--restart"),
    "--learning-rate": ("--lr",),
    "--limit": ("-n", "--max-files", "--count"),
    "--crf": ("--quality",),
    "--quality": ("--crf", "--jpeg-quality", "--jpg-quality", "-q"),
    "--strength": ("--brightness", "--exposure", "--gamma"),
    "--workers": ("--num-workers", "-j", "--jobs", "--threads", "--processes"),
}
FOR_PLACES = {"--input", "-i", "--input-dir", "--source", "--src", "--output", "-o", "--output-dir", "--out", "--dst"}
FOR_SUBFOLDERS = {"--recursive", "-r", "-R"}
FOR_RESUMING = {"--resume", "--continue", "--skip-existing", "--no-overwrite", "--no-fresh"}
ALIKE = 0.75  # least likeness of a flag that is suggested, by difflib's measure


def asks_for_help(arguments: Sequence[str]) -> bool:
    return any(argument in HELP for argument in before_dashes(arguments))


def parsed(config_type: type[Config], command: str, arguments: Sequence[str], also: Iterable[str] = ()) -> Config:
    """Build the config that a command line describes. Raises UsageError.

    `also`: flags that may have been meant, besides those of the config.
    """
    options = Options.of(config_type)
    values, others = _flags(options, arguments)
    return config_type(**values, **_placed(options, command, others, also))


def _flags(options: Options, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the flags that were given, by field, and all other arguments in their order."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser._negative_number_matcher = re.compile("-[^-]")  # a value may begin with one dash, number or not
    for option in options.flags.values():
        parser.add_argument(option.typed, f"--{option.name}", **option.as_argument)
    before = before_dashes(arguments)
    after = arguments[len(before) :]
    try:
        found, others = parser.parse_known_args(before)
    except ArgumentError as error:
        raise UsageError(_slip(options.flags[str(error.argument_name).split("/")[0]], before)) from error
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(found).items()}
    last = options.flags.get(next((each for each in reversed(before) if each.startswith("--")), "").replace("_", "-"))
    if last is not None and last.takes_several:  # it also took the places that stand behind its values
        places = min(len(options.required) - len(others) - len(after), len(values[last.name]) - 1)
        if places > 0:
            values[last.name] = values[last.name][:-places]
            others += before[-places:]
    return values, [*others, *after]


def _slip(option: Option, arguments: Sequence[str]) -> str:
    """Return the message about a flag with a value too many or too few."""
    if not option.is_switch:
        return f"{option.typed} needs a value: {option.wanted or option.metavar}"
    given = next(each for each in arguments if each.startswith((f"{option.typed}=", f"--{option.name}=")))
    return f"{option.typed} takes no value; leave out ={given.partition('=')[2]}"


def _placed(options: Options, command: str, others: list[str], also: Iterable[str]) -> dict[str, Any]:
    """Return the values of the positional arguments, by field. Raises UsageError for flags and for too many or few."""
    before = list(before_dashes(others))
    if any(place.shown.rest for place in options.places):
        given = others if before else others[1:]
    else:
        for each in before:
            if each.startswith("-") and each != "-":
                raise UsageError(_unknown(each.partition("=")[0], options, command, also))
        given = before + others[len(before) + 1 :]
    singles = [place for place in options.places if not place.many]
    if missing := options.required[len(given) :]:
        names = " and ".join(place.typed for place in missing)
        raise UsageError(f"{names} {'is' if len(missing) == 1 else 'are'} missing: {usage(options, command)}")
    values = {place.name: place.value_of(text) for place, text in zip(singles, given, strict=False)}
    more = given[len(singles) :]
    for place in options.places:
        if place.many:
            return {**values, place.name: tuple(more)}
    if more:
        takes = " and ".join(place.typed for place in singles) or "only options"
        raise UsageError(
            f"{command} takes {takes}, but got {len(more)} more: quote a glob ('photos/*.jpg') or a name with spaces"
        )
    return values


def _unknown(typed: str, options: Options, command: str, also: Iterable[str]) -> str:
    """Return the message about a flag that the command does not have."""
    if typed in FOR_SUBFOLDERS:
        return f"unknown option {typed}; leave it out: folders are always read with their subfolders"
    if typed in FOR_RESUMING and "--fresh" in options.flags:
        return f"unknown option {typed}; leave it out: the same command goes on where it was"
    if typed in FOR_PLACES and options.places:
        return f"unknown option {typed}; give the places without a flag: {usage(options, command)}"
    known = [*options.flags, *also]
    meant = [ours for ours, words in OTHER_WORDS.items() if typed in words and ours.split()[0] in known]
    meant = meant or get_close_matches(typed, [flag for flag in known if flag != "--fresh"], n=1, cutoff=ALIKE)
    hint = f"did you mean {meant[0]}? " if meant else ""
    return f"unknown option {typed}; {hint}nightlift {command} --help lists all"


def usage(options: Options, command: str) -> str:
    """Return the command as it is typed, without its flags."""
    return " ".join(["nightlift", command, *(place.in_usage for place in options.places)])


def before_dashes(arguments: Sequence[str]) -> Sequence[str]:
    """Return the arguments up to `--`, after which none is a flag."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
