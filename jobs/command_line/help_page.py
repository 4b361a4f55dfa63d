"""The page of `nightlift COMMAND --help`: what the command does, its flags in groups, and its exit status."""

import inspect
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING

from jobs.command_line.options import Option, Options, field_docstrings
from jobs.command_line.parsing import usage

WIDEST, NARROWEST = 100, 20  # columns of a page
HELP_AT, NARROW, NARROW_HELP_AT = 26, 60, 6  # columns: where help begins, and where that is on a narrow page
GROUPS = {
    "light": ("iterations", "strength", "passes", "denoise", "floor", "estimate_every", "smoothing"),
    "network": ("variant", "weights", "init_from", "estimate_size", "precision"),
    "training": (
        *("recipe", "epochs", "batch", "learning_rate", "size_px", "validation_share", "frames_per_video", "seed"),
        "sheet_every",
    ),
    "selection": (
        *("include", "exclude", "follow_links", "limit", "only", "ref", "skip_bright", "bright_luma"),
        *("max_pixels", "max_frame_pixels"),
    ),
    "output": (
        *("format", "quality", "codec", "crf", "preset", "pixel_format", "container", "hdr", "on_damage"),
        *("out", "json", "sheet_rows", "no_report"),
    ),
    "running": (
        *("fresh", "dry_run", "quick", "device", "workers", "workers_per_core", "gpus_per_worker", "topology"),
        *("segment_frames", "time_limit", "address", "no_wait", "env", "port", "no_browser", "storage_options"),
    ),
}
EXIT_STATUS = "Exit status: "  # begins the paragraph of a config's docstring that ends the page


def help_page(config_type: type, command: str) -> str:
    """Return the page, as wide as the terminal."""
    width = max(NARROWEST, min(shutil.get_terminal_size().columns, WIDEST))
    options, docstrings = Options.of(config_type), field_docstrings(config_type)
    paragraphs = inspect.cleandoc(config_type.__doc__ or "").split("\n\n")
    statuses = [each for each in paragraphs if each.startswith(EXIT_STATUS)]
    return "\n\n".join(
        [
            f"usage: {usage(options, command)} [OPTIONS]",
            *(_wrapped(each, width) for each in paragraphs if each not in statuses),
            *_groups(options, docstrings, width),
            *(_listed(each, width) for each in statuses),
        ]
    )


def _wrapped(paragraph: str, width: int) -> str:
    """Return a paragraph with new line breaks, except in the lines of examples, which are indented."""
    first, *more = paragraph.splitlines()
    if more and all(line.startswith(" ") for line in more):
        return "\n".join([first.lower(), *more])
    return _filled(" ".join([first, *more]), width, 0)


def _groups(options: Options, docstrings: Mapping[str, str], width: int) -> Iterator[str]:
    if options.places:
        yield "\n".join(_entry(place.metavar, _help(place, docstrings), width) for place in options.places)
    by_name = {option.name: option for option in options.flags.values()}
    for title, names in GROUPS.items():
        if found := [by_name[name] for name in names if name in by_name]:
            lines = (_entry(_typed(option), _help(option, docstrings), width) for option in found)
            yield "\n".join([f"{title}:", *lines])


def _typed(option: Option) -> str:
    if option.is_switch:
        return option.typed
    several = " ..." if option.many and not option.shown.repeatable else ""
    return f"{option.typed} {option.metavar}{several}"


def _help(option: Option, docstrings: Mapping[str, str]) -> str:
    parts = [option.shown.help or docstrings.get(option.name, "")]
    if option.shown.repeatable:
        parts.append("May be given several times.")
    if default := _default(option):
        parts.append(f"(default: {default})")
    return " ".join(" ".join(parts).split())


def _default(option: Option) -> str:
    """Return the default as it is typed; empty where the help says what happens without the flag."""
    if option.is_switch or option.default in (MISSING, None, (), "{}"):
        return ""
    values = option.default if option.many else (option.default,)
    return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _entry(head: str, text: str, width: int) -> str:
    """Return an option and its help in two columns; one below the other where they do not fit."""
    at = HELP_AT if width >= NARROW else NARROW_HELP_AT
    head = f"  {head}"
    body = _filled(text, width, at)
    return head + body[len(head) :] if len(head) <= at - 2 else f"{head}\n{body}"


def _listed(statuses: str, width: int) -> str:
    """Return one line for each exit status."""
    parts = " ".join(statuses.split()).removeprefix(EXIT_STATUS).removesuffix(".").split("; ")
    return "\n".join(["exit status:", *(_filled(part, width, 2) for part in parts)])


def _filled(text: str, width: int, indent: int) -> str:
    margin = " " * indent
    return textwrap.fill(
        text, width, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
