"""The page of `nightlift COMMAND --help`: what the command does, its flags in groups, and its exit status."""

import inspect
import shutil
import textwrap
from argparse import ArgumentParser, RawTextHelpFormatter
from collections.abc import Mapping
from dataclasses import MISSING
from functools import partial

from jobs.command_line.options import Option, Options, field_docstrings
from jobs.command_line.parsing import usage

WIDEST, HELP_AT = 100, 26  # columns: of a page, and where help begins
LEAST_HELP, LEAST_HELP_AT = 20, 4  # columns: of help on a narrow page, as argparse lays it out
GROUPS = {
    "light": ("iterations", "strength", "passes", "denoise", "floor", "sequence", "estimate_every", "smoothing"),
    "network": ("variant", "weights", "init_from", "estimate_size", "precision"),
    "training": (
        *("recipe", "epochs", "batch", "learning_rate", "size_px", "validation_share", "frames_per_video", "seed"),
        "sheet_every",
    ),
    "selection": (
        *("include", "exclude", "follow_links", "others", "limit", "only", "ref", "skip_bright", "bright_luma"),
        *("skip_hdr", "raw_pairs", "max_pixels", "max_frame_pixels"),
    ),
    "output": (
        *("format", "quality", "deflate_level", "raw", "codec", "crf", "preset", "pixel_format", "container", "hdr"),
        *("on_damage", "layout", "long_side_px", "no_mark"),
        *("out", "json", "sheet_rows", "no_report"),
    ),
    "running": (
        *("fresh", "dry_run", "every", "on_finish", "price", "log_format", "quick"),
        *("device", "workers", "workers_per_core", "gpus_per_worker", "topology"),
        *("segment_frames", "time_limit", "address", "no_wait", "env", "port", "no_browser", "storage_options"),
    ),
}
EXIT_STATUS = "Exit status: "  # begins the paragraph of a config's docstring that ends the page


def help_page(config_type: type, command: str) -> str:
    """Return the page, as wide as the terminal."""
    width = max(LEAST_HELP_AT + LEAST_HELP, min(shutil.get_terminal_size().columns, WIDEST))
    options, docstrings = Options.of(config_type), field_docstrings(config_type)
    paragraphs = inspect.cleandoc(config_type.__doc__ or "").split("\n\n")
    statuses = [each for each in paragraphs if each.startswith(EXIT_STATUS)]
    parser = ArgumentParser(
        usage=f"{usage(options, command)} [OPTIONS]",
        description="\n\n".join(_wrapped(each, width) for each in paragraphs if each not in statuses),
        formatter_class=partial(RawTextHelpFormatter, max_help_position=HELP_AT, width=width),
        add_help=False,
    )
    places = parser.add_argument_group()
    for place in options.places:
        places.add_argument(place.name, metavar=place.metavar, help=_help(place, docstrings, width))
    by_name = {option.name: option for option in options.flags.values()}
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for option in (by_name[name] for name in names if name in by_name):
            group.add_argument(option.typed, help=_help(option, docstrings, width), **option.as_argument)
    for each in statuses:
        parser.add_argument_group("exit status", _listed(each, width))
    return parser.format_help().rstrip()


def _wrapped(paragraph: str, width: int) -> str:
    """Return a paragraph with new line breaks, except in the lines of examples, which are indented."""
    first, *more = paragraph.splitlines()
    if more and all(line.startswith(" ") for line in more):
        return "\n".join([first.lower(), *more])
    return _filled(" ".join([first, *more]), width)


def _help(option: Option, docstrings: Mapping[str, str], width: int) -> str:
    """Return the help of an option in lines that fit beside it. argparse itself would break flags at their hyphens."""
    parts = [option.shown.help or docstrings.get(option.name, "")]
    if option.shown.repeatable:
        parts.append("May be given several times.")
    if default := _default(option):
        parts.append(f"(default: {default})")
    return _filled(" ".join(" ".join(parts).split()), max(width - HELP_AT, LEAST_HELP)).replace("%", "%%")


def _default(option: Option) -> str:
    """Return the default as it is typed; empty where the help says what happens without the flag."""
    if option.is_switch or option.default in (MISSING, None, (), "{}"):
        return ""
    values = option.default if option.many else (option.default,)
    return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _listed(statuses: str, width: int) -> str:
    """Return one line for each exit status."""
    parts = " ".join(statuses.split()).removeprefix(EXIT_STATUS).removesuffix(".").split("; ")
    return "\n".join(_filled(part, width - 2) for part in parts)


def _filled(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
