"""House rules that a reader relies on. Those about who imports whom are import-linter's, in pyproject.toml."""

import ast
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for package in ("model", "pipeline", "jobs") for path in (ROOT / package).rglob("*.py"))
MOST_MODULES = {"model": 8, "pipeline": 8, "jobs": 11}
IN_A_FOLDER = 12
MAY_USE_RAY = ("pipeline/flow/", "jobs/")
PRIVATE = {"_internal", "_private", "_common", "_raylet"}


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def _ray(path: Path) -> list[list[str]]:
    return [parts for name in _imported(path) if (parts := name.split("."))[0] == "ray"]


def _named(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_ray_appears_in_the_flows_and_in_jobs_alone() -> None:
    assert [name for name in _named([path for path in MODULES if _ray(path)]) if not name.startswith(MAY_USE_RAY)] == []


def test_nothing_private_of_ray_is_used() -> None:
    assert _named([path for path in MODULES if any(PRIVATE & {*parts} for parts in _ray(path))]) == []


def test_files_stay_readable() -> None:
    assert _named([path for path in MODULES if len(path.read_text().splitlines()) > 320]) == []


def test_folders_stay_readable() -> None:
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in MODULES if not path.name.startswith("__"))
    assert {name: count for name, count in counts.items() if count > MOST_MODULES.get(name, IN_A_FOLDER)} == {}


@pytest.mark.parametrize("package", ["model", "nightlift", "pipeline.images", "pipeline.video"])
def test_public_names_exist(package: str) -> None:
    module = import_module(package)
    assert all(hasattr(module, name) for name in module.__all__)
