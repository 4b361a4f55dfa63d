"""The commands that READMEs and infra/ print for people and clusters, and whether they exist, with their flags."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from jobs.cli import COMMANDS as ALL
from jobs.command_line.parsing import parsed
from jobs.submit import SubmitConfig
from pipeline.errors import UsageError

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
TOPS = ("model", "pipeline", "jobs", "infra")
PAGES = sorted([*ROOT.glob("*.md"), *(page for top in TOPS for page in (ROOT / top).rglob("*.md"))])
SEPARATORS = {";", "&&", "||", "|", "&", "(", ")"}


def check_command(command: str) -> None:
    """Every `nightlift` and `ray` in a line of shell: raises AssertionError for one that is not there, or not so."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in SEPARATORS:
            _check_words(words)
            words = []
        else:
            words.append(word)


def _check_words(words: list[str]) -> None:
    """What stands before is what starts it: `timeout 15`, `docker compose exec head`. kubectl starts none, it names."""
    if words[:1] == ["kubectl"]:
        return None
    if words[:1] == ["make"]:
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make has no {words[1]}"
        return None
    for start, word in enumerate(words):
        if word == "nightlift":
            return _check_nightlift(words[start + 1 :])
        if word == "ray":
            return _check_ray(words[start + 1 :])
    return None


def _check_nightlift(arguments: list[str]) -> None:
    job, *rest = arguments
    if arguments == ["--help"]:
        return
    assert job in ALL, f"no job is called {job}"
    try:
        if job == "submit":
            config = parsed(SubmitConfig, job, rest)
            job, rest = config.job, [*config.arguments]
        parsed(ALL[job].load()[0], job, rest)
    except UsageError as error:
        raise AssertionError(f"nightlift {shlex.join(arguments)} is refused: {error}") from error


def _check_ray(arguments: list[str]) -> None:
    from ray.scripts.scripts import cli

    own, _, submitted = " ".join(map(shlex.quote, arguments)).partition(" -- ")
    command: click.Command = cli
    words = shlex.split(own)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.commands.get(name)
        assert found, f"ray has no {name}"
        command = found
    try:
        command.make_context("ray", [*words, *(["--", "true"] if submitted else [])])
    except click.ClickException as error:
        raise AssertionError(f"ray {own}: {error.message}") from error
    if submitted:
        check_command(submitted)


def _commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                yield str(page.relative_to(ROOT)), line.partition(" # ")[0]
    dockerfile = (INFRA / "docker" / "Dockerfile").read_text()
    yield "Dockerfile", " ".join(re.findall(r'"([^"]+)"', dockerfile[dockerfile.rindex("\nCMD") :].splitlines()[1]))
    for path in sorted(INFRA.rglob("*.yaml")):
        for line in re.findall(r"^#   (docker .*)$", path.read_text(), re.MULTILINE):
            yield f"{path.parent.name}/{path.name}", line
        for command in _in_manifest(yaml.safe_load(path.read_text())):
            yield f"{path.parent.name}/{path.name}", command


def _in_manifest(node: Any) -> Iterator[str]:
    """Whatever stands under a key that a shell or a container runs."""
    if isinstance(node, list):
        for each in node:
            yield from _in_manifest(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("entrypoint", "command") or key.endswith("_commands"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from _in_manifest(value)


COMMANDS = [(place, command) for place, command in _commands() if re.search(r"\b(nightlift|ray) ", command)]
